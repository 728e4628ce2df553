"""What the API serves, as legacy discovery says now, for controllers that concern every kind.

In: the API's group list and resource lists. Out: one `Resource` for each kind in its preferred version, with its verbs,
and the groups that did not answer: an aggregated group whose server is away must not hide the others.
"""

import asyncio
import json
from dataclasses import dataclass, field

from tortie.kube.client import Client
from tortie.kube.errors import ApiError
from tortie.lab.controllers.world import Object
from tortie.model.resource import Resource


@dataclass(frozen=True, slots=True)
class Served:
    """failed: group versions that could not be read, and why."""

    resources: list[tuple[Resource[Object], frozenset[str]]] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


async def served(client: Client) -> Served:
    """Every kind. Raises ApiError when not even the groups are known."""
    groups = json.loads(await client.raw("GET", "/apis"))["groups"]
    paths = ["/api/v1", *(f"/apis/{group['preferredVersion']['groupVersion']}" for group in groups)]
    found = Served()
    answers = await asyncio.gather(*(client.raw("GET", path) for path in paths), return_exceptions=True)
    for path, answer in zip(paths, answers, strict=True):
        name = path.removeprefix("/apis/").removeprefix("/api/")
        if isinstance(answer, ApiError):
            found.failed[name] = answer.message or str(answer)
            continue
        if isinstance(answer, BaseException):
            raise answer
        group, _, version = name.rpartition("/")
        for entry in json.loads(answer)["resources"]:
            if "/" in entry["name"]:
                continue
            resource = Resource(
                group=group,
                version=version,
                kind=entry["kind"],
                plural=entry["name"],
                namespaced=entry["namespaced"],
                type=dict,
            )
            found.resources.append((resource, frozenset(entry.get("verbs", ()))))
    return found
