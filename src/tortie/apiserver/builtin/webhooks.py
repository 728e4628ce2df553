"""Webhook configurations: defaults, and what is wrong with one before it can stop every write.

In: Mutating- and ValidatingWebhookConfiguration objects. Out: defaults filled in, and causes for a 422. Pure.
"""

import base64
import binascii
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

from tortie.apiserver import errors
from tortie.apiserver.admission.conditions import problem
from tortie.apiserver.builtin.policies import selector
from tortie.apiserver.errors import Cause
from tortie.apiserver.kinds import Hooks
from tortie.apiserver.objects import name_problem
from tortie.apiserver.selectors import valid_label_key

Object = dict[str, Any]
_OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
_MAX_CONDITIONS = 64


def default(obj: Object) -> None:
    for hook in obj.get("webhooks") or ():
        if not isinstance(hook, dict):
            continue
        hook.setdefault("failurePolicy", "Fail")
        hook.setdefault("matchPolicy", "Equivalent")
        hook.setdefault("namespaceSelector", {})
        hook.setdefault("objectSelector", {})
        hook.setdefault("timeoutSeconds", 10)
        if obj.get("kind") == "MutatingWebhookConfiguration":
            hook.setdefault("reinvocationPolicy", "Never")
        for rule in hook.get("rules") or ():
            rule.setdefault("scope", "*")
        service = (hook.get("clientConfig") or {}).get("service")
        if isinstance(service, dict):
            service.setdefault("port", 443)


def validate(obj: Object, old: Object | None) -> list[Cause]:
    known = _expressions(old)
    causes: list[Cause] = []
    names: set[str] = set()
    for index, hook in enumerate(obj.get("webhooks") or ()):
        at = f"webhooks[{index}]"
        name = str(hook.get("name") or "")
        if not name:
            causes.append(errors.required(f"{at}.name"))
        elif name_problem(name, "subdomain") or len(name.split(".")) < 3:
            causes.append(
                errors.invalid_value(
                    f"{at}.name", name, "should be a domain with at least three segments separated by dots"
                )
            )
        if name and name in names:
            causes.append(errors.duplicate(f"{at}.name", name))
        names.add(name)
        causes += _webhook(hook, at, known)
    return causes


def _expressions(old: Object | None) -> set[str]:
    """Expressions that are stored already: they are not judged again."""
    return {
        str(c.get("expression", ""))
        for hook in (old or {}).get("webhooks") or ()
        for c in hook.get("matchConditions") or ()
    }


def _webhook(hook: Object, at: str, known: set[str]) -> Iterator[Cause]:
    for index, rule in enumerate(hook.get("rules") or ()):
        yield from rule_causes(rule, f"{at}.rules[{index}]")
    for field, allowed in (("failurePolicy", ["Fail", "Ignore"]), ("matchPolicy", ["Equivalent", "Exact"]),
                           ("reinvocationPolicy", ["IfNeeded", "Never"])):  # fmt: skip
        if hook.get(field) is not None and hook[field] not in allowed:
            yield errors.not_supported(f"{at}.{field}", hook[field], allowed)
    effects = hook.get("sideEffects")
    if effects is None:
        yield errors.required(f"{at}.sideEffects", "must specify one of None, NoneOnDryRun")
    elif effects not in {"None", "NoneOnDryRun"}:
        yield errors.not_supported(f"{at}.sideEffects", effects, ["None", "NoneOnDryRun"])
    seconds = hook.get("timeoutSeconds")
    if seconds is not None and not 1 <= seconds <= 30:
        yield errors.invalid_value(
            f"{at}.timeoutSeconds", seconds, "the timeout value must be between 1 and 30 seconds"
        )
    yield from selector(hook.get("namespaceSelector"), f"{at}.namespaceSelector")
    yield from selector(hook.get("objectSelector"), f"{at}.objectSelector")
    yield from _versions(hook.get("admissionReviewVersions") or [], f"{at}.admissionReviewVersions")
    yield from client_causes(hook.get("clientConfig") or {}, f"{at}.clientConfig")
    yield from condition_causes(hook.get("matchConditions") or (), f"{at}.matchConditions", known)


def _versions(versions: list[Any], at: str) -> Iterator[Cause]:
    if not versions:
        yield errors.required(at, "must specify one of v1, v1beta1")
        return
    for index, version in enumerate(versions):
        if version in versions[:index]:
            yield errors.invalid_value(f"{at}[{index}]", version, "duplicate version")
    if "v1" not in versions:
        yield errors.invalid_value(at, versions, "must include at least one of v1")


def rule_causes(rule: Object, at: str) -> Iterator[Cause]:
    """What is wrong in one rule with its operations."""
    operations = rule.get("operations") or []
    if not operations:
        yield errors.required(f"{at}.operations")
    if len(operations) > 1 and "*" in operations:
        yield errors.invalid_value(
            f"{at}.operations", operations, "if '*' is present, must not specify other operations"
        )
    for index, operation in enumerate(operations):
        if operation not in _OPERATIONS:
            yield errors.not_supported(f"{at}.operations[{index}]", operation, list(_OPERATIONS))
    for field, what in (("apiGroups", "API groups"), ("apiVersions", "API versions")):
        values = rule.get(field) or []
        if not values:
            yield errors.required(f"{at}.{field}")
        if len(values) > 1 and "*" in values:
            yield errors.invalid_value(f"{at}.{field}", values, f"if '*' is present, must not specify other {what}")
    for index, version in enumerate(rule.get("apiVersions") or ()):
        if not version:
            yield errors.required(f"{at}.apiVersions[{index}]")
    yield from _resources(rule.get("resources") or [], f"{at}.resources")
    scope = rule.get("scope")
    if scope is not None and scope not in {"*", "Cluster", "Namespaced"}:
        yield errors.not_supported(f"{at}.scope", scope, ["*", "Cluster", "Namespaced"])


def _resources(resources: list[Any], at: str) -> Iterator[Cause]:
    if not resources:
        yield errors.required(at)
        return
    whole = {r for r in resources if "/" not in r}
    if "*/*" in resources and len(resources) > 1:
        yield errors.invalid_value(at, resources, "if '*/*' is present, must not specify other resources")
    elif "*" in whole and len(whole) > 1:
        yield errors.invalid_value(
            at, resources, "if '*' is present, must not specify other resources without subresources"
        )
    for index, resource in enumerate(resources):
        name, slash, sub = resource.partition("/")
        if not resource:
            yield errors.required(f"{at}[{index}]")
        elif not name or (slash and not sub) or "/" in sub:
            yield errors.invalid_value(f"{at}[{index}]", resource, "must be a resource, or RESOURCE/SUBRESOURCE")


def client_causes(client: Object, at: str) -> Iterator[Cause]:
    """What is wrong in how a webhook is reached."""
    url, service = client.get("url"), client.get("service")
    if (url is None) is (service is None):
        yield errors.required(at, "exactly one of url or service is required")
    if url is not None:
        yield from _url(str(url), f"{at}.url")
    if service is not None:
        for field in ("name", "namespace"):
            if not service.get(field):
                yield errors.required(f"{at}.service.{field}")
        port = service.get("port", 443)
        if not 1 <= port <= 65535:
            yield errors.invalid_value(f"{at}.service.port", port, "must be between 1 and 65535, inclusive")
        path = service.get("path")
        if path:
            yield from _path(str(path), f"{at}.service.path")
    bundle = client.get("caBundle")
    if bundle:
        try:
            pem = base64.b64decode(bundle, validate=True)
        except (ValueError, binascii.Error):
            yield errors.invalid_value(f"{at}.caBundle", "<base64>", "must be base64")
        else:
            if b"-----BEGIN CERTIFICATE-----" not in pem:
                yield errors.invalid_value(
                    f"{at}.caBundle", "<bundle>", "unable to load root certificates: unable to parse bytes as PEM block"
                )


def _url(text: str, at: str) -> Iterator[Cause]:
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        yield errors.invalid_value(at, text, f"url must be a valid URL: {error}; desired format: https://host[/path]")
        return
    form = "; desired format: https://host[/path]"
    if parts.scheme != "https":
        yield errors.invalid_value(at, parts.scheme, f"'https' is the only allowed URL scheme{form}")
    if not host:
        yield errors.invalid_value(at, text, f"host must be specified{form}")
    if parts.username is not None or parts.password is not None:
        yield errors.invalid_value(at, "<user>", f"user information is not permitted in the URL{form}")
    if parts.fragment:
        yield errors.invalid_value(at, parts.fragment, f"fragments are not permitted in the URL{form}")
    if parts.query:
        yield errors.invalid_value(at, parts.query, f"query parameters are not permitted in the URL{form}")


def _path(path: str, at: str) -> Iterator[Cause]:
    if not path.startswith("/"):
        yield errors.invalid_value(at, path, "must start with a '/'")
        return
    if path == "/":
        return
    for index, segment in enumerate(path.strip("/").split("/")):
        if not segment:
            yield errors.invalid_value(at, path, f"segment[{index}] may not be empty")
        elif name_problem(segment, "subdomain"):
            yield errors.invalid_value(at, path, f"segment[{index}]: {name_problem(segment, 'subdomain')}")


def condition_causes(
    conditions: Any, at: str, known: set[str], compiles: Callable[[str], str] = problem
) -> Iterator[Cause]:
    """What is wrong in matchConditions; expressions in `known` are not compiled again. compiles: says why not."""
    if len(conditions) > _MAX_CONDITIONS:
        yield Cause("FieldValueTooMany", at, f"Too many: {len(conditions)}: must have at most {_MAX_CONDITIONS} items")
        return
    names: set[str] = set()
    for index, condition in enumerate(conditions):
        name, expression = str(condition.get("name") or ""), str(condition.get("expression") or "")
        if not name:
            yield errors.required(f"{at}[{index}].name")
        elif not valid_label_key(name):
            yield errors.invalid_value(f"{at}[{index}].name", name, "must be a qualified name")
        if name and name in names:
            yield errors.duplicate(f"{at}[{index}].name", name)
        names.add(name)
        if not expression.strip():
            yield errors.required(f"{at}[{index}].expression")
        elif expression not in known:
            why = compiles(expression)
            if why:
                yield errors.invalid_value(f"{at}[{index}].expression", expression, why)


HOOKS = Hooks(default=default, validate=validate)
