"""Bodies that make no sense: refused or stored, never a server error, and never in the way of a restart."""

import copy
import http.client
import json
import random
from pathlib import Path
from typing import Any

import pytest
from apiserver_http import APPLY, JSON_PATCH, MERGE, STRATEGIC, Http
from tools import api_server_in, start_api_server

from tortie.apiserver import calico
from tortie.apiserver.builtin import catalog
from tortie.apiserver.kinds import Kind
from tortie.apiserver.schema.node import Node

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
TEXTS = ["a", "nginx", "ClusterIP", "None", "TCP", "10.0.0.1", "10.0.0.0/8", "Always", "", "all()", "In", "x" * 70, "é"]
ODD: list[Any] = [None, 1, "x", [], {}, [None], {"a": None}, True, 1.5, -1, [[]], {"name": 1}]


def _sense(node: Node, chance: random.Random, depth: int = 0) -> Any:
    """A value of the right type."""
    if node.int_or_string:
        return chance.choice([1, "80", "x", -5, 0])
    match node.type:
        case "object":
            if node.values is not None:
                return {
                    chance.choice(TEXTS): _sense(node.values, chance, depth + 1) for _ in range(chance.randint(0, 2))
                }
            found = {}
            for name, below in node.properties.items():
                if depth == 0 and name in {"metadata", "apiVersion", "kind"}:
                    continue
                likely = 0.9 if name in node.required else 0.35 if depth < 3 else 0.1
                if chance.random() < (likely if depth < 7 else 0.02):
                    found[name] = _sense(below, chance, depth + 1)
            return found
        case "array":
            return [_sense(node.items, chance, depth + 1) for _ in range(chance.randint(0, 2))] if node.items else []
        case "string":
            if node.format == "byte":
                return "YWJj"
            return "2026-01-01T00:00:00Z" if "time" in node.format else chance.choice(TEXTS)
        case "integer":
            return chance.choice([0, 1, -1, 80, 70000, 30080, 2**40])
        case "boolean":
            return chance.choice([True, False])
    return copy.deepcopy(chance.choice(ODD))


def _spoil(value: Any, chance: random.Random) -> Any:
    """The value with something odd somewhere in it."""
    if isinstance(value, dict) and value and chance.random() < 0.85:
        name = chance.choice(list(value))
        return {**value, name: _spoil(value[name], chance)}
    if isinstance(value, list) and value and chance.random() < 0.85:
        place = chance.randrange(len(value))
        return [*value[:place], _spoil(value[place], chance), *value[place + 1 :]]
    return copy.deepcopy(chance.choice(ODD))


class _Talk:
    """One connection for thousands of requests."""

    def __init__(self, client: Http) -> None:
        self.connection: http.client.HTTPSConnection = client._connect(30)

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> int:
        data = None if body is None else json.dumps(body).encode()
        sent = {k.replace("_", "-"): v for k, v in headers.items()}
        self.connection.request(method, path, data, sent)
        answer = self.connection.getresponse()
        text = answer.read()
        assert answer.status < 500, f"{method} {path}\n{data!r}\n{text!r}"
        return answer.status


def _path(kind: Kind) -> str:
    root = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
    return f"{root}/namespaces/default/{kind.plural}" if kind.namespaced else f"{root}/{kind.plural}"


def _try(talk: _Talk, kind: Kind, number: int, chance: random.Random) -> None:
    path, name = _path(kind), f"f{number}"
    body = _sense(kind.schema, chance) | {"metadata": {"name": name}}
    if chance.random() < 0.5:
        body = _spoil(body, chance)
    if talk("POST", path, body, Content_Type="application/json") != 201 or not kind.stored:
        return
    talk("GET", f"{path}/{name}", Accept=TABLE)
    change = _spoil(_sense(kind.schema, chance), chance)
    content = chance.choice([MERGE, STRATEGIC, JSON_PATCH, APPLY])
    if content == JSON_PATCH:
        change = [{"op": "add", "path": f"/{chance.choice(['spec', 'metadata/labels', 'data', ''])}", "value": change}]
    elif content == APPLY and isinstance(change, dict):
        change |= {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": name}}
    talk("PATCH", f"{path}/{name}?fieldManager=test", change, Content_Type=content)
    if chance.random() < 0.5:
        talk("DELETE", f"{path}/{name}?gracePeriodSeconds=0")


@pytest.mark.parametrize("seed", [1, 2])
def test_nonsense_never_breaks_the_server(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    kinds = [*(kind for kind, _ in catalog.kinds()), *calico.kinds()]
    with api_server_in(tmp_path / "data") as server:
        talk = _Talk(Http(server))
        for kind in kinds:
            for number in range(10):
                _try(talk, kind, number, chance)
            if "list" in kind.verbs:
                talk("GET", _path(kind), Accept=TABLE)
    again = start_api_server(tmp_path / "data")
    try:
        assert Http(again)("GET", "/api/v1/namespaces").status == 200
    finally:
        again.stop()
