"""The reference of Felix's configuration as a page of Markdown, made from the tables that Felix and admission use.

In: the tables of `v3.felix_parameters`. Out: the text of docs/felix-configuration.md; `make docs` writes it, and a test
says when it is out of date.
"""

import sys
from collections.abc import Iterable, Iterator

from tortie.model.v3.felix_parameters import GROUPS, LOCAL, PARAMETERS, Parameter
from tortie.model.v3.felix_parameters.acting import ACTING

_INTRODUCTION = """# Felix's configuration

This page is made by `make docs` from the tables in `src/tortie/model/v3/felix_parameters`, which admission of
FelixConfiguration, its schema and Felix itself use as well. Do not edit it.

Felix takes every parameter from the first of these places that sets it:

1. the environment, as `FELIX_<name>`, in any case;
2. the configuration file `/etc/calico/felix.cfg`, in ini form, whose section names do not matter;
3. the FelixConfiguration `node.<node>`;
4. a FelixConfiguration whose `nodeSelector` selects the node; of several, the oldest;
5. the FelixConfiguration `default` and the ClusterInformation;
6. the default below.

In a FelixConfiguration the annotation `config.projectcalico.org/<name>` wins over the field and is not checked by the
API. An empty value is not set; the word `none`, in any case, is the zero value of the type. A bad value is replaced by
the default, never by that of a later place; where the notes say *a bad value stops Felix*, it does not run at all.
Unknown names are reported and ignored. A change of an effective value restarts Felix, unless the notes say *live*.

The name outside FelixConfiguration is the field's, in any case, unless the notes give another. Durations are written
like `1m30s` in FelixConfiguration (whole numbers of h, m, s, ms) and as plain seconds elsewhere.

Tortie reads, checks and keeps every parameter so that configurations carry over. It acts on those marked ●; the others
have no effect yet. *Enterprise* and *open source* name the edition of Calico that has the parameter if only one does.
"""

_LIVE = frozenset({"healthTimeoutOverrides", "dnsCacheEpoch"})


def markdown() -> str:
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield _INTRODUCTION
    yield f"There are {len(PARAMETERS)} fields, {len(ACTING)} of them with an effect."
    for title, parameters in GROUPS:
        yield ""
        yield f"## {title}"
        yield ""
        yield from _table(("", "Parameter", "Accepts", "Default", "Meaning", "Notes"), map(_row, parameters))
    yield ""
    yield "## Only in the environment and the file"
    yield ""
    yield "A FelixConfiguration cannot set these, because they say how it is found."
    yield ""
    rows = (("●" if item.acting else "", f"`{item.name}`", _code(item.default), item.description) for item in LOCAL)
    yield from _table(("", "Parameter", "Default", "Meaning"), rows)


def _table(titles: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(titles)} |"
    yield "|" + "---|" * len(titles)
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"


def _row(parameter: Parameter) -> tuple[str, ...]:
    mark = "●" if parameter.field in ACTING else ""
    return (
        mark,
        f"`{parameter.field}`",
        accepts(parameter),
        _code(parameter.default),
        parameter.description.replace("<", "&lt;"),
        "; ".join(_notes(parameter)),
    )


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _notes(parameter: Parameter) -> Iterator[str]:
    if parameter.name.lower() != parameter.field.lower():
        yield f"elsewhere `{parameter.name}`" + (", in milliseconds" if parameter.name.endswith("Millis") else "")
    if parameter.edition:
        yield {"E": "Enterprise", "O": "open source"}[parameter.edition]
    if parameter.editions:
        yield f"Calico's default: `{parameter.editions[0]}` in open source, `{parameter.editions[1]}` in Enterprise"
    if parameter.schema_default:
        yield "written as a default"
    if parameter.written_default:
        yield "written as a default by the aggregated API server"
    if parameter.fatal:
        yield "a bad value stops Felix"
    if parameter.field in _LIVE:
        yield "live"


def accepts(parameter: Parameter) -> str:
    """What a parameter takes, in words."""
    family = f" of IPv{parameter.version}" if parameter.version else ""
    match parameter.kind:
        case "bool":
            return "true, false"
        case "int":
            return _range(parameter)
        case "choice":
            return ", ".join(parameter.choices) + (", in any case" if parameter.fold else "")
        case "string" if parameter.field == "nodeSelector":
            return "a selector, at most 1024 characters"
        case "string":
            return f"text like `{parameter.pattern}`" if parameter.pattern else "text"
        case "list":
            return "texts"
        case "cidrs":
            return f"addresses and CIDRs{family}"
        case "address":
            return f"an address{family}"
    return {
        "regex": "a regular expression",
        "duration": "a duration",
        "interfaces": "names and /regular expressions/, with commas",
        "dns-servers": "servers, as described",
        "ports": "objects of `protocol` (TCP, UDP, SCTP), `port` and `net`; elsewhere `protocol:[net:]port`, with"
        " commas",
        "port-range": "a port, a range `first:last`, or 0 for none",
        "port-ranges": "ports and ranges `first:last`",
        "table-range": "an object of `min` and `max`, 1 to 250; elsewhere `min-max`",
        "table-ranges": "objects of `min` and `max`, at most 65535 tables in all; elsewhere `min-max`, with commas",
        "timeouts": "objects of `name` and `timeout`; elsewhere `name=duration`, with commas",
        "map": "texts by interface; elsewhere `interface=text`, with commas",
        "dscp": "0 to 63, or a name such as EF or AF21",
        "conntrack-timeouts": "an object of durations, or Auto for the kernel's: creationGracePeriod (10s), tcpSynSent"
        " (20s), tcpEstablished (1h), tcpFinsSeen (Auto), tcpResetSeen (40s), udpTimeout (60s), icmpTimeout (5s),"
        " genericTimeout (10m)",
    }[parameter.kind]


def _range(parameter: Parameter) -> str:
    low, high = parameter.minimum, parameter.maximum
    if low is None and high is None:
        return "a whole number"
    if high is None:
        return f"{low} or more"
    return f"{low} to {high}"


if __name__ == "__main__":
    sys.stdout.write(markdown())
