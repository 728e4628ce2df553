"""Reviews: questions to the API that are created and never stored.

In: TokenReview, SelfSubjectReview and the SubjectAccessReview family. Out: the same objects with their status.
"""

from typing import Any

from tortie.apiserver import errors, objects
from tortie.apiserver.context import Call, User
from tortie.apiserver.errors import StatusError
from tortie.apiserver.rbac import Attributes

Object = dict[str, Any]


async def review(call: Call, obj: Object) -> Object:
    """Fills the status of a review. Raises StatusError."""
    match call.kind.kind:
        case "TokenReview":
            return await _token(call, obj)
        case "SelfSubjectReview":
            obj["metadata"]["creationTimestamp"] = objects.timestamp(call.context.now())
            obj["status"] = {"userInfo": user_info(call.user)}
            return obj
        case "SelfSubjectRulesReview":
            return _rules(call, obj)
        case _:
            return _access(call, obj)


def user_info(user: User) -> Object:
    info: Object = {"username": user.name, "groups": list(user.groups)}
    if user.uid:
        info["uid"] = user.uid
    if user.extra:
        info["extra"] = {k: list(v) for k, v in user.extra.items()}
    return info


async def _token(call: Call, obj: Object) -> Object:
    spec = obj.get("spec") or {}
    token = spec.get("token", "")
    if not token:
        raise errors.bad_request("token is required for TokenReview in authentication")
    try:
        user, audiences = await call.context.tokens.review(token, list(spec.get("audiences") or ()))
    except StatusError:
        obj["status"] = {"user": {}, "error": "the token is not valid: wrong signature, expired, or its owner is gone"}
    else:
        obj["status"] = {"authenticated": True, "user": user_info(user), "audiences": audiences}
    obj["spec"] = {"token": token, **({"audiences": spec["audiences"]} if spec.get("audiences") else {})}
    return obj


def _access(call: Call, obj: Object) -> Object:
    spec = obj.get("spec") or {}
    resource, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    kind = call.kind.kind
    causes = []
    if resource is None and path is None:
        causes.append(
            errors.required(
                "spec.resourceAttributes",
                "exactly one of nonResourceAttributes or resourceAttributes must be specified",
            )
        )
    if resource is not None and path is not None:
        causes.append(
            errors.invalid_value(
                "spec.nonResourceAttributes", path, "cannot be specified in combination with resourceAttributes"
            )
        )
    user = call.user
    if kind != "SelfSubjectAccessReview":
        groups = tuple(spec.get("groups") or ())
        if not spec.get("user") and not groups:
            causes.append(errors.required("spec.user", "at least one of user or group must be specified"))
        user = User(str(spec.get("user") or ""), groups, str(spec.get("uid") or ""))
    if kind == "LocalSubjectAccessReview" and (resource or {}).get("namespace") != call.info.namespace:
        causes.append(
            errors.invalid_value(
                "spec.resourceAttributes.namespace", (resource or {}).get("namespace"), "must match metadata.namespace"
            )
        )
    if causes:
        raise errors.invalid(call.kind.group, kind, "", causes)
    if path is not None:
        wanted = Attributes(str(path.get("verb", "")), path=str(path.get("path", "")) or "/")
    else:
        assert resource is not None
        wanted = Attributes(
            str(resource.get("verb", "")),
            str(resource.get("group", "")),
            str(resource.get("resource", "")),
            str(resource.get("subresource", "")),
            str(resource.get("name", "")),
            str(resource.get("namespace", "")),
        )
    allowed = call.context.authorizer.allowed(user, wanted)
    obj["status"] = {"allowed": allowed, **({"reason": "RBAC: allowed"} if allowed else {})}
    return obj


def _rules(call: Call, obj: Object) -> Object:
    namespace = (obj.get("spec") or {}).get("namespace", "")
    if not namespace:
        raise errors.bad_request("no namespace on request")
    resource_rules, path_rules = [], []
    rules = list(call.context.authorizer.rules(call.user, namespace))
    if "system:masters" in call.user.groups:
        rules.insert(0, {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]})
        rules.insert(1, {"verbs": ["*"], "nonResourceURLs": ["*"]})
    for rule in rules:
        if rule.get("resources"):
            entry = {k: rule[k] for k in ("verbs", "apiGroups", "resources", "resourceNames") if rule.get(k)}
            if entry not in resource_rules:
                resource_rules.append(entry)
        if rule.get("nonResourceURLs"):
            entry = {"verbs": rule["verbs"], "nonResourceURLs": rule["nonResourceURLs"]}
            if entry not in path_rules:
                path_rules.append(entry)
    obj["status"] = {"resourceRules": resource_rules, "nonResourceRules": path_rules, "incomplete": False}
    return obj
