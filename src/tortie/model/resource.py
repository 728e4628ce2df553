"""What a REST resource is called and which struct decodes it.

For the API client and the API server, which address objects by group, version and plural. In: nothing.
Out: immutable descriptors; the catalogue of the known ones is `tortie.model.catalog`.
"""

from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from tortie.model.facts import NO_FACTS, Facts

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Resource(Generic[T]):
    """A resource of the Kubernetes API.

    group: "" for the core group. plural: the name in URLs. type: the msgspec struct that decodes one object,
    or `dict` for raw JSON. facts: what else is known of a kind of Calico's groups.
    """

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool
    type: type[T]
    singular: str = ""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    facts: Facts = NO_FACTS

    @property
    def api_version(self) -> str:
        """`v1` for the core group, else `group/version`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """The URL path of the collection or of one object; namespace None means all namespaces."""
        parts = [f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"]
        if self.namespaced and namespace is not None:
            parts.append(f"namespaces/{namespace}")
        parts.append(self.plural)
        if name is not None:
            parts.append(name)
        if subresource is not None:
            parts.append(subresource)
        return "/".join(parts)

    def untyped(self) -> "Resource[dict[str, Any]]":
        """The same resource, its objects decoded as plain JSON."""
        untyped: Resource[Any] = self
        return replace(untyped, type=dict[str, Any])
