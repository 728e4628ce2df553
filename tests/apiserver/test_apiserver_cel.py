"""CEL: what expressions give, what is refused when they are compiled, and that nothing hostile holds the server."""

import time
from typing import Any

import pytest

from tortie.apiserver import cel

SELF: dict[str, Any] = {
    "name": "web",
    "replicas": 3,
    "ratio": 0.5,
    "labels": {"app": "web", "kubernetes.io/x": "y"},
    "ports": [{"name": "http", "port": 80}, {"name": "https", "port": 443}],
    "x-y": 1,
    "namespace": "n",
    "nothing": None,
    "networks": ["10.0.0.0/8", "fd00::/8"],
}

GIVES: list[tuple[str, Any]] = [
    # literals
    ("1", 1),
    ("0x1F", 31),
    ("-9223372036854775808", -(2**63)),
    ("2u + 3u", 5),
    ("1e3", 1000.0),
    (".5 + 1.25", 1.75),
    (r"'\u00e9\x41\101\n'", "éAA\n"),
    (r"r'\d'", r"\d"),
    ('"""a\nb"""', "a\nb"),
    ("b'\\xff'.size()", 1),
    ("[1, 2, 3]", [1, 2, 3]),
    ("{'a': 1, 'b': 2}", {"a": 1, "b": 2}),
    ("null == null", True),
    ("true // a comment", True),
    # arithmetic
    ("7 / -2", -3),
    ("-7 % 3", -1),
    ("1.0 / 0.0 > 1e300", True),
    ("2 + 3 * 4 - 1", 13),
    ("-(2 + 3)", -5),
    ("!false && !!true", True),
    # comparison across number types
    ("1 < 2.5", True),
    ("1u <= 1", True),
    ("2.0 >= 3u", False),
    ("dyn(1) == 1.0", True),
    ("dyn(1u) == 1", True),
    ("dyn(true) == dyn(1)", False),
    ("dyn([1, dyn(true)]) == dyn([1.0, dyn(true)])", True),
    ("'a' < 'b' && b'a' < b'b' && false < true", True),
    ("double('NaN') == double('NaN')", False),
    ("double('NaN') < 1.0", False),
    # errors are values of && || and of the macros that are made of them
    ("false && 1 / 0 > 0", False),
    ("1 / 0 > 0 && false", False),
    ("1 / 0 > 0 || true", True),
    ("[1, 2].exists(x, x / 0 == 1 || x == 2)", True),
    ("[1, 2].exists(x, x == 2 || 1 / (x - 1) > 5)", True),
    ("[0, 1].all(x, 1 / x > 5)", False),
    ("true ? 1 : 1 / 0", 1),
    # selection
    ("self.name", "web"),
    ("self['name']", "web"),
    ("self.x__dash__y", 1),
    ("self.__namespace__", "n"),
    ("self.`x-y`", 1),
    ("has(self.name) && !has(self.absent)", True),
    ("has(self.nothing)", True),
    ("self.ports[1].port", 443),
    ("'app' in self.labels && !('b' in self.labels)", True),
    ("self.labels['kubernetes.io/x']", "y"),
    ("{1: 'a'}[1] + {true: 'b'}[true]", "ab"),
    ("dyn({1: 'a'})[dyn(1.0)]", "a"),
    # macros
    ("self.ports.all(p, p.port > 0)", True),
    ("self.ports.exists(p, p.name == 'http')", True),
    ("self.ports.exists_one(p, p.port < 100)", True),
    ("self.ports.map(p, p.port)", [80, 443]),
    ("self.ports.map(p, p.port > 100, p.name)", ["https"]),
    ("self.ports.filter(p, p.port > 100).size()", 1),
    ("self.labels.all(k, k.size() > 2)", True),
    ("[1, 2].map(x, [3, 4].map(y, x * y))", [[3, 4], [6, 8]]),
    ("[1].map(self, self + 1) == [2] && self.replicas == 3", True),
    ("[5, 6].all(i, v, v == i + 5)", True),
    ("{'a': 1}.exists(k, v, k == 'a' && v == 1)", True),
    ("[1, 2, 2].existsOne(i, v, v == 2)", False),
    ("[1, 2].transformList(i, v, i + v)", [1, 3]),
    ("[1, 2, 3].transformList(i, v, v > 1, v)", [2, 3]),
    ("{'a': 1, 'b': 2}.transformMap(k, v, v * 2)", {"a": 2, "b": 4}),
    ("['a', 'b'].transformMapEntry(i, v, {v: i})", {"a": 0, "b": 1}),
    ("cel.bind(x, 2, x * x)", 4),
    # optionals
    ("self.?absent.orValue('none')", "none"),
    ("self.?labels.app.value()", "web"),
    ("self.?labels[?'b'].hasValue()", False),
    ("self.ports[?7].optMap(p, p.port).orValue(0)", 0),
    ("optional.of(2).optMap(v, v + 1).value()", 3),
    ("optional.of(1).optFlatMap(v, optional.none()).hasValue()", False),
    ("optional.ofNonZeroValue('').or(optional.of('b')).value()", "b"),
    ("[?optional.none(), ?optional.of(2), 1]", [2, 1]),
    ("{?'a': optional.none(), 'b': 1}", {"b": 1}),
    # conversions
    ("string(1) + string(1.5) + string(true) + string(1e21) + string(1000000.0)", "11.5true1e+211e+06"),
    ("int('42') + int(2.9) + int(3u)", 47),
    ("uint(7) == 7u", True),
    ("double('1.5') + double(1)", 2.5),
    ("bool('true') && string(b'abc') == 'abc' && bytes('é').size() == 2", True),
    ("type(1) == int && type('') == string && type([]) == list && type(null) == null_type", True),
    ("type(timestamp(0)) == google.protobuf.Timestamp", True),
    # times
    ("timestamp('2020-01-01T00:00:00Z') + duration('1h30m')", "2020-01-01T01:30:00Z"),
    ("timestamp('2020-01-02T00:00:00.5+01:00') - timestamp('2020-01-01T23:00:00Z')", "0.5s"),
    ("timestamp('2023-12-25T00:00:00Z').getDayOfWeek('America/New_York')", 0),
    ("timestamp('2023-12-25T10:20:30.123Z').getHours('+02:30')", 12),
    ("timestamp('2023-12-25T00:00:00Z').getMonth()", 11),
    ("timestamp('2024-12-31T00:00:00Z').getDayOfYear()", 365),
    ("duration('90m').getHours() + duration('90m').getMinutes()", 91),
    ("duration('1h') > duration('59m59s')", True),
    ("string(duration('1h0m1.25s'))", "3601.25s"),
    # texts
    ("'hello'.charAt(1) + 'hello'.substring(3) + 'hello'.substring(0, 2)", "elohe"),
    ("'hello'.indexOf('l') + 'hello'.lastIndexOf('l') + 'hello'.indexOf('z')", 4),
    ("'a-b-c'.split('-', 2)", ["a", "b-c"]),
    ("['a', 'b'].join('-') + ['a', 'b'].join()", "a-bab"),
    ("'TacoCat É'.lowerAscii()", "tacocat É"),
    ("' x '.trim() + 'aXbX'.replace('X', '', 1)", "xabX"),
    ("strings.quote('a\"b')", '"a\\"b"'),
    ("'%s %d %.2f %x %X %%'.format(['a', 3, 1.5, 255, 'k'])", "a 3 1.50 ff 6B %"),
    ("'%b %o %e'.format([5, 8, 1.0])", "101 10 1.000000e+00"),
    ("'%s'.format([[1, dyn('a'), null]])", "[1, a, null]"),
    ("'é'.size() == 1 && size('日本') == 2", True),
    ("'abc'.startsWith('ab') && 'abc'.endsWith('bc') && 'abc'.contains('b')", True),
    ("'10.1.2'.matches('^[0-9.]+$') && !'a'.matches('b')", True),
    ("'a1b22'.find('[0-9]+') + 'a1b22'.findAll('[0-9]+', 2)[1]", "122"),
    # lists and sets
    ("[1, 2, 2].isSorted() && [3, 1].max() == 3 && [2.5, 1.0].min() == 1.0", True),
    ("[1, 2, 3].sum() + [1, 2, 1].indexOf(1) + [1, 2, 1].lastIndexOf(1)", 8),
    ("sets.contains([1, 2], [2]) && sets.intersects([1], [1, 2]) && sets.equivalent([1, 1], [1])", True),
    # Kubernetes' libraries
    ("isQuantity('1.5Gi') && !isQuantity('1.5Xi')", True),
    ("quantity('1.5Gi').isGreaterThan(quantity('1500M'))", True),
    ("quantity('200k').asInteger() + quantity('1').add(2).asInteger()", 200003),
    ("quantity('0.5').isInteger() || quantity('500m').asApproximateFloat() != 0.5", False),
    ("quantity('-1').sign() + quantity('1').sub(quantity('1')).compareTo(quantity('0'))", -1),
    ("isIP('10.0.0.1') && isIP('::1') && !isIP('10.0.0.01') && !isIP('::ffff:1.2.3.4') && !isIP('fe80::1%eth0')", True),
    ("ip('127.0.0.1').isLoopback() && ip('fe80::1').isLinkLocalUnicast() && ip('::').isUnspecified()", True),
    ("ip('2001:db8::1').family() == 6 && ip.isCanonical('2001:db8::1') && !ip.isCanonical('2001:DB8::1')", True),
    ("ip('224.0.0.1').isLinkLocalMulticast() && ip('8.8.8.8').isGlobalUnicast()", True),
    ("isCIDR('10.0.0.0/8') && !isCIDR('10.0.0.0') && !isCIDR('10.0.0.0/33')", True),
    ("cidr('10.0.0.1/8').masked() == cidr('10.0.0.0/8') && cidr('10.0.0.1/8') != cidr('10.0.0.0/8')", True),
    ("cidr('10.0.0.0/8').containsIP('10.1.1.1') && cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16')", True),
    ("string(cidr('fd00::/8').ip()) + '/' + string(cidr('fd00::/8').prefixLength())", "fd00::/8"),
    ("self.networks.all(n, isCIDR(n) && cidr(n) == cidr(n).masked())", True),
    ("url('https://a.b:80/p?q=1&q=2').getQuery()['q']", ["1", "2"]),
    ("url('https://[::1]:80/').getHostname() + url('https://a:81/x%20y').getEscapedPath()", "::1/x%20y"),
    ("isURL('/path') && !isURL('no url') && url('http://h:8/').getPort() == '8'", True),
    ("semver('1.2.3').isGreaterThan(semver('1.2.3-rc.1')) && semver('1.0.0').compareTo(semver('1.0.1')) == -1", True),
    ("semver('v1.2', true).minor() == 2 && !isSemver('1.2') && isSemver('v01.2', true)", True),
    ("format.dns1123Label().validate('a-b').hasValue()", False),
    ("format.dns1123Subdomain().validate('A').value().size() > 0", True),
    ("format.named('uuid').value().validate('123e4567-e89b-12d3-a456-426614174000').hasValue()", False),
    ("format.named('nope').hasValue()", False),
    ("jsonpatch.escapeKey('a/b~c')", "a~1b~0c"),
]  # fmt: skip


@pytest.mark.parametrize(("expression", "value"), GIVES, ids=[row[0][:60] for row in GIVES])
def test_an_expression_gives_the_value_that_the_language_defines(expression: str, value: Any) -> None:
    found = cel.compile(expression, {"self": cel.DYN}).evaluate({"self": SELF})
    assert found == value
    assert isinstance(found, bool) == isinstance(value, bool)


REFUSED = [
    ("1 +", "Syntax error"),
    ("'a", "not closed"),
    ("foo", "undeclared reference to 'foo'"),
    ("self.x.frob()", "undeclared reference to 'frob'"),
    ("1 == 1.0", "no matching overload for '_==_'"),
    ("1 + 1.0", "no matching overload for '_+_'"),
    ("1 + 'a'", "no matching overload for '_+_'"),
    ("[1, 'a']", "expected type 'int' but found 'string'"),
    ("{'a': 1, 'b': 'x'}", "expected type 'int' but found 'string'"),
    ("true ? 1 : 'a'", "no matching overload for '_?_:_'"),
    ("1 && true", "no matching overload for '_&&_'"),
    ("'a'.matches('(')", "error parsing regexp"),
    ("9223372036854775808", "invalid int literal"),
    ("has(self)", "invalid argument to has()"),
    ("typed.absent", "undefined field 'absent'"),
    ("typed.name + 1", "no matching overload for '_+_'"),
    ("typed.name.nope", "does not support field selection"),
    ("typed.ports.all(p, p.nope > 1)", "undefined field 'nope'"),
    ("typed.name.all(x, true)", "cannot be range of a comprehension"),
    ("for", "reserved identifier"),
    ("[1].all(1, true)", "must be a simple name"),
    ("Object{spec: 1}", "undeclared reference to 'Object'"),
    ("(" * 200 + "1" + ")" * 200, "nested deeper"),
    ("+".join(["1"] * 500), "nested deeper"),
    ("self" + ".a" * 500, "nested deeper"),
]
_PORT = cel.object_of("Port", {"port": cel.INT})
_TYPED = cel.object_of("Typed", {"name": cel.STRING, "ports": cel.list_of(_PORT)})


@pytest.mark.parametrize(("expression", "words"), REFUSED, ids=[row[0][:40] for row in REFUSED])
def test_a_mistake_is_found_when_the_expression_is_compiled(expression: str, words: str) -> None:
    with pytest.raises(cel.CelError) as found:
        cel.compile(expression, {"self": None, "typed": _TYPED})
    assert words in found.value.message
    assert found.value.position >= 0
    assert "ERROR: <input>:1:" in found.value.shown(expression)


FAILS = [
    ("1 / 0 > 0", "division by zero"),
    ("1 % 0 > 0", "modulus by zero"),
    ("9223372036854775807 + 1 > 0", "integer overflow"),
    ("-(-9223372036854775807 - 1) > 0", "integer overflow"),
    ("0u - 1u > 0u", "unsigned integer overflow"),
    ("self.absent", "no such key: absent"),
    ("self.ports[9]", "index out of bounds"),
    ("self.name + 1", "no such overload"),
    ("self.replicas && true", "no such overload"),
    ("optional.none().value()", "optional.none() dereference"),
    ("ip('nonsense').family() == 4", "parse error"),
    ("cidr('10.0.0.0/8/9').prefixLength() == 8", "parse error"),
    ("quantity('x').sign() == 1", "quantities must match"),
    ("timestamp('nonsense') == timestamp(0)", "RFC 3339"),
    ("duration('1x') == duration('1s')", "invalid duration"),
    ("'%d'.format(['a'])", "cannot be used with string"),
    ("'%s'.format([])", "out of range"),
    ("{'a': 1, 'a': 2}", "repeated key"),
    ("int('1_000') == 1000", "cannot convert"),
    ("[1, 0].exists_one(x, 1 / x == 1)", "division by zero"),
]


@pytest.mark.parametrize(("expression", "words"), FAILS, ids=[row[0] for row in FAILS])
def test_an_evaluation_that_cannot_succeed_says_why(expression: str, words: str) -> None:
    program = cel.compile(expression, {"self": None})
    with pytest.raises(cel.CelError, match=r".") as found:
        program.evaluate({"self": SELF})
    assert words in found.value.message


HOSTILE = [
    "self.many.all(a, self.many.all(b, self.many.all(c, self.many.all(d, a + b + c + d >= 0))))",
    "".join(f"cel.bind(v{n}, {'self.name' if n == 0 else f'v{n - 1} + v{n - 1}'}, " for n in range(40))
    + "v39.size() > 0" + ")" * 40,
    "".join(f"cel.bind(v{n}, {'self.many' if n == 0 else f'[v{n - 1}, v{n - 1}]'}, " for n in range(40))
    + "v39 == [v38, v38]" + ")" * 40,
    "".join(f"cel.bind(v{n}, {'self.many' if n == 0 else f'[v{n - 1}, v{n - 1}]'}, " for n in range(40))
    + "'%s'.format([v39]).size() > 0" + ")" * 40,
    "".join(f"cel.bind(v{n}, {'self.many' if n == 0 else f'[v{n - 1}, v{n - 1}]'}, " for n in range(40))
    + "v39" + ")" * 40,
    "self.long.replace('', self.long).replace('', self.long).size() > 0",
]  # fmt: skip


@pytest.mark.parametrize("expression", HOSTILE, ids=["loops", "texts", "equality", "format", "result", "replace"])
def test_a_hostile_expression_ends_soon_in_an_error(expression: str) -> None:
    program = cel.compile(expression, {"self": None})
    start = time.process_time()
    with pytest.raises(cel.CostExceeded, match="cost limit exceeded"):
        program.evaluate({"self": {"name": "0123456789" * 10, "many": list(range(60)), "long": "x" * 5000}})
    assert time.process_time() - start < 5


def test_a_regular_expression_that_would_backtrack_for_ever_is_linear() -> None:
    program = cel.compile("self.matches('^(a+)+$')", {"self": cel.STRING})
    start = time.process_time()
    assert program.evaluate({"self": "a" * 5000 + "b"}) is False
    assert time.process_time() - start < 1


def test_the_cost_limit_is_shared_by_what_uses_one_meter() -> None:
    program = cel.compile("self.all(x, x >= 0)", {"self": cel.list_of(cel.INT)})
    meter = cel.Meter(1000)
    assert program.value({"self": list(range(100))}, meter) is True
    left = meter.left
    assert 0 < left < 1000
    with pytest.raises(cel.CostExceeded):
        for _ in range(10):
            program.value({"self": list(range(100))}, meter)


def test_messages_are_built_only_where_they_are_known() -> None:
    messages = {"Object": None, "JSONPatch": ("op", "path", "value")}
    program = cel.compile("[JSONPatch{op: 'add', path: '/a', value: Object.spec{x: 1}}]", {}, messages=messages)
    assert program.evaluate({}) == [{"op": "add", "path": "/a", "value": {"x": 1}}]
    for wrong, why in {
        "Other{a: 1}": "undeclared reference to 'Other'",
        "JSONPatch{of: 'add'}": "undefined field 'of'",
        "JSONPatch.path{a: 1}": "undeclared reference to 'JSONPatch.path'",
        "Object{spec: Object.status{a: 1}}": "expected type of field 'spec' is 'Object.spec'",
        "Object{items: [Object.item{a: 1}]}": "expected type of field 'items' is 'Object.items'",
    }.items():
        with pytest.raises(cel.CelError, match=why):
            cel.compile(wrong, {}, messages=messages)
    nested = "Object{spec: Object.spec{?a: optional.none(), __in__: 1, items: [Object.spec.items{x: 2}]}}"
    assert cel.compile(nested, {}, messages=messages).evaluate({}) == {"spec": {"in": 1, "items": [{"x": 2}]}}


def test_a_variable_may_be_computed_when_it_is_first_read() -> None:
    made: list[int] = []

    def make() -> int:
        made.append(1)
        return 7

    program = cel.compile("x + x == 14 || y", {"x": cel.INT, "y": cel.BOOL})
    never = cel.Lazy(lambda: pytest.fail("is not read"))
    assert program.evaluate({"x": cel.Lazy(make), "y": never}) is True
    assert made == [1]


def test_a_value_of_the_host_answers_its_own_methods() -> None:
    class Asker:
        cel_type = "kubernetes.authorization.Authorizer"

        def cel_call(self, method: str, arguments: list[Any]) -> Any:
            return method == "allowed" and arguments == ["x"]

    assert cel.compile("who.allowed('x')", {"who": None}).evaluate({"who": Asker()}) is True


def test_lists_of_type_set_and_map_are_equal_in_any_order() -> None:
    program = cel.compile("self == old", {"self": None, "old": None})
    assert program.evaluate({"self": cel.KeyedList([1, 2], ()), "old": [2, 1]}) is True
    left = cel.KeyedList([{"k": 1, "v": 1}, {"k": 2, "v": 2}], ("k",))
    assert program.evaluate({"self": left, "old": list(reversed(left))}) is True
    assert cel.compile("self + old", {"self": None, "old": None}).evaluate(
        {"self": left, "old": [{"k": 2, "v": 3}, {"k": 4, "v": 4}]}
    ) == [{"k": 1, "v": 1}, {"k": 2, "v": 3}, {"k": 4, "v": 4}]
