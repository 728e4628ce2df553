"""Reads a CEL expression: recursive descent over the language definition's grammar, macros recognised on the way.

In: the expression's text. Out: the tree of `syntax`. Raises CelError with the place; nesting is bounded, so hostile
texts end in an error and not in an exhausted stack.
"""

import functools
from collections.abc import Callable

from tortie.apiserver.cel import syntax as s
from tortie.apiserver.cel.lexer import Token, tokens
from tortie.apiserver.cel.values import INT_MAX, CelError

TEXT_LIMIT = 100_000
DEPTH_LIMIT = 100
_SHORT = 2000
_COMPARISONS = ("==", "!=", "<", "<=", ">", ">=", "in")
_LOOPS = {"all": 2, "exists": 2, "exists_one": 2, "existsOne": 2, "filter": 2, "map": 2}
_LOOPS_OF_TWO = {"all", "exists", "existsOne", "exists_one", "transformList", "transformMap", "transformMapEntry"}


def parse(text: str) -> s.Node:
    """The tree of an expression. Nobody changes a tree, so short texts, which definitions repeat, are read once."""
    if len(text) > TEXT_LIMIT:
        raise CelError(f"expression is longer than {TEXT_LIMIT} characters", 0)
    return _known(text) if len(text) <= _SHORT else _read(text)


@functools.lru_cache(maxsize=512)
def _known(text: str) -> s.Node:
    return _read(text)


def _read(text: str) -> s.Node:
    parser = _Parser(tokens(text))
    node = parser.expression()
    parser.expect_end()
    return node


class _Parser:
    def __init__(self, found: list[Token]) -> None:
        self._tokens = found
        self._place = 0
        self._nesting = 0

    # --- tokens ---

    @property
    def _now(self) -> Token:
        return self._tokens[self._place]

    def _next(self) -> Token:
        token = self._now
        self._place += token.kind != "end"
        return token

    def _at(self, *operators: str) -> bool:
        token = self._now
        return token.kind == "operator" and token.value in operators

    def _take(self, operator: str) -> bool:
        if self._at(operator):
            self._place += 1
            return True
        return False

    def _expect(self, operator: str) -> Token:
        if not self._at(operator):
            raise self._unexpected(f"'{operator}'")
        return self._next()

    def _unexpected(self, wanted: str) -> CelError:
        token = self._now
        shown = "<EOF>" if token.kind == "end" else token.value
        return CelError(f"Syntax error: mismatched input '{shown}' expecting {wanted}", token.at)

    def expect_end(self) -> None:
        if self._now.kind != "end":
            raise self._unexpected("<EOF>")

    def _checked(self, node: s.Node, *below: s.Node | None) -> s.Node:
        s.measured(node, *below)
        if node.depth > DEPTH_LIMIT:
            raise CelError(f"expression is nested deeper than {DEPTH_LIMIT} levels", node.at)
        return node

    # --- operators ---

    def expression(self) -> s.Node:
        self._nesting += 1
        if self._nesting > DEPTH_LIMIT // 2:
            raise CelError(f"expression is nested deeper than {DEPTH_LIMIT // 2} brackets", self._now.at)
        node = self._logic("||", lambda: self._logic("&&", self._comparison))
        if self._at("?"):
            at = self._next().at
            then = self._logic("||", lambda: self._logic("&&", self._comparison))
            self._expect(":")
            otherwise = self.expression()
            node = self._checked(s.Conditional(at, node, then, otherwise), node, then, otherwise)
        self._nesting -= 1
        return node

    def _logic(self, operator: str, part: Callable[[], s.Node]) -> s.Node:
        first = part()
        if not self._at(operator):
            return first
        at = self._now.at
        parts = [first]
        while self._take(operator):
            parts.append(part())
        return self._checked(s.Logic(at, operator, parts), *parts)

    def _comparison(self) -> s.Node:
        left = self._sum()
        while self._at(*_COMPARISONS) or (self._now.kind == "name" and self._now.value == "in"):
            token = self._next()
            right = self._sum()
            left = self._checked(s.Call(token.at, f"_{token.value}_", None, [left, right]), left, right)
        return left

    def _chain(self, operators: tuple[str, ...], part: Callable[[], s.Node]) -> s.Node:
        left = part()
        while self._at(*operators):
            token = self._next()
            right = part()
            left = self._checked(s.Call(token.at, f"_{token.value}_", None, [left, right]), left, right)
        return left

    def _sum(self) -> s.Node:
        return self._chain(("+", "-"), lambda: self._chain(("*", "/", "%"), self._unary))

    def _unary(self) -> s.Node:
        if self._at("!", "-"):
            token = self._next()
            count = 1
            while self._take(token.value):
                count += 1
            if token.value == "-":
                number = self._now
                follows = self._tokens[min(self._place + 1, len(self._tokens) - 1)]
                if number.kind in {"literal", "big"} and type(number.value) in {int, float} and count % 2:
                    self._place += 1
                    value = -number.value
                    node: s.Node = s.Literal(token.at, value)
                    return self._postfix(node) if follows.kind == "operator" else node
            operand = self._member()
            if count % 2 == 0:
                return operand if token.value == "!" else self._negated(token, self._negated(token, operand))
            return self._negated(token, operand)
        return self._member()

    def _negated(self, token: Token, operand: s.Node) -> s.Node:
        return self._checked(s.Call(token.at, f"{token.value}_", None, [operand]), operand)

    # --- members ---

    def _member(self) -> s.Node:
        return self._postfix(self._primary())

    def _postfix(self, node: s.Node) -> s.Node:
        while True:
            if self._at("."):
                dot = self._next()
                optional = self._take("?")
                name = self._now
                if name.kind not in {"name", "quoted"}:
                    raise self._unexpected("IDENTIFIER")
                self._next()
                if self._at("(") and not optional and name.kind == "name":
                    node = self._method(node, name)
                else:
                    node = self._checked(s.Select(dot.at, node, name.value, optional), node)
            elif self._at("["):
                at = self._next().at
                optional = self._take("?")
                index = self.expression()
                self._expect("]")
                node = self._checked(s.Index(at, node, index, optional), node, index)
            elif self._at("{") and (type_name := s.dotted(node)):
                node = self._message(node.at, type_name)
            else:
                return node

    def _arguments(self) -> list[s.Node]:
        self._expect("(")
        found: list[s.Node] = []
        while not self._at(")"):
            found.append(self.expression())
            if not self._take(","):
                break
        self._expect(")")
        return found

    def _method(self, target: s.Node, name: Token) -> s.Node:
        at = self._now.at
        found = self._arguments()
        method = name.value
        if s.dotted(target) == "cel" and method == "bind" and len(found) == 3:
            variable = self._variable(found[0], "cel.bind")
            return self._checked(s.Bind(at, variable, found[1], found[2]), found[1], found[2])
        if method in {"optMap", "optFlatMap"} and len(found) == 2:
            variable = self._variable(found[0], method)
            body = found[1]
            return self._checked(s.OptionalMap(at, target, variable, body, method == "optFlatMap"), target, body)
        loop = self._loop(at, target, method, found)
        if loop is not None:
            return loop
        return self._checked(s.Call(at, method, target, found), target, *found)

    def _loop(self, at: int, over: s.Node, method: str, found: list[s.Node]) -> s.Node | None:
        macro = "existsOne" if method == "exists_one" else method
        if method in _LOOPS and (len(found) == 2 or (method == "map" and len(found) == 3)):
            names = [self._variable(found[0], method)]
            rest = found[1:]
        elif method in _LOOPS_OF_TWO and (len(found) == 3 or (method.startswith("transform") and len(found) == 4)):
            names = [self._variable(found[0], method), self._variable(found[1], method)]
            if names[0] == names[1]:
                raise CelError(f"duplicate variable name: {names[0]}", found[1].at)
            rest = found[2:]
        else:
            return None
        condition: s.Node | None
        result: s.Node | None
        if method == "map" or method.startswith("transform"):
            condition, result = (rest[0], rest[1]) if len(rest) == 2 else (None, rest[0])
        else:
            condition, result = rest[0], None
        return self._checked(s.Loop(at, macro, over, names, condition, result), over, condition, result)

    @staticmethod
    def _variable(node: s.Node, macro: str) -> str:
        if not isinstance(node, s.Name):
            raise CelError(f"argument of {macro} must be a simple name", node.at)
        return node.name

    def _message(self, at: int, type_name: str) -> s.Node:
        self._expect("{")
        fields: list[tuple[str, s.Node, bool]] = []
        while not self._at("}"):
            optional = self._take("?")
            name = self._next()
            if name.kind not in {"name", "quoted"}:
                raise CelError("Syntax error: a field's name is expected", name.at)
            self._expect(":")
            fields.append((name.value, self.expression(), optional))
            if not self._take(","):
                break
        self._expect("}")
        return self._checked(s.Message(at, type_name, fields), *(value for _, value, _ in fields))

    # --- primaries ---

    def _primary(self) -> s.Node:
        token = self._now
        if token.kind == "literal":
            self._next()
            return s.Literal(token.at, token.value)
        if token.kind == "big":
            raise CelError(f"invalid int literal: {token.value} is more than {INT_MAX}", token.at)
        if self._take("("):
            node = self.expression()
            self._expect(")")
            return node
        if self._at("["):
            return self._list()
        if self._at("{"):
            return self._map()
        rooted = self._take(".")
        token = self._now
        if token.kind != "name":
            raise self._unexpected("an expression")
        self._next()
        if token.value in {"true", "false", "null"} and not rooted:
            return s.Literal(token.at, {"true": True, "false": False, "null": None}[token.value])
        if token.value in s.RESERVED or token.value == "in":
            raise CelError(f"reserved identifier: {token.value}", token.at)
        if not self._at("("):
            return s.Name(token.at, token.value)
        at = self._now.at
        found = self._arguments()
        if token.value == "has":
            if len(found) != 1 or not isinstance(found[0], s.Select) or found[0].optional:
                raise CelError("invalid argument to has() macro", at)
            found[0].test = True
            return found[0]
        return self._checked(s.Call(at, token.value, None, found), *found)

    def _list(self) -> s.Node:
        at = self._expect("[").at
        items: list[tuple[s.Node, bool]] = []
        while not self._at("]"):
            optional = self._take("?")
            items.append((self.expression(), optional))
            if not self._take(","):
                break
        self._expect("]")
        return self._checked(s.ListOf(at, items), *(item for item, _ in items))

    def _map(self) -> s.Node:
        at = self._expect("{").at
        entries: list[tuple[s.Node, s.Node, bool]] = []
        while not self._at("}"):
            optional = self._take("?")
            key = self.expression()
            self._expect(":")
            entries.append((key, self.expression(), optional))
            if not self._take(","):
                break
        self._expect("}")
        return self._checked(s.MapOf(at, entries), *(n for key, value, _ in entries for n in (key, value)))
