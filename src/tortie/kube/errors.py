"""What can go wrong between us and the Kubernetes API, as one tree.

    ApiError
    ├── BadRequest            400   the request is malformed
    ├── Unauthorized          401   our credentials are not accepted
    ├── Forbidden             403   RBAC or admission says no
    ├── NotFound              404   the object or the resource does not exist
    ├── Conflict              409   somebody else changed the object first
    │   └── AlreadyExists     409   create of an object that is there
    ├── Gone                  410   the resource version or continue token is too old
    ├── Invalid               422   validation failed; details.causes say where
    └── Temporary                   worth trying again
        ├── TooManyRequests   429   after retry_after seconds
        └── Unavailable       5xx   or no answer at all (status 0)

In: HTTP answers and Status objects. Out: typed errors, for every caller of the client.
"""

from typing import Any

import msgspec


class StatusCause(msgspec.Struct, frozen=True, rename="camel"):
    reason: str = ""
    message: str = ""
    field: str = ""


class StatusDetails(msgspec.Struct, frozen=True, rename="camel"):
    name: str = ""
    group: str = ""
    kind: str = ""
    uid: str = ""
    causes: tuple[StatusCause, ...] = ()
    retry_after_seconds: int = 0


class Status(msgspec.Struct, frozen=True, rename="camel"):
    """The Kubernetes Status object."""

    kind: str = "Status"
    status: str = ""
    message: str = ""
    reason: str = ""
    code: int = 0
    details: StatusDetails | None = None


class ApiError(Exception):
    """status: HTTP status, 0 without an answer. reason: Kubernetes' machine-readable word. details: may be None."""

    def __init__(
        self,
        status: int,
        reason: str,
        message: str,
        details: StatusDetails | None = None,
        *,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message or reason or f"HTTP {status}")
        self.status = status
        self.reason = reason
        self.message = message
        self.details = details
        self.retry_after = retry_after


class BadRequest(ApiError): ...


class Unauthorized(ApiError): ...


class Forbidden(ApiError): ...


class NotFound(ApiError): ...


class Conflict(ApiError): ...


class AlreadyExists(Conflict): ...


class Gone(ApiError): ...


class Invalid(ApiError): ...


class Temporary(ApiError): ...


class TooManyRequests(Temporary): ...


class Unavailable(Temporary): ...


_BY_STATUS: dict[int, type[ApiError]] = {
    400: BadRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    422: Invalid,
    429: TooManyRequests,
}

_decoder = msgspec.json.Decoder(Status)


def from_status(status: Status, *, http_status: int = 0, retry_after: float | None = None) -> ApiError:
    """The error that a Status object stands for; http_status is used where the object names no code."""
    code = status.code or http_status
    if status.reason in ("Expired", "Gone"):
        kind: type[ApiError] = Gone
    elif status.reason == "AlreadyExists":
        kind = AlreadyExists
    elif code >= 500:
        kind = Unavailable
    else:
        kind = _BY_STATUS.get(code, ApiError)
    if retry_after is None and status.details is not None and status.details.retry_after_seconds:
        retry_after = float(status.details.retry_after_seconds)
    return kind(code, status.reason, status.message, status.details, retry_after=retry_after)


def from_response(http_status: int, body: bytes, *, retry_after: str | None = None, what: str = "") -> ApiError:
    """The error in an HTTP answer whose body is a Status object, or any text (a proxy's page). what: the request,
    for the message."""
    try:
        status = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        text = body[:200].decode("utf-8", "replace").strip()
        status = Status(message=f"{what}: HTTP {http_status} {text}".strip(), code=http_status)
    if status.kind != "Status":
        status = Status(message=f"{what}: HTTP {http_status}", code=http_status)
    return from_status(status, http_status=http_status, retry_after=_seconds(retry_after))


def too_large_resource_version(error: ApiError) -> bool:
    """The server has not reached the resource version we hold: it lags, or it was restored from an older state."""
    causes = error.details.causes if error.details is not None else ()
    return any(c.reason == "ResourceVersionTooLarge" for c in causes) or "Too large resource version" in error.message


def _seconds(text: str | None) -> float | None:
    try:
        return max(0.0, float(text)) if text else None
    except ValueError:
        return None


def as_dict(details: StatusDetails | None) -> dict[str, Any]:
    """Details as plain data, for logs."""
    result: dict[str, Any] = msgspec.to_builtins(details) if details is not None else {}
    return result
