"""What the API server behind says no to, in the words of the API in front.

In: an error of `kube.Client` about a stored object, and what the request was about. Out: a `StatusError` about the
v3 object (spec/apiserver-controllers-clis.md 1.5, 1.7). Pure.
"""

from typing import Any

from tortie.apiserver import errors
from tortie.apiserver.errors import Cause, StatusError
from tortie.apiserver.records import Key
from tortie.kube.errors import (
    AlreadyExists,
    ApiError,
    BadRequest,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    TooManyRequests,
    Unauthorized,
)
from tortie.model.resource import Resource


def translate(error: ApiError, resource: Resource[Any], key: Key) -> StatusError:
    """The answer for a request on the v3 object `key`, given what the API server behind answered."""
    group, plural, name = resource.group, resource.plural, key[1]
    details = error.details
    match error:
        case AlreadyExists():
            return errors.already_exists(group, plural, name)
        case Conflict() if "UID in precondition" in error.message:
            return errors.not_found(group, plural, name)  # another object has the name by now
        case Conflict():
            return errors.conflict(group, plural, name)
        case NotFound() if details is not None and details.kind == "namespaces":
            return errors.not_found("", "namespaces", details.name)
        case NotFound() if details is not None and details.name:
            return errors.not_found(group, plural, name)
        case NotFound():
            return absent(resource)
        case Invalid():
            causes = _causes(error)
            if any(cause.field == "metadata.resourceVersion" for cause in causes):
                return errors.conflict(group, plural, name)
            return errors.invalid(group, resource.kind, name, causes)
        case Forbidden() if any(cause.reason == "NamespaceTerminating" for cause in _causes(error)):
            why = error.message.partition("is forbidden: ")[2] or error.message
            return errors.forbidden(group, plural, name, why, _causes(error))
        case Forbidden() | Unauthorized():
            return errors.internal(f"connection to the datastore is unauthorized: {error.message}")
        case Gone():
            return errors.expired(error.message)
        case BadRequest():
            return errors.bad_request(error.message)
        case TooManyRequests():
            return _later(429, "TooManyRequests", error)
    if error.status == 507:
        return errors.no_space(error.message)
    if isinstance(error.__cause__, TimeoutError):
        return late(f"the API server that keeps the objects did not answer in time: {error.message}")
    return _later(503, "ServiceUnavailable", error)


def absent(resource: Resource[Any]) -> StatusError:
    """The resource that keeps the objects is not served (yet)."""
    return StatusError(
        503,
        "ServiceUnavailable",
        f"the CustomResourceDefinition that keeps {resource.plural} is not installed",
        details={"retryAfterSeconds": 1},
    )


def late(message: str) -> StatusError:
    """Nobody knows what became of it."""
    return StatusError(504, "Timeout", message, details={"retryAfterSeconds": 1})


def _later(code: int, reason: str, error: ApiError) -> StatusError:
    seconds = max(1, round(error.retry_after or 1))
    text = f"the API server that keeps the objects: {error.message}"
    return StatusError(code, reason, text, details={"retryAfterSeconds": seconds})


def _causes(error: ApiError) -> list[Cause]:
    found = error.details.causes if error.details is not None else ()
    causes = [Cause(c.reason, c.field, c.message) for c in found]
    return causes or [Cause("FieldValueInvalid", "", error.message)]
