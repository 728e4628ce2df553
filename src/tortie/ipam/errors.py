"""What address management can refuse, as one tree.

    IPAMError
    ├── NoUsablePool          no pool serves this node, namespace and use
    ├── BlockLimitReached     the node owns as many blocks as it may; nothing is borrowed
    ├── AddressInUse          the requested address is assigned
    ├── AddressNotInPool      the requested address is in no enabled pool, or its pool is not for this use
    ├── NotOwner              strict affinity: the block belongs to somebody else
    ├── HandleNotFound        nothing is held under this handle
    ├── AffinityLost          somebody else owns the block that was to be claimed or used
    ├── BlockNotEmpty         an affinity was to be released only if the block is empty
    └── TooMuchContention     100 compare-and-swap attempts failed

In: the allocator. Out: its callers; the text names the object, its value and what is allowed. Errors of the API itself
pass through as `tortie.kube.errors.ApiError`.
"""


class IPAMError(Exception): ...


class NoUsablePool(IPAMError): ...


class BlockLimitReached(IPAMError): ...


class AddressInUse(IPAMError): ...


class AddressNotInPool(IPAMError): ...


class NotOwner(IPAMError): ...


class HandleNotFound(IPAMError): ...


class AffinityLost(IPAMError): ...


class BlockNotEmpty(IPAMError): ...


class TooMuchContention(IPAMError): ...
