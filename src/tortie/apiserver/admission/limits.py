"""LimitRanges: what a container gets when it asks for nothing, and how much it may ask for.

In: pods and volume claims in writes, and the LimitRanges of their namespace. Out: defaulted requests and limits; a 403
that lists every bound that is broken.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tortie.apiserver import errors
from tortie.apiserver.builtin.podspec import containers, qos
from tortie.apiserver.context import Call
from tortie.apiserver.quantity import ZERO, Quantity, amounts

Object = dict[str, Any]
_COLLECTION = "/limitranges"


def _items(call: Call, kind: str) -> Iterator[Object]:
    for record in call.store.collection(_COLLECTION).select(call.info.namespace):
        for item in (record.decode().get("spec") or {}).get("limits") or ():
            if item.get("type") == kind:
                yield item


def concerns(call: Call, operation: str, subresource: str) -> bool:
    """Whether LimitRanges have a say: new pods, and volume claims."""
    kind = call.kind
    if kind.group or subresource or not kind.namespaced:
        return False
    if not (kind.plural == "pods" and operation == "CREATE") and kind.plural != "persistentvolumeclaims":
        return False
    return next(iter(call.store.collection(_COLLECTION).keys(call.info.namespace)), None) is not None


def default(call: Call, obj: Object) -> None:
    """Gives the containers of a pod the default requests and limits of the namespace; what they have stays."""
    if call.kind.plural != "pods":
        return
    set_for: dict[str, list[str]] = {}
    for item in _items(call, "Container"):
        for _, container in containers(obj.get("spec") or {}, "initContainers", "containers"):
            resources = container.setdefault("resources", {})
            for field, wanted in (("limits", item.get("default")), ("requests", item.get("defaultRequest"))):
                have = resources.get(field) or {}
                missing = {k: v for k, v in (wanted or {}).items() if k not in have}
                if missing:
                    resources[field] = {**have, **missing}
                    set_for.setdefault(f"{field[:-1]} for container {container.get('name', '')}", []).extend(missing)
    if set_for:
        text = "; ".join(f"{', '.join(sorted(names))} {what}" for what, names in set_for.items())
        note = f"LimitRanger plugin set: {text}"
        obj.setdefault("status", {})["qosClass"] = qos(obj.get("spec") or {})
        obj["metadata"].setdefault("annotations", {}).setdefault("kubernetes.io/limit-ranger", note)


def check(call: Call, obj: Object) -> None:
    """Raises StatusError 403 when a bound of a LimitRange is broken."""
    spec = obj.get("spec") or {}
    broken: list[str] = []
    if call.kind.plural == "pods":
        for item in _items(call, "Container"):
            for _, container in containers(spec, "initContainers", "containers"):
                resources = container.get("resources") or {}
                broken += _broken(
                    item, amounts(resources.get("requests")), amounts(resources.get("limits")), limited=True
                )
        for item in _items(call, "Pod"):
            broken += _broken(item, *pod_totals(spec), limited=True)
    else:
        for item in _items(call, "PersistentVolumeClaim"):
            broken += _broken(item, amounts((spec.get("resources") or {}).get("requests")), {}, limited=False)
    if broken:
        broken = list(dict.fromkeys(broken))
        text = broken[0] if len(broken) == 1 else f"[{', '.join(broken)}]"
        raise errors.forbidden("", call.kind.plural, obj["metadata"].get("name", ""), text)


def pod_totals(spec: Object) -> tuple[dict[str, Quantity], dict[str, Quantity]]:
    """What a pod requests, and is limited to: the sum of its containers and sidecars, or its largest init container."""
    result = []
    for field in ("requests", "limits"):
        total: dict[str, Quantity] = {}
        add(total, (_resources(c, field) for _, c in containers(spec, "containers")))
        sidecars: dict[str, Quantity] = {}
        for _, container in containers(spec, "initContainers"):
            own = _resources(container, field)
            if container.get("restartPolicy") == "Always":
                add(total, [own])
                add(sidecars, [own])
                continue
            for name, amount in own.items():
                start = amount + sidecars.get(name, ZERO)
                if name not in total or start.value > total[name].value:
                    total[name] = start
        add(total, [amounts(spec.get("overhead"))] if field == "requests" or total else [])
        result.append(total)
    return result[0], result[1]


def _resources(container: Object, field: str) -> dict[str, Quantity]:
    return amounts((container.get("resources") or {}).get(field))


def add(total: dict[str, Quantity], parts: Iterable[Mapping[str, Quantity]]) -> None:
    for part in parts:
        for name, amount in part.items():
            total[name] = total.get(name, ZERO) + amount


def _broken(
    item: Object, requests: Mapping[str, Quantity], limits: Mapping[str, Quantity], *, limited: bool
) -> Iterator[str]:
    kind = item["type"]
    for name, least in amounts(item.get("min")).items():
        request, limit = requests.get(name), limits.get(name)
        if request is None:
            yield f"minimum {name} usage per {kind} is {least}.  No request is specified"
        elif request.value < least.value:
            yield f"minimum {name} usage per {kind} is {least}, but request is {request}"
        if limit is not None and limit.value < least.value:
            yield f"minimum {name} usage per {kind} is {least}, but limit is {limit}"
    for name, most in amounts(item.get("max")).items():
        request, limit = requests.get(name), limits.get(name)
        if limited and limit is None:
            yield f"maximum {name} usage per {kind} is {most}.  No limit is specified"
        elif limit is not None and limit.value > most.value:
            yield f"maximum {name} usage per {kind} is {most}, but limit is {limit}"
        if request is not None and request.value > most.value:
            yield f"maximum {name} usage per {kind} is {most}, but request is {request}"
    for name, ratio in amounts(item.get("maxLimitRequestRatio")).items():
        request, limit = requests.get(name), limits.get(name)
        if request is None or limit is None or not request.value:
            yield (
                f"{name} max limit to request ratio per {kind} is {ratio}, but no request is specified or request is 0"
            )
        elif limit.value / request.value > ratio.value:
            yield (
                f"{name} max limit to request ratio per {kind} is {ratio}, but provided ratio is "
                f"{float(limit.value / request.value):f}"
            )
