"""Objects of every kind, generated from its schema: plausible ones, most of which admission accepts once repaired.

For the property tests of the model. In: a resource. Out: strategies of hypothesis for whole objects, and `repaired`,
which takes out of an object what admission finds fault with.
"""

import copy
import re
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from tortie.model import catalog as c
from tortie.model.admission import ServingMode, admit
from tortie.model.resource import Resource
from tortie.model.schema import Schema, openapi_schema

Object = dict[str, Any]

_WORDS = ("a", "b-c", "x1", "kns.a")
_SELECTORS = ("all()", "has(a)", "a == 'b' && !has(c)", "x in {'y', 'z'}", "")
_DURATIONS = ("90s", "1h30m", "250ms", "10m")
_BY_NAME: tuple[tuple[str, tuple[Any, ...]], ...] = (
    (r"\.endpoints\.(namespaces|serviceAccounts)\.names", ("a", "b")),
    (r"(?i)selector$", _SELECTORS),
    (r"\.(nets|notNets|reservedCIDRs)\[\]$", ("10.0.0.0/8", "192.168.0.0/16", "10.1.2.3/32")),
    (r"(?i)(cidr|cidrs\[\]|destination|networks\[\])$", ("10.0.0.0/8", "192.168.0.0/16", "172.16.0.0/12")),
    (
        r"(?i)(IPs\[\]|peerIP|reachableBy|nextHop|PeeringIPV4|interfaceAddresses\[\]|SourceAddress)$",
        ("10.0.0.1", "192.0.2.9"),
    ),
    (r"PeeringIPV6$|AddressIPv6$", ("fd00::1", "fe80::1")),
    (r"natOutgoingAddress$", ("10.0.0.1",)),
    (r"(?i)domains\[\]$", ("example.com", "*.example.com")),
    (r"(?i)(protocol|notProtocol)$", ("TCP", "UDP", 17)),
    (r"(?i)(ports|notPorts)\[\]$", (80, "8000:8080", 65535)),
    (r"(?i)(Interval|Period|Time|lookback|Timeout|TTL|Delay|Duration|Frequency|After|timeout)$", _DURATIONS),
    (
        r"(?i)(communities\.values\[\]|communities\[\]\.value|addCommunity\.value|communities\[\])$",
        ("65000:1", "1:2:3"),
    ),
    (r"(?i)(query)$", ("a = b", '"x.y" IN {"1", "2*"}')),
    (r"schedule$", ("0 0 * * *", "*/30 1 * * mon")),
    (r"\.url$", ("https://example.com/x",)),
    (r"json\.path$", ("$.list", '$["a b"][*]')),
    (r"paths\[\]\.(exact|prefix)$", ("/a", "/a/b")),
    (r"certificate$", ("-----BEGIN CERTIFICATE-----\nYWJj\n-----END CERTIFICATE-----",)),
    (r"\.mac$|MACAddr", ("ee:ee:ee:ee:ee:ee",)),
    (r"logActionRateLimit$", ("10/minute",)),
    (r"(natPortRange|bpfPSNATPorts|kubeNodePortRanges\[\])$", ("30000:32767", 4000)),
    (r"dnsTrustedServers\[\]$", ("10.0.0.1", "k8s-service:kube-dns")),
    (r"istioDSCPMark$", ("EF", 23)),
    (r"Override$|Gates$", ("A=true",)),
    (
        r"(?i)interfaceName$|interface\.name$|hostInterfaces\[\]\.name|existingBridge\.name|\.interface$",
        ("eth0", "br1"),
    ),
    (r"ipNetworks\[\]$", ("10.0.0.1/32",)),
    (r"ports\[\]\.port$", (80, 443)),
    (r"affinity$", ("host:n1",)),
    (r"matchExpressions\[\]\.operator$", ("In", "NotIn")),
    (r"matchPattern$", ("*", "eth*", "eth0")),
    (r"Key(V6)?$", ("jlkVyQYooZYzI2wFfNhSZez5eWh44yfq1wKVjLvSXgY=",)),
)
_LEAST: dict[str, Object] = {
    c.UI_SETTINGS.plural: {"group": "g"},
    c.HOST_ENDPOINTS.plural: {"interfaceName": "eth0"},
    c.WORKLOAD_ENDPOINTS.plural: {"interfaceName": "cali1"},
    c.IP_POOLS.plural: {"cidr": "10.0.0.0/16"},
    c.WAF_PLUGINS.plural: {"rules": "x"},
    c.GLOBAL_WAF_PLUGINS.plural: {"rules": "x"},
    c.GLOBAL_ALERTS.plural: {"dataSet": "flows"},
    c.GLOBAL_ALERT_TEMPLATES.plural: {"dataSet": "flows"},
    c.SECURITY_EVENT_WEBHOOKS.plural: {
        "consumer": "Slack",
        "query": "a = b",
        "config": [{"name": "url", "value": "https://x"}],
    },
    c.ALERT_EXCEPTIONS.plural: {"selector": "origin = x"},
    c.CLUSTER_NETWORK_POLICIES.plural: {"subject": {"namespaces": {}}},
}
_ONE_OF: dict[str, tuple[str, ...]] = {
    c.UI_SETTINGS.plural: ("view", "layer", "dashboard"),
    c.NETWORKS.plural: ("vrf", "l2Bridge"),
}
_LABELS = st.dictionaries(
    st.sampled_from(("a", "team/b", "projectcalico.org/x")), st.sampled_from(("", "x")), max_size=2
)
_METADATA = st.fixed_dictionaries(
    {},
    optional={
        "labels": _LABELS,
        "annotations": st.dictionaries(
            st.sampled_from(("note", "operator.tigera.io/y")), st.text(max_size=4), max_size=2
        ),
        "finalizers": st.just(["example.com/f"]),
        "ownerReferences": st.just(
            [
                {
                    "apiVersion": "projectcalico.org/v3",
                    "kind": "Tier",
                    "name": "t",
                    "uid": "11111111-1111-4111-8111-111111111111",
                    "controller": True,
                }
            ]
        ),
    },
)


def objects(resource: Resource[Any]) -> st.SearchStrategy[Object]:
    """Objects with a spec of up to a few fields of each part, with and without a status."""
    properties = openapi_schema(resource)["properties"]
    name = resource.facts.singleton or ("g.x" if resource is c.UI_SETTINGS else "x")
    identity = {"name": name, "namespace": "ns"} if resource.namespaced else {"name": name}
    parts = {
        "metadata": _METADATA.map(lambda found: {**found, **identity}),
        "spec": _spec(resource, properties.get("spec", {"type": "object", "properties": {}})),
    }
    if "status" not in properties:
        return st.fixed_dictionaries(parts)
    return st.fixed_dictionaries(parts, optional={"status": _values(properties["status"], "status")})


def _spec(resource: Resource[Any], schema: Schema) -> st.SearchStrategy[Object]:
    least = _LEAST.get(resource.plural, {})
    names = _ONE_OF.get(resource.plural)
    if names is None:
        return _values(schema, "spec").map(lambda spec: {**spec, **least})

    def with_one(name: str) -> st.SearchStrategy[Object]:
        kept = {field: value for field, value in schema["properties"].items() if field == name or field not in names}
        one = {**schema, "properties": kept, "required": [*schema.get("required", ()), name]}
        return _values(one, "spec").map(lambda spec: {**spec, **least})

    return st.sampled_from(names).flatmap(with_one)


def repaired(resource: Resource[Any], obj: Object, mode: ServingMode) -> Object | None:
    """The admitted object after at most a few repairs: what is at fault is taken out. None if that does not help."""
    obj = copy.deepcopy(obj)
    for _ in range(8):
        admission = admit(resource, obj, None, mode=mode)
        assert admission.unknown_fields == []
        if not admission.errors:
            return admission.object
        for error in admission.errors:
            _take_out(obj, error.path, whole=error.type == "Required")
    return None


def _take_out(obj: Object, path: str, *, whole: bool) -> None:
    """Removes the field, or, if it is not there or required, what it is in."""
    steps = [int(step) if step.isdigit() else step for step in re.findall(r"[^.\[\]]+", path)]
    for length in range(len(steps) - whole, 1, -1):
        *above, last = steps[:length]
        place: Any = obj
        try:
            for step in above:
                place = place[step]
            del place[last]
        except (KeyError, IndexError, TypeError):
            continue
        return


def _values(schema: Schema, path: str) -> st.SearchStrategy[Any]:
    for pattern, samples in () if "format" in schema else _BY_NAME:
        if schema.get("type") != "array" and schema.get("type") != "object" and re.search(pattern, path):
            allowed = [item for item in samples if _fits(schema, item)]
            if allowed and "enum" not in schema and "pattern" not in schema:
                return st.sampled_from(allowed)
    if schema.get("x-kubernetes-int-or-string"):
        return st.one_of(st.integers(1, 65535), st.sampled_from(_WORDS))
    match schema.get("type"):
        case "object":
            return _object(schema, path)
        case "array":
            return _array(schema, path)
        case "boolean":
            return st.booleans()
        case "integer":
            low, high = schema.get("minimum", -5), schema.get("maximum", 70_000)
            return st.sampled_from(schema["enum"]) if "enum" in schema else st.integers(low, max(low, min(high, 2**40)))
        case "number":
            return st.one_of(st.integers(0, 9), st.floats(0, 1e6))
        case _:
            return _text(schema)


def _fits(schema: Schema, value: Any) -> bool:
    wanted = schema.get("type")
    if wanted == "string":
        return isinstance(value, str)
    if wanted == "integer":
        return isinstance(value, int)
    return "x-kubernetes-int-or-string" in schema


def _text(schema: Schema) -> st.SearchStrategy[str]:
    if "enum" in schema:
        return st.sampled_from([word for word in schema["enum"] if word] or [""])
    match schema.get("format"):
        case "cidr":
            return st.sampled_from(("10.0.0.0/8", "192.168.0.0/26"))
        case "date-time":
            return st.sampled_from(("2026-01-01T00:00:00Z", "2027-01-01T12:30:00.5+01:00"))
        case "byte":
            return st.sampled_from(("YWJj", ""))
    pattern = schema.get("pattern", "")
    if pattern == "^([0-9]+(ms|s|m|h))*$":
        return st.sampled_from(("90s", "1h30m", ""))
    if pattern:
        return st.from_regex(pattern, fullmatch=False).map(str.strip).filter(lambda text: re.search(pattern, text))
    return st.sampled_from(_WORDS)


def _object(schema: Schema, path: str) -> st.SearchStrategy[Any]:
    properties = schema.get("properties")
    if properties is None:
        inner = schema.get("additionalProperties", {"type": "string"})
        return st.dictionaries(st.sampled_from(("a", "b")), _values(inner, path + "{}"), max_size=2)
    required = {name: _values(properties[name], f"{path}.{name}") for name in schema.get("required", ())}
    others = [name for name in properties if name not in required]
    if not others:
        return st.fixed_dictionaries(required)

    def some(names: list[str]) -> st.SearchStrategy[Any]:
        return st.fixed_dictionaries(
            {**required, **{name: _values(properties[name], f"{path}.{name}") for name in names}}
        )

    return st.lists(st.sampled_from(others), unique=True, max_size=5).flatmap(some)


def _array(schema: Schema, path: str) -> st.SearchStrategy[Any]:
    items = schema["items"]
    least = schema.get("minItems", 0)
    most = min(schema.get("maxItems", 2), max(least, 2))
    strategy = _values(items, f"{path}[]")
    if items.get("nullable"):
        strategy = st.one_of(st.none(), strategy)
    unique = schema.get("x-kubernetes-list-type") == "set"
    return st.lists(strategy, min_size=least, max_size=most, unique_by=repr if unique else None)


def leaves(value: Any) -> Iterator[Any]:
    """Every scalar of a value."""
    if isinstance(value, dict):
        for item in value.values():
            yield from leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item)
    else:
        yield value
