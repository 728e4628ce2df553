"""Verdicts for people and for programs.

In: answers of the policy engine. Out: text, coloured only where asked, in which the first lines say what matters; or
JSON with the same contents.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import click
import msgspec

from tortie.model.dataplane import PolicyKey
from tortie.policy.packet import Packet, Stage, Step, Verdict
from tortie.policy.text import endpoint_text, protocol_text

_LISTS = {
    "workload": "policy",
    "normal": "host endpoint policy",
    "forward": "host endpoint policy for forwarded traffic",
    "untracked": "host endpoint policy without connection tracking",
    "pre-dnat": "host endpoint policy before service translation",
}
_NOTES = 10
_COLOURS = {"allow": "green", "deny": "red", "pass": "yellow", "log": "cyan", "no-match": None}


class Answer(NamedTuple):
    """One packet and what becomes of it; source and destination as the user knows them."""

    source: str
    destination: str
    packet: Packet
    verdict: Verdict


def text(answers: Sequence[Answer], notes: Sequence[str], *, styled: bool) -> str:
    """The answers one after another, then the notes."""
    blocks = [_answer(answer, styled=styled) for answer in answers]
    if len(answers) > 1:
        allowed = sum(answer.verdict.allowed for answer in answers)
        blocks.append(f"{allowed} of {len(answers)} backends can be reached.")
    if notes:
        shown = [f"note: {note}" for note in notes[:_NOTES]]
        if len(notes) > _NOTES:
            shown.append(f"note: and {len(notes) - _NOTES} more, all of them in -o json")
        blocks.append("\n".join(_style(line, styled, dim=True) for line in shown))
    return "\n\n".join(blocks)


def json_text(answers: Sequence[Answer], notes: Sequence[str]) -> str:
    """The same as JSON, indented."""
    document = {
        "allowed": all(answer.verdict.allowed for answer in answers),
        "connections": [_document(answer) for answer in answers],
        "notes": list(notes),
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()


# --- text ------------------------------------------------------------------------------------------------------


def _answer(answer: Answer, *, styled: bool) -> str:
    verdict = answer.verdict
    word = "ALLOWED" if verdict.allowed else "DENIED"
    colour = "green" if verdict.allowed else "red"
    lines = [f"{_style(word, styled, fg=colour, bold=True)}  {_connection(answer)}"]
    stage = verdict.decided_by
    if stage is None:
        lines.append(f"  because {verdict.note}")
        return "\n".join(lines)
    if verdict.allowed:
        for each in verdict.stages:
            lines.append(f"  {each.direction}: {reason(each)}")
    else:
        lines.append(f"  by {reason(stage)}")
        lines.append(f"  at {_place(stage)}")
    for each in verdict.stages:
        lines += ["", *_stage(each, styled=styled)]
    return "\n".join(lines)


def _connection(answer: Answer) -> str:
    packet = answer.packet
    port = "" if packet.dst_port is None else f" port {packet.dst_port}"
    source = f"{answer.source} ({packet.src_ip})" if packet.src_ip != answer.source else answer.source
    target = f"{answer.destination} ({packet.dst_ip})" if packet.dst_ip != answer.destination else answer.destination
    line = f"{protocol_text(packet.protocol)} from {source} to {target}{port}"
    if packet.service_ip:
        line += f", addressed as {_host_port(packet.service_ip, packet.service_port)}"
    return line


def _host_port(address: str, port: int | None) -> str:
    host = f"[{address}]" if ":" in address else address
    return host if port is None else f"{host}:{port}"


def _stage(stage: Stage, *, styled: bool) -> list[str]:
    lines = [_style(_place(stage), styled, bold=True)]
    shown = ""
    for step in stage.steps:
        heading = f"  tier {step.tier}" if step.tier else "  profiles" if step.profile else "  end"
        if heading != shown:
            lines.append(heading)
        shown = heading
        mark = _style(f"{step.outcome:<8}", styled, fg=_COLOURS[step.outcome])
        lines.append(f"    {mark} {_step(step)}")
    return lines


def _place(stage: Stage) -> str:
    name = endpoint_text(stage.endpoint) if stage.endpoint is not None else f"node {stage.node}"
    where = "" if stage.list != "workload" else f" (node {stage.node})"
    return f"{stage.direction} {_LISTS[stage.list]} of {name}{where}"


def _step(step: Step) -> str:
    if step.policy is not None:
        if step.rule is None:
            return f"{policy_name(step.policy)}: {step.text}"
        return f"{policy_name(step.policy)} rule {step.rule}: {step.text}"
    if step.profile:
        return f"profile {step.profile}" + (f" rule {step.rule}" if step.rule is not None else "") + f": {step.text}"
    if step.selected:
        return f"{step.text} (selected by {', '.join(map(policy_name, step.selected))})"
    return step.text


def reason(stage: Stage) -> str:
    """What decided a stage, in one line."""
    step = stage.decided_by
    if step.policy is not None:
        return f"{policy_name(step.policy)}, rule {step.rule}: {step.text}"
    if step.profile:
        rule = "" if step.rule is None else f", rule {step.rule}"
        decided = f"profile {step.profile}{rule}: {step.text}"
        return decided if _asked_policy(stage) else f"no policy applies to it, so {decided}"
    if step.selected:
        names = ", ".join(map(policy_name, step.selected))
        return f"the default of tier {step.tier}: no rule of the policies that select it matched ({names})"
    return step.text


def _asked_policy(stage: Stage) -> bool:
    return any(step.policy is not None for step in stage.steps)


def policy_name(key: PolicyKey) -> str:
    """The kind as users write it, and the name."""
    names = {
        "KubernetesNetworkPolicy": "NetworkPolicy (Kubernetes)",
        "KubernetesClusterNetworkPolicy": "ClusterNetworkPolicy (Kubernetes)",
    }
    kind = names.get(key.kind, key.kind)
    return f"{kind} {key.namespace + '/' if key.namespace else ''}{key.name}"


def _style(words: str, styled: bool, **style: Any) -> str:
    return click.style(words, **style) if styled else words


# --- JSON ------------------------------------------------------------------------------------------------------


def _document(answer: Answer) -> dict[str, Any]:
    packet, verdict = answer.packet, answer.verdict
    decided = verdict.decided_by
    return {
        "allowed": verdict.allowed,
        "source": answer.source,
        "destination": answer.destination,
        "packet": {
            _camel(name): value
            for name in packet.__struct_fields__
            if name not in ("src", "dst") and (value := getattr(packet, name)) not in (None, "")
        },
        "decidedBy": None if decided is None else {"stage": _stage_head(decided), **_step_document(decided.decided_by)},
        "note": verdict.note,
        "trace": [
            {**_stage_head(stage), "allowed": stage.allowed, "steps": [_step_document(step) for step in stage.steps]}
            for stage in verdict.stages
        ],
    }


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join("IP" if word == "ip" else word.capitalize() for word in rest)


def _stage_head(stage: Stage) -> dict[str, Any]:
    return {
        "direction": stage.direction,
        "list": stage.list,
        "node": stage.node,
        "endpoint": "" if stage.endpoint is None else endpoint_text(stage.endpoint),
    }


def _step_document(step: Step) -> dict[str, Any]:
    document: dict[str, Any] = {"outcome": step.outcome, "text": step.text}
    if step.tier:
        document["tier"] = step.tier
    if step.policy is not None:
        document["policy"] = _policy_document(step.policy)
    if step.profile:
        document["profile"] = step.profile
    if step.rule is not None:
        document["rule"] = step.rule
    if step.selected:
        document["selectedBy"] = [_policy_document(key) for key in step.selected]
    return document


def _policy_document(key: PolicyKey) -> dict[str, str]:
    return {"kind": key.kind, "namespace": key.namespace, "name": key.name}
