"""Worlds as YAML and the configurations that node-1 gets from them, side by side in golden/, to be read by people.

After a change that is meant, `TORTIE_UPDATE_GOLDEN=1 pytest tests/routing/test_routing_golden.py` writes them anew.
"""

import os
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from tortie.model import catalog, convert
from tortie.model.dataplane import Node
from tortie.routing.bird import render
from tortie.routing.world import World

GOLDEN = Path(__file__).parent / "golden"
CASES = sorted(path.stem for path in GOLDEN.glob("*.yaml"))


def load(path: Path) -> World:
    """The world of node-1; secrets may use stringData."""
    found: dict[str, dict[str, Any]] = {}
    for document in yaml.safe_load_all(path.read_text()):
        found.setdefault(document["kind"], {})[document["metadata"]["name"]] = document
    resources = [
        catalog.NODES,
        catalog.BGP_CONFIGURATIONS,
        catalog.BGP_PEERS,
        catalog.BGP_FILTERS,
        catalog.IP_POOLS,
        catalog.BLOCK_AFFINITIES,
        catalog.SERVICES,
        catalog.ENDPOINT_SLICES,
    ]
    typed = {r.kind: {n: msgspec.convert(d, r.type) for n, d in found.pop(r.kind, {}).items()} for r in resources}
    secrets = {name: d["stringData"] for name, d in found.pop("Secret", {}).items()}
    assert not found, f"kinds that the loader does not know: {list(found)}"
    nodes = {name: convert.node(one).value for name, one in typed["Node"].items()}
    return World(
        node="node-1",
        nodes={name: node for name, node in nodes.items() if isinstance(node, Node)},
        configurations=typed["BGPConfiguration"],
        peers=typed["BGPPeer"],
        filters=typed["BGPFilter"],
        pools=typed["IPPool"],
        affinities=tuple(typed["BlockAffinity"].values()),
        services=tuple(typed["Service"].values()),
        slices=tuple(typed["EndpointSlice"].values()),
        secrets=secrets,
    )


@pytest.mark.parametrize("case", CASES)
def test_the_configuration_is_the_one_beside_its_world(case):
    rendered = render(load(GOLDEN / f"{case}.yaml"))
    assert rendered.problems == ()
    expected = GOLDEN / f"{case}.cfg"
    if os.environ.get("TORTIE_UPDATE_GOLDEN"):
        expected.write_text(rendered.text)
    assert rendered.text == expected.read_text()


@pytest.mark.parametrize("case", CASES)
def test_bird_accepts_the_golden_configurations(case):
    done = subprocess.run(["bird", "-p", "-c", str(GOLDEN / f"{case}.cfg")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
