"""Network sets: addresses outside the cluster that policies select by label.

For admission and conversion. In: JSON of projectcalico.org/v3. Out: the structs `NetworkSet` and `GlobalNetworkSet`.
"""

from typing import Annotated

from tortie.model.fields import UNIQUE, ApiStruct, Object, constant, doc
from tortie.model.meta import ObjectMeta


class NetworkSetSpec(ApiStruct, frozen=True, kw_only=True):
    nets: Annotated[tuple[str, ...], doc("The members: addresses or ranges in CIDR notation.", **UNIQUE)] = ()
    allowed_egress_domains: Annotated[
        tuple[str, ...],
        doc("Domain names whose addresses are members too, in the destination of Allow rules in egress only."),
    ] = ()


class NetworkSet(Object, frozen=True, kw_only=True):
    """A set of addresses that policies select by the set's labels, as if it were an endpoint of the namespace."""

    api_version: str = constant("projectcalico.org/v3")
    kind: str = constant("NetworkSet")
    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[NetworkSetSpec, doc("The members of the set.")] = NetworkSetSpec()


class GlobalNetworkSet(Object, frozen=True, kw_only=True):
    """A set of addresses that policies select by the set's labels, as if it were an endpoint outside all namespaces."""

    api_version: str = constant("projectcalico.org/v3")
    kind: str = constant("GlobalNetworkSet")
    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[NetworkSetSpec, doc("The members of the set.")] = NetworkSetSpec()
