"""What the API server knows about one served resource.

In: definitions of built-in kinds, Calico kinds and CustomResourceDefinitions. Out: `Kind`, looked up by the request
handlers through the registry; its hooks are the kind's own rules (defaults, allocation, validation).
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from tortie.apiserver.errors import Cause
from tortie.apiserver.schema.node import Node

if TYPE_CHECKING:
    from tortie.apiserver.context import Call, Scope
    from tortie.apiserver.records import Record

Object = dict[str, Any]
ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table output. priority 1 shows only with `-o wide`."""

    name: str
    type: str = "string"
    format: str = ""
    priority: int = 0
    description: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """How a kind is printed: its columns, the cells of one object, and a finished object's row conditions."""

    columns: Sequence[Column]
    cells: Callable[[Object], list[Any]]
    conditions: Callable[[Object], list[dict[str, Any]]] | None = None


def no_change(_obj: Object) -> None:
    return


def no_causes(_obj: Object, _old: Object | None) -> list[Cause]:
    return []


@dataclass(frozen=True, slots=True)
class Hooks:
    """A kind's own rules.

    default: fills absent fields (pure). prepare: runs before validation with access to the store (allocations,
    admission); may raise StatusError. validate: causes for a 422. undo: takes back what prepare reserved when the
    write does not happen. committed: after the write is durable and its lock is free, before it is answered.
    check_delete: may refuse.

    These wait for others, and may raise StatusError. authorize: whether the caller may make the second object of the
    third (None: there is none), beyond what RBAC says of the request; read: whether the caller may see an object;
    scope: what the caller may list, watch or delete as a collection. retire: what must be done before an object goes.
    review: the answer of a kind that is not stored.
    """

    default: Callable[[Object], None] = no_change
    prepare: Callable[["Call", Object, Object | None], None] | None = None
    validate: Callable[[Object, Object | None], list[Cause]] = no_causes
    undo: Callable[["Call", Object, Object | None], None] | None = None
    committed: Callable[["Call", Object, Object | None], Awaitable[None]] | None = None
    check_delete: Callable[["Call", Object], None] | None = None
    authorize: Callable[["Call", Object | None, Object | None], Awaitable[None]] | None = None
    read: Callable[["Call", Object], Awaitable[None]] | None = None
    scope: Callable[["Call"], Awaitable["Scope | None"]] | None = None
    retire: Callable[["Call", Object], Awaitable[None]] | None = None
    review: Callable[["Call", Object], Awaitable[Object]] | None = None


@dataclass(frozen=True, slots=True)
class Subresource:
    """status, scale, or a connect or create-only subresource such as exec."""

    name: str
    kind: str
    verbs: tuple[str, ...]
    group: str = ""
    version: str = ""


class Conversion(Protocol):
    """How stored objects become those of another version, when that takes more than another apiVersion."""

    storage: str

    async def convert(self, objs: list[Object], api_version: str) -> list[Object]: ...

    async def records(self, found: "Sequence[Record]", api_version: str) -> "Sequence[Record]": ...


@dataclass(slots=True, eq=False)
class Kind:
    """One resource in one version."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool
    schema: Node
    singular: str = ""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL_VERBS
    subresources: dict[str, Subresource] = field(default_factory=dict)
    selectable: Mapping[str, Callable[[Object], str]] = field(default_factory=dict)
    table: Table | None = None
    hooks: Hooks = field(default_factory=Hooks)
    collection: str = ""
    stored: bool = True
    custom: bool = False  # a CustomResourceDefinition's or a Calico kind: no strategic merge
    has_status: bool = False
    status_on_create: bool = False  # a kubelet registers its Node with a status
    has_generation: bool = True
    unconditional_update: bool = True
    graceful: bool = False
    orphan_by_default: bool = False
    convert_out: Callable[[Object], Object] | None = None
    convert_in: Callable[[Object], Object] | None = None
    conversion: Conversion | None = None  # by webhook; before convert_out, and instead of convert_in
    warning: str = ""
    scale: Mapping[str, str] | None = None
    name_rule: str = "subdomain"
    paged: bool = True  # lists honour limit and continue
    bookmarks: bool = True  # watches give bookmarks and initial events on request
    definition: str = ""  # the CustomResourceDefinition that made this kind

    def __post_init__(self) -> None:
        if not self.collection:
            self.collection = f"{self.group}/{self.plural}"
        if not self.singular:
            self.singular = self.kind.lower()

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def list_kind(self) -> str:
        return f"{self.kind}List"

    def fields(self, obj: Object) -> Mapping[str, str]:
        """The values that field selectors of this kind may ask for."""
        if not self.selectable:
            return {}
        return {name: read(obj) for name, read in self.selectable.items()}
