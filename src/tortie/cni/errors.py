"""The errors of the CNI protocol, and their JSON form.

For every part of the plugin. In: a code of the CNI specification or of the plugin, and words. Out: the object that goes
to standard output, with exit status 1 (spec/cni-ipam-node.md 1.3).
"""

import msgspec

INCOMPATIBLE_VERSION = 1
UNSUPPORTED_FIELD = 2
UNKNOWN_CONTAINER = 3
INVALID_ENVIRONMENT = 4
IO_FAILURE = 5
DECODING_FAILURE = 6
INVALID_NETWORK_CONFIG = 7
HOST_NAMESPACE = 8
TRY_AGAIN_LATER = 11
COMMAND_LINE = 100
PLUGIN = 999


class CNIError(Exception):
    """code: one of the above. The text is what went wrong; details may say more for people."""

    def __init__(self, code: int, message: str, details: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details

    def encode(self, version: str = "") -> bytes:
        body: dict[str, object] = {}
        if version:
            body["cniVersion"] = version
        body |= {"code": self.code, "msg": self.message}
        if self.details:
            body["details"] = self.details
        return msgspec.json.format(msgspec.json.encode(body), indent=4) + b"\n"


class PluginError(CNIError):
    """An ordinary failure of calico or calico-ipam: code 999."""

    def __init__(self, message: str, details: str = "") -> None:
        super().__init__(PLUGIN, message, details)
