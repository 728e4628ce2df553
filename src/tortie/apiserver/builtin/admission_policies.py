"""Admission policies and their bindings: defaults, and what is wrong with one before it decides about writes.

In: Validating- and MutatingAdmissionPolicy objects and their bindings. Out: defaults filled in, causes for a 422, a 403
for who may not read the parameters, and the result of type checking in the status of a validating policy.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tortie.apiserver import errors, objects
from tortie.apiserver.builtin.policies import selector
from tortie.apiserver.builtin.webhooks import condition_causes, rule_causes
from tortie.apiserver.context import SYSTEM, Call
from tortie.apiserver.errors import Cause, StatusError
from tortie.apiserver.kinds import Hooks
from tortie.apiserver.objects import name_problem
from tortie.apiserver.rbac import Attributes
from tortie.apiserver.requests import RequestInfo
from tortie.apiserver.selectors import valid_label_key

Object = dict[str, Any]
_REASONS = ["Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized"]
_ACTIONS = ["Audit", "Deny", "Warn"]
_MUTATED = ("*", "CONNECT", "CREATE", "UPDATE")  # a deletion has nothing to change
_VALIDATED = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
_PATCHES = {"ApplyConfiguration": "applyConfiguration", "JSONPatch": "jsonPatch"}
_MAX_ANNOTATIONS = 20
_MAX_EXPRESSION = 5 * 1024
_IDENTIFIER = re.compile(r"^[a-zA-Z_][a-zA-Z0-9_]*$")


# --- defaults ----------------------------------------------------------------------------------------------------


def _default_match(match: Any) -> None:
    if not isinstance(match, dict):
        return
    match.setdefault("matchPolicy", "Equivalent")
    match.setdefault("namespaceSelector", {})
    match.setdefault("objectSelector", {})
    for rule in [*(match.get("resourceRules") or ()), *(match.get("excludeResourceRules") or ())]:
        rule.setdefault("scope", "*")


def default_policy(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("failurePolicy", "Fail")
    _default_match(spec.get("matchConstraints"))


def default_binding(obj: Object) -> None:
    _default_match(obj.setdefault("spec", {}).get("matchResources"))


# --- policies ----------------------------------------------------------------------------------------------------


def validate_validating(obj: Object, old: Object | None) -> list[Cause]:
    spec = obj["spec"]
    causes = list(_policy(spec, operations=_VALIDATED))
    if not spec.get("validations") and not spec.get("auditAnnotations"):
        causes.append(
            errors.required("spec.validations", "validations or auditAnnotations must contain at least one item")
        )
    for index, entry in enumerate(spec.get("validations") or ()):
        causes += _validation(entry, f"spec.validations[{index}]")
    causes += _annotations(spec.get("auditAnnotations") or (), obj["metadata"].get("name", ""))
    return causes + _expressions(spec, old)


def validate_mutating(obj: Object, old: Object | None) -> list[Cause]:
    spec = obj["spec"]
    causes = list(_policy(spec, operations=_MUTATED))
    if not spec.get("mutations"):
        causes.append(errors.required("spec.mutations", "mutations must contain at least one item"))
    for index, entry in enumerate(spec.get("mutations") or ()):
        causes += _mutation(entry, f"spec.mutations[{index}]")
    policy = spec.get("reinvocationPolicy")
    if not policy:
        causes.append(errors.required("spec.reinvocationPolicy"))
    elif policy not in {"IfNeeded", "Never"}:
        causes.append(errors.not_supported("spec.reinvocationPolicy", policy, ["IfNeeded", "Never"]))
    return causes + _expressions(spec, old)


def _expressions(spec: Object, old: Object | None) -> list[Cause]:
    """Expressions that do not compile; those that are stored already are not judged again."""
    from tortie.apiserver.admission.expressions import compiled, expressions  # late: they bring CEL

    known = expressions((old or {}).get("spec") or {})
    return [problem.cause for problem in compiled(spec).problems if problem.expression not in known]


def _policy(spec: Object, *, operations: tuple[str, ...]) -> Iterator[Cause]:
    """What both kinds of policies have in common."""
    if spec.get("failurePolicy") not in {"Fail", "Ignore"}:
        yield errors.not_supported("spec.failurePolicy", spec.get("failurePolicy"), ["Fail", "Ignore"])
    if spec.get("paramKind") is not None:
        yield from _param_kind(spec["paramKind"], "spec.paramKind")
    match = spec.get("matchConstraints")
    if match is None:
        yield errors.required("spec.matchConstraints")
    else:
        yield from _match(match, "spec.matchConstraints", operations)
        if not match.get("resourceRules"):
            yield errors.required("spec.matchConstraints.resourceRules")
    yield from condition_causes(spec.get("matchConditions") or (), "spec.matchConditions", set(), lambda _: "")
    names: set[str] = set()
    for index, variable in enumerate(spec.get("variables") or ()):
        at, name = f"spec.variables[{index}]", str(variable.get("name") or "")
        if not name:
            yield errors.required(f"{at}.name", "name is not specified")
        elif not _IDENTIFIER.match(name):
            yield errors.invalid_value(f"{at}.name", name, "name is not a valid CEL identifier")
        elif name in names:
            yield errors.duplicate(f"{at}.name", name)
        names.add(name)
        if not str(variable.get("expression") or "").strip():
            yield errors.required(f"{at}.expression", "expression is not specified")


def _param_kind(kind: Object, at: str) -> Iterator[Cause]:
    version, name = str(kind.get("apiVersion") or ""), str(kind.get("kind") or "")
    if not version:
        yield errors.required(f"{at}.apiVersion")
    elif version.count("/") > 1 or not all(version.split("/")):
        yield errors.invalid_value(f"{at}.apiVersion", version, "must be VERSION or GROUP/VERSION")
    if not name:
        yield errors.required(f"{at}.kind")
    elif name_problem(name.lower(), "label1035"):
        yield errors.invalid_value(f"{at}.kind", name, f"may have mixed case, but should otherwise match: "
                                   f"{name_problem(name.lower(), 'label1035')}")  # fmt: skip


def _match(match: Object, at: str, operations: tuple[str, ...]) -> Iterator[Cause]:
    if match.get("matchPolicy") not in {"Equivalent", "Exact"}:
        yield errors.not_supported(f"{at}.matchPolicy", match.get("matchPolicy"), ["Equivalent", "Exact"])
    yield from selector(match.get("namespaceSelector"), f"{at}.namespaceSelector")
    yield from selector(match.get("objectSelector"), f"{at}.objectSelector")
    for field in ("resourceRules", "excludeResourceRules"):
        for index, rule in enumerate(match.get(field) or ()):
            place = f"{at}.{field}[{index}]"
            yield from rule_causes(rule, place)
            for number, operation in enumerate(rule.get("operations") or ()):
                if operation == "DELETE" and "DELETE" not in operations:
                    yield errors.not_supported(f"{place}.operations[{number}]", operation, list(operations))
            names = rule.get("resourceNames") or ()
            for number, name in enumerate(names):
                if name_problem(str(name), "path"):
                    yield errors.invalid_value(f"{place}.resourceNames[{number}]", name, name_problem(name, "path"))
                if name in names[:number]:
                    yield errors.duplicate(f"{place}.resourceNames[{number}]", name)


def _validation(entry: Object, at: str) -> Iterator[Cause]:
    expression, message = str(entry.get("expression") or "").strip(), entry.get("message")
    if not expression:
        yield errors.required(f"{at}.expression", "expression is not specified")
    if message and not message.strip():
        yield errors.invalid_value(f"{at}.message", message, "message must be non-empty if specified")
    elif message and "\n" in message.strip():
        yield errors.invalid_value(f"{at}.message", message, "message must not contain line breaks")
    elif not message and "\n" in expression:
        yield errors.required(f"{at}.message", "message must be specified if expression contains line breaks")
    said = entry.get("messageExpression")
    if said and not said.strip():
        yield errors.invalid_value(f"{at}.messageExpression", said, "must be non-empty if specified")
    if entry.get("reason") is not None and entry["reason"] not in _REASONS:
        yield errors.not_supported(f"{at}.reason", entry["reason"], _REASONS)


def _annotations(entries: Any, policy: str) -> Iterator[Cause]:
    if len(entries) > _MAX_ANNOTATIONS:
        yield errors.invalid_value(
            "spec.auditAnnotations", len(entries), f"must not have more than {_MAX_ANNOTATIONS} auditAnnotations"
        )
        return
    keys: set[str] = set()
    for index, entry in enumerate(entries):
        at = f"spec.auditAnnotations[{index}]"
        key, expression = str(entry.get("key") or ""), str(entry.get("valueExpression") or "")
        if not key:
            yield errors.required(f"{at}.key")
        elif not valid_label_key(f"{policy}/{key}"):
            yield errors.invalid_value(f"{at}.key", key, "must be a qualified name together with the policy's name")
        elif key in keys:
            yield errors.duplicate(f"{at}.key", key)
        keys.add(key)
        if not expression.strip():
            yield errors.required(f"{at}.valueExpression", "valueExpression is not specified")
        elif len(expression) > _MAX_EXPRESSION:
            yield errors.too_long(f"{at}.valueExpression", _MAX_EXPRESSION)


def _mutation(entry: Object, at: str) -> Iterator[Cause]:
    kind = entry.get("patchType")
    if kind not in _PATCHES:
        yield (
            errors.not_supported(f"{at}.patchType", kind, sorted(_PATCHES))
            if kind
            else errors.required(f"{at}.patchType")
        )
        return
    for other, field in _PATCHES.items():
        given = entry.get(field)
        if other != kind and given is not None:
            yield errors.invalid_value(f"{at}.{field}", given, f"must not be specified when patchType is {kind}")
        elif other == kind and given is None:
            yield errors.required(f"{at}.{field}", f"must be specified when patchType is {kind}")
        elif other == kind and not str((given or {}).get("expression") or "").strip():
            yield errors.required(f"{at}.{field}.expression", "expression is not specified")


# --- bindings ----------------------------------------------------------------------------------------------------


def validate_binding(obj: Object, _old: Object | None) -> list[Cause]:
    spec, validating = obj["spec"], obj.get("kind") == "ValidatingAdmissionPolicyBinding"
    causes: list[Cause] = []
    name = str(spec.get("policyName") or "")
    if not name:
        causes.append(errors.required("spec.policyName"))
    elif name_problem(name, "subdomain"):
        causes.append(errors.invalid_value("spec.policyName", name, name_problem(name, "subdomain")))
    if spec.get("paramRef") is not None:
        causes += _param_ref(spec["paramRef"], "spec.paramRef")
    if spec.get("matchResources") is not None:
        causes += _match(spec["matchResources"], "spec.matchResources", _VALIDATED if validating else _MUTATED)
    if validating:
        causes += _actions(spec.get("validationActions") or (), "spec.validationActions")
    return causes


def _param_ref(reference: Object, at: str) -> Iterator[Cause]:
    name, chosen = reference.get("name") or "", reference.get("selector")
    if name and chosen is not None:
        yield errors.forbidden_field(f"{at}.name", "name and selector are mutually exclusive")
    elif not name and chosen is None:
        yield errors.required(f"{at}", "one of name or selector must be specified")
    if name and name_problem(name, "path"):
        yield errors.invalid_value(f"{at}.name", name, name_problem(name, "path"))
    yield from selector(chosen, f"{at}.selector")
    namespace = reference.get("namespace")
    if namespace and name_problem(namespace, "label"):
        yield errors.invalid_value(f"{at}.namespace", namespace, name_problem(namespace, "label"))
    action = reference.get("parameterNotFoundAction")
    if not action:
        yield errors.required(f"{at}.parameterNotFoundAction")
    elif action not in {"Allow", "Deny"}:
        yield errors.not_supported(f"{at}.parameterNotFoundAction", action, ["Allow", "Deny"])


def _actions(actions: Any, at: str) -> Iterator[Cause]:
    if not actions:
        yield errors.required(at, "at least one validation action is required")
    for index, action in enumerate(actions):
        if action not in _ACTIONS:
            yield errors.not_supported(f"{at}[{index}]", action, _ACTIONS)
        elif action in actions[:index]:
            yield errors.duplicate(f"{at}[{index}]", action)
    if {"Deny", "Warn"} <= set(actions):
        yield errors.invalid_value(
            at, list(actions), "must not contain both Deny and Warn (repeating the same message)"
        )


# --- parameters: who may use them --------------------------------------------------------------------------------


def _may_read(call: Call, kind: Any, name: str, namespace: str) -> None:
    """Raises 403 unless the user may read the parameters: through a policy they show in its messages."""
    if not isinstance(kind, Mapping) or call.user is SYSTEM:
        return
    group, _, version = str(kind.get("apiVersion") or "").rpartition("/")
    served = call.context.registry.by_kind(group, version, str(kind.get("kind") or ""))
    plural = served.plural if served is not None else "*"
    if not call.context.authorizer.allowed(call.user, Attributes("get", group, plural, "", name, namespace)):
        raise errors.forbidden(
            call.kind.group,
            call.kind.plural,
            call.info.name,
            f'user "{call.user.name}" does not have "get" permission on the object referenced by paramKind '
            f"{kind.get('apiVersion')}, Kind={kind.get('kind')}",
        )


def prepare_policy(call: Call, obj: Object, old: Object | None) -> None:
    kind = objects.get(obj, "spec", "paramKind")
    if kind and kind != objects.get(old, "spec", "paramKind"):
        _may_read(call, kind, "", "")


def prepare_binding(call: Call, obj: Object, old: Object | None) -> None:
    spec = obj.get("spec") or {}
    reference = spec.get("paramRef")
    if not reference or spec == objects.get(old, "spec"):
        return
    plural = call.kind.plural.replace("policybindings", "policies")
    policy = call.context.read(f"{call.kind.group}/{plural}", "", str(spec.get("policyName") or ""))
    kind = objects.get(policy, "spec", "paramKind")
    if kind:
        _may_read(call, kind, str(reference.get("name") or ""), str(reference.get("namespace") or ""))


# --- status ------------------------------------------------------------------------------------------------------


async def check_types(call: Call, obj: Object, old: Object | None) -> None:
    """Writes what type checking finds into the status, after the policy is stored."""
    generation = obj["metadata"].get("generation")
    if objects.get(obj, "status", "observedGeneration") == generation or obj["metadata"].get("deletionTimestamp"):
        return
    from tortie.apiserver import writes  # late: writes call the hooks
    from tortie.apiserver.admission import typecheck

    found = typecheck.warnings(call.context.registry, obj["spec"])
    name = obj["metadata"]["name"]

    def change(current: Object) -> Object:
        if current["metadata"].get("generation") == generation:
            status = current.setdefault("status", {})
            status["observedGeneration"] = generation
            status["typeChecking"] = {"expressionWarnings": found} if found else {}
        return current

    group, version, plural = call.kind.group, call.kind.version, call.kind.plural
    info = RequestInfo(True, "update", "", group, version, "", plural, name, "status")
    try:
        await writes.update(
            Call(call.context, SYSTEM, info, call.kind, {}, "kube-controller-manager"), change, subresource="status"
        )
    except StatusError as error:
        if error.reason not in {"NotFound", "Conflict"}:
            raise


async def _check_later(call: Call, obj: Object, old: Object | None) -> None:
    call.context.spawn(check_types(call, obj, old), f"type checking of {obj['metadata']['name']}")


VALIDATING = Hooks(default=default_policy, prepare=prepare_policy, validate=validate_validating, committed=_check_later)
MUTATING = Hooks(default=default_policy, prepare=prepare_policy, validate=validate_mutating)
BINDING = Hooks(default=default_binding, prepare=prepare_binding, validate=validate_binding)
