"""Settings from the environment, typed and checked before a daemon starts.

In: a msgspec struct that declares the settings, and the environment. Out: an instance, or one `Fatal` that names
every wrong setting, its value and what is allowed.
"""

import os
from collections.abc import Mapping
from typing import Any, TypeVar, get_type_hints

import msgspec

from tortie.service.run import Fatal

S = TypeVar("S", bound=msgspec.Struct)

_TRUE = {"true", "1", "yes", "y", "t", "on", "enabled"}
_FALSE = {"false", "0", "no", "n", "f", "off", "disabled"}


def from_environment(struct: type[S], *, prefix: str = "", environ: Mapping[str, str] | None = None) -> S:
    """Reads PREFIX + FIELD (upper case) for every field of the struct; unset or empty means the field's default.

    Booleans take true/false, yes/no, 1/0, on/off, enabled/disabled; tuples and lists are comma-separated. Raises
    Fatal with one line per setting that is wrong or missing.
    """
    source = os.environ if environ is None else environ
    hints = get_type_hints(struct)
    values: dict[str, Any] = {}
    problems: list[str] = []
    for field in msgspec.structs.fields(struct):
        name = prefix + field.name.upper()
        text = source.get(name, "").strip()
        if not text:
            if field.required:
                problems.append(f"{name} is not set; it is required")
            continue
        try:
            values[field.name] = _convert(text, hints[field.name])
        except (msgspec.ValidationError, ValueError) as error:
            problems.append(f"{name}={text!r}: {error}")
    if problems:
        raise Fatal("wrong settings: " + "; ".join(problems))
    return struct(**values)


def _convert(text: str, hint: Any) -> Any:
    if hint is bool:
        lower = text.lower()
        if lower in _TRUE | _FALSE:
            return lower in _TRUE
        raise ValueError("is not a boolean; allowed: true, false")
    origin = getattr(hint, "__origin__", None)
    if origin in (list, tuple):
        return msgspec.convert([part.strip() for part in text.split(",") if part.strip()], hint, strict=False)
    return msgspec.convert(text, hint, strict=False)
