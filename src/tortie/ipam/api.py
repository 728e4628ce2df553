"""The seam between address management and the Kubernetes API.

`tortie.kube.client.Client` satisfies it, and so does the in-memory `tortie.ipam.memory.MemoryApi`, which tests use;
both pass the same contract tests. In: typed reads and compare-and-swap writes. Out: structs or `tortie.kube.errors`.
"""

from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

from tortie.kube.objects import ObjectList
from tortie.model.resource import Resource

T = TypeVar("T")

ATTEMPTS = 100
"""How often a compare-and-swap is tried before the error about contention (spec/cni-ipam-node.md 2.2)."""


class Api(Protocol):
    async def get(self, resource: Resource[T], name: str, namespace: str | None = None) -> T: ...

    async def find(self, resource: Resource[T], name: str, namespace: str | None = None) -> T | None: ...

    async def list(
        self,
        resource: Resource[T],
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
    ) -> ObjectList[T]: ...

    async def create(self, resource: Resource[T], obj: Any, namespace: str | None = None) -> T: ...

    async def update(self, resource: Resource[T], obj: Any) -> T: ...

    async def delete(
        self,
        resource: Resource[Any],
        name: str,
        namespace: str | None = None,
        *,
        preconditions: Mapping[str, str] | None = None,
    ) -> None: ...
