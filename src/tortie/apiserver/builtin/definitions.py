"""CustomResourceDefinitions: their defaults, validation, status, and what deleting one does.

In: definitions in writes. Out: accepted names and conditions in their status; `custom` turns them into served kinds.
"""

from collections.abc import Iterator
from typing import Any

from tortie.apiserver import errors, objects
from tortie.apiserver.builtin.webhooks import client_causes
from tortie.apiserver.context import Call
from tortie.apiserver.errors import Cause
from tortie.apiserver.jsonpath import PathError, compile_path
from tortie.apiserver.kinds import Hooks
from tortie.apiserver.objects import name_problem
from tortie.apiserver.schema import dsl, structural
from tortie.apiserver.schema.node import from_openapi, has_rules

Object = dict[str, Any]
FINALIZER = "customresourcecleanup.apiextensions.k8s.io"
COLLECTION = "apiextensions.k8s.io/customresourcedefinitions"
_COLUMN_TYPES = ["boolean", "date", "integer", "number", "string"]


def default(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    names = spec.setdefault("names", {})
    if names.get("kind"):
        names.setdefault("singular", names["kind"].lower())
        names.setdefault("listKind", f"{names['kind']}List")
    conversion = spec.setdefault("conversion", {})
    conversion.setdefault("strategy", "None")
    service = objects.get(conversion, "webhook", "clientConfig", "service")
    if isinstance(service, dict):
        service.setdefault("port", 443)


def validate(obj: Object, old: Object | None) -> list[Cause]:
    spec = obj["spec"]
    names = spec["names"]
    causes: list[Cause] = []
    group, plural = spec.get("group", ""), names.get("plural", "")
    if not group:
        causes.append(errors.required("spec.group"))
    elif "." not in group:
        causes.append(errors.invalid_value("spec.group", group, "should be a domain with at least one dot"))
    if spec.get("scope") not in {"Cluster", "Namespaced"}:
        causes.append(errors.not_supported("spec.scope", spec.get("scope", ""), ["Cluster", "Namespaced"]))
    for key in ("plural", "kind", "singular", "listKind"):
        value = str(names.get(key, ""))
        if not value:
            causes.append(errors.required(f"spec.names.{key}"))
        elif name_problem(value.lower(), "label1035"):
            causes.append(errors.invalid_value(f"spec.names.{key}", value, name_problem(value.lower(), "label1035")))
    if group and plural and obj["metadata"].get("name") != f"{plural}.{group}":
        causes.append(
            errors.invalid_value(
                "metadata.name", obj["metadata"].get("name"), 'must be spec.names.plural+"."+spec.group'
            )
        )
    stored = {v.get("name"): v.get("schema") for v in objects.get(old, "spec", "versions") or ()}
    causes += _validate_versions(spec.get("versions") or [], stored)
    causes += _validate_conversion(spec["conversion"])
    causes += _validate_stored(obj, old)
    if old is not None:
        for path in (("group",), ("scope",), ("names", "plural"), ("names", "kind")):
            if objects.get(old, "spec", *path) != objects.get(obj, "spec", *path):
                causes.append(
                    errors.invalid_value(
                        "spec." + ".".join(path), objects.get(obj, "spec", *path), "field is immutable"
                    )
                )
    return causes


def _validate_conversion(conversion: Object) -> Iterator[Cause]:
    at = "spec.conversion"
    strategy, webhook = conversion.get("strategy"), conversion.get("webhook")
    if strategy not in {"None", "Webhook"}:
        yield errors.not_supported(f"{at}.strategy", strategy, ["None", "Webhook"])
        return
    if strategy == "None":
        if webhook is not None:
            yield errors.forbidden_field(f"{at}.webhook", "should not be set when strategy is not set to Webhook")
        return
    if webhook is None:
        yield errors.required(f"{at}.webhook", "required when strategy is set to Webhook")
        return
    if webhook.get("clientConfig") is None:
        yield errors.required(f"{at}.webhook.clientConfig", "required when strategy is set to Webhook")
    else:
        yield from client_causes(webhook["clientConfig"], f"{at}.webhook.clientConfig")
    versions = webhook.get("conversionReviewVersions") or []
    where = f"{at}.webhook.conversionReviewVersions"
    if not versions:
        yield errors.required(where)
    elif "v1" not in versions:
        yield errors.invalid_value(where, versions, "must include at least one of v1")
    for index, version in enumerate(versions):
        if version in versions[:index]:
            yield errors.invalid_value(f"{where}[{index}]", version, "duplicate version")


def _validate_stored(obj: Object, old: Object | None) -> Iterator[Cause]:
    """Versions that objects may be stored in cannot be dropped: nothing could read them any more."""
    names = [v.get("name") for v in objects.get(obj, "spec", "versions") or ()]
    stored = objects.get(obj, "status", "storedVersions") or ()
    for index, name in enumerate(stored):
        if name not in names:
            yield errors.invalid_value(
                f"status.storedVersions[{index}]", name, "missing from spec.versions; objects may be stored in it"
            )
    storage = [v.get("name") for v in objects.get(obj, "spec", "versions") or () if v.get("storage")]
    if old is not None and len(storage) == 1 and storage[0] not in stored:
        yield errors.invalid_value("status.storedVersions", list(stored), f"must have the storage version {storage[0]}")


def _validate_versions(versions: list[Object], stored: Object) -> list[Cause]:
    """stored: schemas by version, as the definition has them so far; their rules are not compiled again."""
    causes: list[Cause] = []
    if not versions:
        causes.append(errors.required("spec.versions", "must have at least one version"))
    if sum(bool(v.get("storage")) for v in versions) != 1 and versions:
        causes.append(
            errors.invalid_value(
                "spec.versions",
                [v.get("name") for v in versions],
                "must have exactly one version marked as storage version",
            )
        )
    seen: set[str] = set()
    for index, version in enumerate(versions):
        at = f"spec.versions[{index}]"
        name = version.get("name", "")
        if name in seen:
            causes.append(errors.duplicate(f"{at}.name", name))
        seen.add(name)
        if name_problem(name, "label1035"):
            causes.append(errors.invalid_value(f"{at}.name", name, name_problem(name, "label1035")))
        schema = objects.get(version, "schema", "openAPIV3Schema")
        if not schema:
            causes.append(errors.required(f"{at}.schema.openAPIV3Schema", "schemas are required"))
        else:
            wrong = structural.check(schema, f"{at}.schema.openAPIV3Schema", top=True)
            causes += wrong
            if not wrong and stored.get(name) != version["schema"]:
                causes += _validate_rules(schema, f"{at}.schema.openAPIV3Schema")
        for place, column in enumerate(version.get("additionalPrinterColumns") or ()):
            where = f"{at}.additionalPrinterColumns[{place}]"
            if column.get("type") not in _COLUMN_TYPES:
                causes.append(errors.not_supported(f"{where}.type", column.get("type"), _COLUMN_TYPES))
            try:
                compile_path(str(column.get("jsonPath", "")))
            except PathError as error:
                causes.append(errors.invalid_value(f"{where}.jsonPath", column.get("jsonPath"), str(error)))
    return causes


def _validate_rules(schema: Object, at: str) -> list[Cause]:
    node = from_openapi(schema, metadata=dsl.types()["ObjectMeta"], top=True)
    if not has_rules(node):
        return []
    from tortie.apiserver.schema import costs, rules  # late: most servers never meet an expression

    problems: list[Cause] = []
    rules.compile_rules(node, path=at, problems=problems)
    return problems or costs.problems(node, at)


def prepare(call: Call, obj: Object, old: Object | None) -> None:
    """Settles names and conditions, and keeps track of versions that objects may be stored in."""
    if call.info.subresource == "status":
        return
    spec = obj["spec"]
    if old is None:
        finalizers = obj["metadata"].setdefault("finalizers", [])
        if FINALIZER not in finalizers:
            finalizers.append(FINALIZER)
    status = obj.setdefault("status", {})
    clash = _clash(call, obj)
    status["acceptedNames"] = dict(spec["names"]) if not clash else {"kind": "", "plural": ""}
    stored = list(status.get("storedVersions") or ())
    for version in spec.get("versions") or ():
        if version.get("storage") and version.get("name") not in stored:
            stored.append(version.get("name"))
    status["storedVersions"] = stored
    now = objects.timestamp(call.context.now())
    if clash:
        _condition(status, "NamesAccepted", "False", "Conflict", clash, now)
        _condition(status, "Established", "False", "NotAccepted", "not all names are accepted", now)
    else:
        _condition(status, "NamesAccepted", "True", "NoConflicts", "no conflicts found", now)
        _condition(status, "Established", "True", "InitialNamesAccepted", "the initial names have been accepted", now)


def _condition(status: Object, kind: str, value: str, reason: str, message: str, now: str) -> None:
    conditions = status.setdefault("conditions", [])
    for condition in conditions:
        if condition.get("type") == kind:
            if condition.get("status") != value:
                condition["lastTransitionTime"] = now
            condition.update(status=value, reason=reason, message=message)
            return
    conditions.append({"lastTransitionTime": now, "message": message, "reason": reason, "status": value, "type": kind})


def _clash(call: Call, obj: Object) -> str:
    """What another definition of the group has taken already."""
    spec = obj["spec"]
    names = spec["names"]
    for record in call.store.collection(COLLECTION).select(None):
        if record.key[1] == obj["metadata"].get("name"):
            continue
        other = record.decode()
        if objects.get(other, "spec", "group") != spec.get("group"):
            continue
        taken = objects.get(other, "spec", "names") or {}
        for key in ("plural", "kind", "singular", "listKind"):
            if names.get(key) and names[key] in {taken.get("plural"), taken.get("singular")} | {
                taken.get("kind"),
                taken.get("listKind"),
            }:
                return f'"{names[key]}" is already in use'
    return ""


async def committed(call: Call, obj: Object, _old: Object | None) -> None:
    """Serves the definition as it now is; a deleted one loses its objects first."""
    from tortie.apiserver import custom

    custom.serve(call.context, obj)
    if obj["metadata"].get("deletionTimestamp"):
        call.context.spawn(custom.clean_up(call.context, obj), f"clean up {obj['metadata']['name']}")


HOOKS = Hooks(default=default, prepare=prepare, validate=validate, committed=committed)
