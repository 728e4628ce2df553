"""Who a front proxy says is asking: the X-Remote- headers, both to read and to write. Pure.

In: the ConfigMap `extension-apiserver-authentication` (the trust), a request's headers, and the common name of the
certificate that the proxy showed. Out: a `User`, or None when these headers mean nothing; and for the proxy itself the
headers that tell an aggregated API server about a user. Whether the certificate is of the proxy's authority is for the
caller to know.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from multidict import CIMultiDict

from tortie.apiserver.context import User

CONFIG_MAP = ("kube-system", "extension-apiserver-authentication")
AUTHENTICATED, UNAUTHENTICATED = "system:authenticated", "system:unauthenticated"
_TOKEN = frozenset("!#$&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_UNFIT = re.compile("[\\x00-\\x1f\\x7f\\ud800-\\udfff]")
_BAD_ESCAPE = re.compile(r"%(?![0-9a-fA-F]{2})")


class HeaderError(ValueError):
    """What a header has that no user's name, group or extra value may have."""


@dataclass(frozen=True, slots=True)
class Trust:
    """Which headers speak of the user, and the common names that may send them (none named: every one may)."""

    authority: str = ""
    client_authority: str = ""
    allowed_names: tuple[str, ...] = ()
    username_headers: tuple[str, ...] = ()
    uid_headers: tuple[str, ...] = ()
    group_headers: tuple[str, ...] = ()
    extra_prefixes: tuple[str, ...] = ()

    def allows(self, common_name: str) -> bool:
        """Whether a certificate of the authority with this common name may speak for others."""
        return not self.allowed_names or common_name in self.allowed_names


def read(data: Mapping[str, str]) -> Trust:
    """The trust that the ConfigMap's data declares. Raises ValueError, which names the key, for what is not a list."""

    def listed(key: str) -> tuple[str, ...]:
        text = data.get(key, "")
        if not text:
            return ()
        try:
            found = json.loads(text)
        except ValueError:
            raise ValueError(f"{key}: {text!r} must be a JSON list of strings") from None
        if not isinstance(found, list) or not all(isinstance(v, str) for v in found):
            raise ValueError(f"{key}: {text!r} must be a JSON list of strings")
        return tuple(found)

    return Trust(
        authority=data.get("requestheader-client-ca-file", ""),
        client_authority=data.get("client-ca-file", ""),
        allowed_names=listed("requestheader-allowed-names"),
        username_headers=listed("requestheader-username-headers"),
        uid_headers=listed("requestheader-uid-headers"),
        group_headers=listed("requestheader-group-headers"),
        extra_prefixes=listed("requestheader-extra-headers-prefix"),
    )


def write(trust: Trust) -> dict[str, str]:
    """The ConfigMap's data for a trust."""
    lists = {
        "requestheader-allowed-names": trust.allowed_names,
        "requestheader-extra-headers-prefix": trust.extra_prefixes,
        "requestheader-group-headers": trust.group_headers,
        "requestheader-uid-headers": trust.uid_headers,
        "requestheader-username-headers": trust.username_headers,
    }
    return {
        "client-ca-file": trust.client_authority,
        "requestheader-client-ca-file": trust.authority,
        **{key: json.dumps(list(values)) for key, values in lists.items()},
    }


def user(trust: Trust, headers: Iterable[tuple[str, str]]) -> User | None:
    """The user that the headers name; None when they name none. Raises HeaderError."""
    sent: dict[str, list[str]] = {}
    for key, value in headers:
        sent.setdefault(key.lower(), []).append(value)

    def first(names: tuple[str, ...]) -> str:
        return next((v for n in names for v in sent.get(n.lower(), ()) if v), "")

    name = first(trust.username_headers)
    if not name:
        return None
    groups = tuple(v for n in trust.group_headers for v in sent.get(n.lower(), ()))
    extra: dict[str, tuple[str, ...]] = {}
    for prefix in trust.extra_prefixes:
        start = prefix.lower()
        for key, values in sent.items():
            if key.startswith(start):
                place = unescape(key[len(start) :])
                extra[place] = extra.get(place, ()) + tuple(values)
    found = User(name, with_authenticated(name, groups), first(trust.uid_headers), extra)
    check(found.name, found.uid, *found.groups, *extra, *(v for values in extra.values() for v in values))
    return found


def with_authenticated(name: str, groups: tuple[str, ...]) -> tuple[str, ...]:
    """Groups with the one that every known user is in."""
    known = name != "system:anonymous" and UNAUTHENTICATED not in groups
    return (*groups, AUTHENTICATED) if known and AUTHENTICATED not in groups else groups


def unescape(key: str) -> str:
    """A key of `extra` as a header's name has it: lower case, percent-decoded where that is possible."""
    key = key.lower()
    if _BAD_ESCAPE.search(key):
        return key
    try:
        return unquote_to_bytes(key).decode()
    except UnicodeDecodeError:
        return key


def escape(key: str) -> str:
    """A key of `extra` as part of a header's name: what a name may not have is percent-encoded."""
    return "".join(chr(b) if chr(b) in _TOKEN else f"%{b:02X}" for b in key.encode())


def headers(of: User) -> list[tuple[str, str]]:
    """The headers that tell an aggregated server who asks. Raises HeaderError for what no header can carry."""
    found = [("X-Remote-User", of.name)]
    if of.uid:
        found.append(("X-Remote-Uid", of.uid))
    found += [("X-Remote-Group", group) for group in of.groups]
    for key, values in of.extra.items():
        found += [(f"X-Remote-Extra-{escape(key)}", value) for value in values]
    check(*(value for _, value in found))
    return found


def without(trust: Trust, sent: Iterable[tuple[str, str]]) -> CIMultiDict[str]:
    """The headers less those that speak of a user."""
    names = {n.lower() for n in (*trust.username_headers, *trust.uid_headers, *trust.group_headers)}
    prefixes = tuple(p.lower() for p in trust.extra_prefixes)
    return CIMultiDict(
        (k, v) for k, v in sent if k.lower() not in names and not (prefixes and k.lower().startswith(prefixes))
    )


def check(*texts: str) -> None:
    """Raises HeaderError for what no user's name, group or extra value may have."""
    for text in texts:
        if _UNFIT.search(text):
            raise HeaderError(f"{text[:60]!r} must be UTF-8 without control characters")
