"""nftables by text through Debian's libnftables, in this process: for rules richer than `net.nft` speaks.

The lab's service proxy gives whole transactions as text; listings come back as JSON. Each call lists parts of the
ruleset first, so this door is for changes that may cost milliseconds; Felix uses `net.nft`.
"""

import ctypes
import ctypes.util

import msgspec

_JSON_OUTPUT = 1 << 4


class NftError(Exception):
    """The library's complaint, which quotes the line that it is about."""


class Libnftables:
    """One context, bound to the network namespace in which it was made; used by one thread at a time."""

    def __init__(self) -> None:
        path = ctypes.util.find_library("nftables") or "libnftables.so.1"
        library = ctypes.CDLL(path)
        library.nft_ctx_new.restype = ctypes.c_void_p
        library.nft_ctx_new.argtypes = [ctypes.c_uint32]
        for name in ("nft_ctx_free", "nft_ctx_buffer_output", "nft_ctx_buffer_error"):
            getattr(library, name).argtypes = [ctypes.c_void_p]
        for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
            getattr(library, name).argtypes = [ctypes.c_void_p]
            getattr(library, name).restype = ctypes.c_char_p
        library.nft_ctx_output_set_flags.argtypes = [ctypes.c_void_p, ctypes.c_uint]
        library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
        self._library = library
        self._context = library.nft_ctx_new(0)
        if not self._context:
            raise NftError("libnftables gives no context")
        library.nft_ctx_buffer_output(self._context)
        library.nft_ctx_buffer_error(self._context)

    def close(self) -> None:
        """Frees the context; calls after this fail."""
        if self._context:
            self._library.nft_ctx_free(self._context)
            self._context = None

    def run(self, commands: str) -> str:
        """Executes commands, all of them in one transaction or none, and gives what they print. Raises NftError."""
        if self._context is None:
            raise NftError("the connection to nftables is closed")
        failed = self._library.nft_run_cmd_from_buffer(self._context, commands.encode())
        output: bytes = self._library.nft_ctx_get_output_buffer(self._context) or b""
        error: bytes = self._library.nft_ctx_get_error_buffer(self._context) or b""
        if failed:
            raise NftError(error.decode(errors="replace").strip() or "nftables refuses the transaction")
        return output.decode(errors="replace")

    def names(self, family: str, table: str) -> dict[str, list[str]]:
        """The names of a table's chains, sets and maps, by kind; empty if there is no such table."""
        self._library.nft_ctx_output_set_flags(self._context, _JSON_OUTPUT)
        try:
            listing = self.run(f"list table {family} {table}")
        except NftError as error:
            if "No such file" in str(error):
                return {}
            raise
        finally:
            self._library.nft_ctx_output_set_flags(self._context, 0)
        result: dict[str, list[str]] = {}
        for entry in msgspec.json.decode(listing)["nftables"] if listing.strip() else ():
            for kind, body in entry.items():
                if kind in ("chain", "set", "map"):
                    result.setdefault(kind, []).append(body["name"])
        return result
