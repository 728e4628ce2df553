"""The one kind that the aggregated server prints with columns of its own: CalicoNodeStatus.

In: trees of objects and the time. Out: cells (spec/apiserver-controllers-clis.md 1.5).
"""

from typing import Any

from tortie.apiserver.kinds import Column, Object, Table
from tortie.apiserver.objects import get
from tortie.apiserver.tables import NAME, Since, age

COLUMNS = (
    NAME,
    Column("Node", description="The node that reports."),
    Column("Classes", description="What it reports."),
    Column("Update Interval", description="Time between two reports."),
    Column("Age", description="Time since the object was created."),
    Column("last Updated", description="Time since the last report."),
    Column("Agent State", priority=1, description="Whether the routing daemon of each IP family answers."),
    Column("ESTABLISHED-V4", priority=1, description="IPv4 BGP sessions that are up, of all."),
    Column("ESTABLISHED-V6", priority=1, description="IPv6 BGP sessions that are up, of all."),
    Column("NUM-V4-ROUTES", priority=1, description="IPv4 routes."),
    Column("NUM-V6-ROUTES", priority=1, description="IPv6 routes."),
)


class _Ago(Since):
    __slots__ = ()

    def text(self, since: str) -> str:
        return f"{since} ago" if self.at else ""


def _agent(obj: Object) -> str:
    states = ((family, get(obj, "status", "agent", f"bird{family.upper()}", "state")) for family in ("v4", "v6"))
    return " ".join(f"{family}({state})" for family, state in states if state)


def _sessions(obj: Object, family: str) -> str:
    bgp = get(obj, "status", "bgp")
    if not isinstance(bgp, dict):
        return ""
    up = int(bgp.get(f"numberEstablished{family}") or 0)
    return f"{up}/{up + int(bgp.get(f'numberNotEstablished{family}') or 0)}"


def _routes(obj: Object, family: str) -> Any:
    routes = get(obj, "status", "routes")
    return len(routes.get(f"routes{family}") or ()) if isinstance(routes, dict) else ""


def _cells(obj: Object) -> list[Any]:
    spec = obj.get("spec") or {}
    return [
        obj["metadata"]["name"],
        spec.get("node", ""),
        ",".join(spec.get("classes") or ()),
        f"{spec.get('updatePeriodSeconds') or 0}s",
        age(obj),
        _Ago(get(obj, "status", "lastUpdated")),
        _agent(obj),
        _sessions(obj, "V4"),
        _sessions(obj, "V6"),
        _routes(obj, "V4"),
        _routes(obj, "V6"),
    ]


NODE_STATUS = Table(COLUMNS, _cells)
