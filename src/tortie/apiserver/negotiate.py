"""Media types: what the client accepts, and how the bodies of requests are decoded.

In: Accept and Content-Type headers, raw bodies. Out: an `Output` choice (plain JSON, YAML, Table, metadata only), or
the decoded tree. Refusals are 406 and 415 with the types that would do.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import yaml

from tortie.apiserver import errors

JSON = "application/json"
YAML = "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"
ACCEPTED = (JSON, YAML)
BODIES = (JSON, YAML, PROTOBUF)
BODY_LIMIT = 3 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class MediaType:
    type: str
    params: Mapping[str, str]
    quality: float = 1.0


@dataclass(frozen=True, slots=True)
class Output:
    """How objects are answered. shape: "" (whole), Table, PartialObjectMetadata, PartialObjectMetadataList."""

    media: str = JSON
    shape: str = ""
    shape_version: str = "v1"
    include: str = "Metadata"
    pretty: bool = False

    @property
    def content_type(self) -> str:
        return self.media

    @property
    def plain(self) -> bool:
        """Stored bytes can be sent as they are."""
        return self.media == JSON and not self.shape and not self.pretty


def parse_accept(header: str) -> list[MediaType]:
    """The media types of an Accept header, best first (stable for equal quality)."""
    found = []
    for part in header.split(","):
        pieces = part.strip().split(";")
        kind = pieces[0].strip().lower()
        if not kind:
            continue
        params = {}
        quality = 1.0
        for piece in pieces[1:]:
            key, _, value = piece.strip().partition("=")
            if key == "q":
                try:
                    quality = float(value)
                except ValueError:
                    quality = 0.0
            else:
                params[key] = value.strip('"')
        found.append(MediaType(kind, params, quality))
    return sorted(found, key=lambda m: -m.quality)


def choose(header: str, *, shapes: Sequence[str] = (), pretty: bool = False, include: str = "") -> Output:
    """The best output for an Accept header; `shapes` are the conversions that this resource offers."""
    for media in parse_accept(header) if header else [MediaType("*/*", {})]:
        kind = media.type
        if kind in {"*/*", "application/*", JSON}:
            kind = JSON
        elif kind in {"application/yaml", "application/x-yaml", "text/yaml"}:
            kind = YAML
        else:
            continue
        shape = media.params.get("as", "")
        if media.params.get("stream", "watch") != "watch":
            continue
        if shape:
            if shape not in shapes or media.params.get("g") != "meta.k8s.io":
                continue
            if media.params.get("v") not in {"v1", "v1beta1"}:
                continue
        return Output(kind, shape, media.params.get("v", "v1"), include or "Metadata", pretty)
    raise errors.not_acceptable(ACCEPTED)


class _Loader(yaml.CSafeLoader):
    """YAML as Kubernetes reads it: text that looks like a date stays text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}
_NUMBER = re.compile(rb"^\s*[\[{]")


def decode(body: bytes, *, find_duplicates: bool = False) -> tuple[Any, list[str]]:
    """Decodes JSON or YAML; with `find_duplicates` also the names of fields given twice. Raises StatusError 400."""
    if not body.strip():
        raise errors.bad_request("the request has no body, but one is required")
    if _NUMBER.match(body):
        try:
            if find_duplicates:
                return _decode_checked(body)
            return msgspec.json.decode(body), []
        except (msgspec.DecodeError, ValueError) as error:
            json_error = str(error)
    else:
        json_error = ""
    try:
        return yaml.load(body, Loader=_Loader), []  # noqa: S506 - a safe loader without dates
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        why = json_error or " ".join(str(error).split())
        raise errors.bad_request(f"the body of the request could not be decoded: {why}") from None


def _decode_checked(body: bytes) -> tuple[Any, list[str]]:
    duplicates: list[str] = []

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) != len(items):
            seen = set()
            for key, _ in items:
                if key in seen:
                    duplicates.append(key)
                seen.add(key)
        return found

    return json.loads(body, object_pairs_hook=pairs), duplicates


def content_type(header: str) -> str:
    """The bare media type of a request's body; absent means JSON."""
    kind = header.partition(";")[0].strip().lower()
    return kind or JSON


def check_body_type(header: str, accepted: Sequence[str] = ACCEPTED) -> str:
    kind = content_type(header)
    if kind in {"application/octet-stream", "text/plain", "application/x-www-form-urlencoded"}:
        return JSON  # what plain HTTP tools send when told nothing
    if kind in {"application/x-yaml", "text/yaml"}:
        return YAML
    if kind not in accepted:
        raise errors.unsupported_media(accepted)
    return kind


_WARNINGS_TOTAL = 4096
_WARNING_SHORT = 256


def warning_headers(texts: Sequence[str]) -> list[str]:
    """The values of Warning headers. Many long ones are shortened: clients limit what headers may hold."""
    if sum(map(len, texts)) > _WARNINGS_TOTAL:
        texts = [text[:_WARNING_SHORT] for text in texts][: _WARNINGS_TOTAL // _WARNING_SHORT]
    return [_warning(text) for text in texts]


def _warning(text: str) -> str:
    shown = "".join(c if c.isprintable() else " " for c in text)
    quoted = shown.replace("\\", "\\\\").replace('"', '\\"')
    return f'299 - "{quoted}"'
