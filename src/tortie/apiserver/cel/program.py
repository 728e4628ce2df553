"""Checks a parsed expression against the types of its variables and makes it a program of closures.

In: the tree of `syntax` and the variables' static types. Out: `Program`, whose `evaluate` takes plain JSON values and
gives plain JSON values. Types are gradual: what is not known before evaluation is checked when it is evaluated.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from tortie.apiserver.cel import loops, types, values
from tortie.apiserver.cel import syntax as s
from tortie.apiserver.cel.calls import Built, Frame, call
from tortie.apiserver.cel.fields import build_index, build_select, unescape
from tortie.apiserver.cel.parser import parse
from tortie.apiserver.cel.types import DYN, Type
from tortie.apiserver.cel.values import NONE, CelError, CostExceeded, Meter, Optional, TypeValue

COST_LIMIT = 1_000_000
"""What one expression may cost: Kubernetes' limit for one call."""
_TYPE_NAMES = {
    "bool": "bool", "int": "int", "uint": "uint", "double": "double", "string": "string", "bytes": "bytes",
    "list": "list", "map": "map", "null_type": "null_type", "type": "type", "optional_type": "optional_type",
}  # fmt: skip
_LITERALS: dict[type, Type] = {
    bool: types.BOOL, int: types.INT, values.Uint: types.UINT, float: types.DOUBLE, str: types.STRING,
    bytes: types.BYTES, type(None): types.NULL,
}  # fmt: skip
_LONG_TYPES = {"google.protobuf.Timestamp", "google.protobuf.Duration", "net.IP", "net.CIDR", "kubernetes.Quantity"}


Messages = Mapping[str, Collection[str] | None]


class Program:
    """A checked expression. result: its static type. size: how many nodes it has."""

    def __init__(self, expression: str, result: Type, size: int, run: Callable[[Frame], Any]) -> None:
        self.expression = expression
        self.result = result
        self.size = size
        self._run = run

    def value(self, bindings: Mapping[str, Any], meter: Meter) -> Any:
        """The value as CEL has it, charged to the caller's meter. Raises CelError."""
        try:
            meter.charge(self.size)
            return self._run(Frame(dict(bindings), meter))
        except RecursionError:
            raise CelError("a value is nested too deep") from None
        except (OverflowError, MemoryError):
            raise CelError("a value is out of range") from None

    def evaluate(self, bindings: Mapping[str, Any], *, cost_limit: int = COST_LIMIT) -> Any:
        """The value as plain JSON. Raises CelError."""
        meter = Meter(cost_limit)
        return values.plain(self.value(bindings, meter), meter)


def compile(
    expression: str,
    variables: Mapping[str, Type | None],
    *,
    result: Type | None = None,
    messages: Messages | None = None,
) -> Program:
    """The program of an expression. result: what it must give. messages: types that it may construct, each with the
    fields it has, or None for any field and for types of its fields (`Object`, `Object.spec`, ...).

    Raises CelError with the place of the first mistake.
    """
    try:
        node = parse(expression)
        built = _Builder(messages or {}).build(node, {name: kind or DYN for name, kind in variables.items()})
    except RecursionError:
        raise CelError("expression is nested too deep", 0) from None
    if result is not None and not types.fits(result, built.type, {}):
        raise CelError(f"must evaluate to {result}")
    return Program(expression, built.type, node.size, built.run)


Scope = Mapping[str, Type]


class _Builder:
    def __init__(self, messages: Messages) -> None:
        self._messages = messages

    def build(self, node: s.Node, scope: Scope) -> Built:
        match node:
            case s.Literal(value=value):
                return Built(_LITERALS[type(value)], lambda _: value, value, known=True)
            case s.Name(name=name):
                return self._name(node, name, scope)
            case s.Select():
                return self._select(node, scope)
            case s.Index():
                parts = self.build(node.operand, scope), self.build(node.index, scope)
                return build_index(node, *parts)
            case s.Call():
                return self._call(node, scope)
            case s.Logic():
                return self._logic(node, scope)
            case s.Conditional():
                return self._conditional(node, scope)
            case s.ListOf():
                return self._list(node, scope)
            case s.MapOf():
                return self._map(node, scope)
            case s.Message():
                return self._message(node, scope)
            case s.Loop():
                return loops.build(node, scope, self.build)
            case s.Bind():
                return self._bind(node, scope)
            case s.OptionalMap():
                return self._optional_map(node, scope)
        raise CelError("expression is not understood", node.at)

    def _name(self, node: s.Node, name: str, scope: Scope) -> Built:
        if name in scope:
            at = node.at

            def run(frame: Frame) -> Any:
                try:
                    value = frame.names[name]
                except KeyError:
                    raise CelError(f"no such attribute: {name}", at) from None
                if type(value) is loops.Lazy:
                    return value.get(frame)
                return value

            return Built(scope[name], run)
        if name in _TYPE_NAMES:
            value = TypeValue(_TYPE_NAMES[name])
            return Built(types.TYPE, lambda _: value)
        raise CelError(f"undeclared reference to '{name}' (in container '')", node.at)

    def _select(self, node: s.Select, scope: Scope) -> Built:
        dotted = s.dotted(node)
        root = dotted.partition(".")[0]
        if dotted and root not in scope:
            if dotted in _LONG_TYPES:
                value = TypeValue(dotted)
                return Built(types.TYPE, lambda _: value)
            raise CelError(f"undeclared reference to '{root}' (in container '')", node.at)
        return build_select(node, self.build(node.operand, scope))

    def _call(self, node: s.Call, scope: Scope) -> Built:
        mixed = node.name == "format" and node.target is not None
        arguments = [
            self._list(argument, scope, mixed=True)
            if mixed and isinstance(argument, s.ListOf)
            else self.build(argument, scope)
            for argument in node.arguments
        ]
        if node.target is None:
            return call(node, node.name, arguments, member=False)
        dotted = s.dotted(node.target)
        if dotted and dotted.partition(".")[0] not in scope:
            full = f"{dotted}.{node.name}"
            return call(node, full, arguments, member=False)
        return call(node, node.name, [self.build(node.target, scope), *arguments], member=True)

    def _logic(self, node: s.Logic, scope: Scope) -> Built:
        parts = []
        for part in node.parts:
            built = self.build(part, scope)
            if built.type.name not in {"bool", "dyn"}:
                raise CelError(
                    f"found no matching overload for '_{node.operator}_' applied to '({built.type}, bool)'", node.at
                )
            parts.append(built.run)
        decisive = node.operator == "||"

        def run(frame: Frame) -> bool:
            held: CelError | None = None
            for part in parts:
                try:
                    value = part(frame)
                except CostExceeded:
                    raise
                except CelError as error:
                    held = held or error
                    continue
                if value is True and decisive:
                    return True
                if value is False and not decisive:
                    return False
                if type(value) is not bool:
                    held = held or CelError("no such overload", node.at)
            if held is not None:
                raise held
            return not decisive

        return Built(types.BOOL, run)

    def _conditional(self, node: s.Conditional, scope: Scope) -> Built:
        condition = self.build(node.condition, scope)
        then, otherwise = self.build(node.then, scope), self.build(node.otherwise, scope)
        if condition.type.name not in {"bool", "dyn"} or not types.fits(then.type, otherwise.type, {}):
            raise CelError(
                "found no matching overload for '_?_:_' applied to "
                f"'({condition.type}, {then.type}, {otherwise.type})'",
                node.at,
            )

        def run(frame: Frame) -> Any:
            value = condition.run(frame)
            if value is True:
                return then.run(frame)
            if value is False:
                return otherwise.run(frame)
            raise CelError("no such overload", node.at)

        return Built(types.common(then.type, otherwise.type), run)

    def _list(self, node: s.ListOf, scope: Scope, *, mixed: bool = False) -> Built:
        parts = [(self.build(item, scope), optional) for item, optional in node.items]
        item: Type | None = None
        for (built, optional), (below, _) in zip(parts, node.items, strict=True):
            kind = (built.type.params or (DYN,))[0] if optional else built.type
            item = DYN if mixed else kind if item is None else self._same(item, kind, below.at)
        runs = [(built.run, optional) for built, optional in parts]

        def run(frame: Frame) -> list[Any]:
            found = []
            for each, optional in runs:
                value = each(frame)
                if not optional:
                    found.append(value)
                elif _optional(value, node.at).present:
                    found.append(value.value)
            return found

        return Built(types.list_of(item or DYN), run)

    @staticmethod
    def _same(known: Type, kind: Type, at: int) -> Type:
        if not types.fits(known, kind, {}) and not types.fits(kind, known, {}):
            raise CelError(f"expected type '{known}' but found '{kind}'", at)
        return types.common(known, kind)

    def _map(self, node: s.MapOf, scope: Scope) -> Built:
        parts = []
        key_type: Type | None = None
        value_type: Type | None = None
        for key, value, optional in node.entries:
            built_key, built = self.build(key, scope), self.build(value, scope)
            kind = (built.type.params or (DYN,))[0] if optional else built.type
            key_type = built_key.type if key_type is None else self._same(key_type, built_key.type, key.at)
            value_type = kind if value_type is None else self._same(value_type, kind, value.at)
            parts.append((built_key.run, built.run, optional))

        def run(frame: Frame) -> dict[Any, Any]:
            found: dict[Any, Any] = {}
            for key, each, optional in parts:
                name, value = key(frame), each(frame)
                if not isinstance(name, str | int):
                    raise CelError(f"unsupported key type: {values.type_name(name)}", node.at)
                if optional:
                    if not _optional(value, node.at).present:
                        continue
                    value = value.value
                if name in found:
                    raise CelError(f"repeated key: {name}", node.at)
                found[name] = value
            return found

        return Built(types.map_of(key_type or DYN, value_type or DYN), run)

    def _message(self, node: s.Message, scope: Scope) -> Built:
        root = node.type_name.partition(".")[0]
        if root not in self._messages or (self._messages[root] is not None and root != node.type_name):
            raise CelError(f"undeclared reference to '{node.type_name}' (in container '')", node.at)
        allowed = self._messages[root]
        parts = []
        for written, value, optional in node.fields:
            name = unescape(written)
            if allowed is not None and name not in allowed:
                raise CelError(f"undefined field '{written}'", value.at)
            built = self.build(value, scope)
            if allowed is None:
                self._belongs(node.type_name, name, built.type, value.at)
            parts.append((name, built.run, optional))

        def run(frame: Frame) -> dict[str, Any]:
            found: dict[str, Any] = {}
            for name, each, optional in parts:
                value = each(frame)
                if optional:
                    if not _optional(value, node.at).present:
                        continue
                    value = value.value
                found[name] = value
            return found

        return Built(Type(node.type_name, (), {name: DYN for name, _, _ in parts}), run)

    def _belongs(self, owner: str, field: str, kind: Type, at: int) -> None:
        """A message below another has the type of its place."""
        inner = kind.params[0] if kind.name in {"list", "optional_type"} and kind.params else kind
        root, dot, _ = inner.name.partition(".")
        if inner.fields is None or root not in self._messages or self._messages[root] is not None:
            return
        if not dot or inner.name != f"{owner}.{field}":
            raise CelError(f"expected type of field '{field}' is '{owner}.{field}' but provided type is '{inner}'", at)

    def _bind(self, node: s.Bind, scope: Scope) -> Built:
        value = self.build(node.value, scope)
        body = self.build(node.body, {**scope, node.name: value.type})

        def run(frame: Frame) -> Any:
            with frame.bound(node.name, value.run(frame)):
                return body.run(frame)

        return Built(body.type, run)

    def _optional_map(self, node: s.OptionalMap, scope: Scope) -> Built:
        target = self.build(node.target, scope)
        inner = target.type.params[0] if target.type.params else DYN
        body = self.build(node.body, {**scope, node.name: inner})

        def run(frame: Frame) -> Optional:
            value = _optional(target.run(frame), node.at)
            if not value.present:
                return NONE
            with frame.bound(node.name, value.value):
                found = body.run(frame)
            return _optional(found, node.at) if node.flat else Optional(True, found)

        return Built(body.type if node.flat else types.optional_of(body.type), run)


def _optional(value: Any, at: int) -> Optional:
    if not isinstance(value, Optional):
        raise CelError(f"no such overload: an optional is expected, found {values.type_name(value)}", at)
    return value
