"""A list of field errors that checks add to.

For the checks beside this module. In: paths, values and what is wrong with them. Out: `Problems.errors`.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from tortie.model import formats, query
from tortie.model.selector import SelectorError, parse
from tortie.model.serving import ServingMode
from tortie.model.structural import ErrorType, FieldError, collect


class Problems:
    """Collects errors; every method adds at most what its name says and returns nothing. mode: which API server asks,
    for the few checks that only one of them makes."""

    def __init__(self, mode: ServingMode = ServingMode.NATIVE) -> None:
        self.errors: list[FieldError] = []
        self.mode = mode

    @property
    def aggregated(self) -> bool:
        return self.mode is ServingMode.AGGREGATED

    def add(self, path: str, value: Any, message: str, type_: ErrorType = "Invalid") -> None:
        collect(self.errors, path, value, message, type_)

    def required(self, path: str, message: str = "") -> None:
        self.add(path, None, message, "Required")

    def forbidden(self, path: str, message: str) -> None:
        self.add(path, None, message, "Forbidden")

    def one_of(self, path: str, part: Any, *fields: str, optional: bool = False) -> None:
        """An error unless exactly one of these fields of a struct is set, or none if optional; of all by default."""
        attributes = dict(zip(part.__struct_encode_fields__, part.__struct_fields__, strict=True))
        fields = fields or tuple(attributes)
        present = [field for field in fields if getattr(part, attributes[field]) not in (None, "")]
        if len(present) != 1 and (present or not optional):
            found = f"has {' and '.join(present)}" if present else "has none of them"
            self.add(path, found, f"must have {'at most' if optional else 'exactly'} one of {', '.join(fields)}")

    def text(self, path: str, value: str, problem: Callable[[str], str]) -> None:
        """An error if the value is there and the format check has something to say."""
        if value and (message := problem(value)):
            self.add(path, value, message)

    def texts(self, path: str, values: Iterable[str], problem: Callable[[str], str]) -> None:
        for index, value in enumerate(values):
            if message := problem(value):
                self.add(f"{path}[{index}]", value, message)

    def selector(self, path: str, value: str, *, allow_global: bool = False) -> None:
        """A selector; global() is for the namespaceSelector of rules alone."""
        if not value:
            return
        if len(value) > MAX_SELECTOR:
            self.add(path, value, f"must be no more than {MAX_SELECTOR} characters")
            return
        if not allow_global and "global(" in value:
            self.add(path, value, "global() may be used only in the namespaceSelector of a rule")
            return
        try:
            parse(value)
        except SelectorError as error:
            self.add(path, value, f"is not a selector: {error.message} at position {error.position + 1}")

    def query(self, path: str, value: str, known: Iterable[str] = ()) -> None:
        """A query of logs or events. known: the names of the substitutions that it may refer to."""
        try:
            node = query.parse(value)
        except query.QueryError as error:
            self.add(path, value, f"is not a query: {error.message} at position {error.position + 1}")
            return
        names = set(known)
        for name in query.variables(node):
            if name not in names:
                defined = ", ".join(sorted(names)) or "none"
                self.add(path, value, f"refers to the substitution {name}, but those defined are: {defined}")

    def time(self, path: str, value: str | None) -> datetime | None:
        """The time, if it is there and is one."""
        if value is None:
            return None
        try:
            return formats.time(value)
        except ValueError:
            self.add(path, value, "must be a time such as 2026-01-31T12:00:00Z")
            return None

    def unique(self, path: str, field: str, values: Iterable[str], what: str) -> None:
        """An error for each value of a field of list items that came before."""
        seen: set[str] = set()
        for index, value in enumerate(values):
            if value in seen:
                self.add(f"{path}[{index}].{field}", value, f"another {what} has it already")
            seen.add(value)

    def duration(self, path: str, value: str | None) -> None:
        if value:
            self.text(path, value, formats.duration_problem)

    def labels(self, path: str, labels: Mapping[str, Any]) -> None:
        for key, value in labels.items():
            if message := formats.qualified_name_problem(key):
                self.add(path, key, message)
            elif not isinstance(value, str):
                self.add(f"{path}.{key}", value, "must be a string", "TypeInvalid")
            elif message := formats.label_value_problem(value):
                self.add(path, value, message)

    def annotations(self, path: str, annotations: Mapping[str, Any]) -> None:
        size = 0
        for key, value in annotations.items():
            if message := formats.qualified_name_problem(key.lower()):
                self.add(path, key, message)
            if not isinstance(value, str):
                self.add(f"{path}.{key}", value, "must be a string", "TypeInvalid")
            else:
                size += len(key.encode()) + len(value.encode())
        if size > MAX_ANNOTATIONS:
            self.add(path, size, f"keys and values must not be larger than {MAX_ANNOTATIONS} bytes in all")


MAX_ANNOTATIONS = 256 * 1024
MAX_SELECTOR = 64 * 1024
"""For the fields whose schema has no limit of its own."""
