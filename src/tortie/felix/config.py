"""Felix's effective parameters: every source read, checked, and merged by precedence (spec/felix.md 6).

In: the environment, the configuration file, and the raw values of FelixConfiguration and ClusterInformation objects.
Out: an `Effective` set of parameters, each with the source it came from, and words about every value that was refused.
Pure but for `read_file`.
"""

import configparser
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from tortie.model import selector
from tortie.model.dataplane import ConfigValues
from tortie.model.v3.felix_parameters import BY_NAME, LOCAL_NAMES
from tortie.model.v3.felix_parameters.values import canonical_text
from tortie.service.run import Fatal

ENVIRONMENT_PREFIX = "FELIX_"
LIVE = frozenset({"calicoversion", "clusterguid", "clustertype", "healthtimeoutoverrides", "dnscacheepoch"})
"""Parameters whose change takes effect without a restart."""

_LOCAL = ("felixhostname", "datastoretype", "etcd", "typha", "kubernetes")
"""What these names begin is known but has no field in FelixConfiguration; only environment and file may set it."""
_CLUSTER = frozenset(
    {
        "calicoenterpriseversion",
        "calicoversion",
        "clusterguid",
        "clustertype",
        "cnxversion",
        "datastoreready",
        "variant",
    }
)
"""What ClusterInformation brings."""


class Source(NamedTuple):
    """One place that sets parameters. local: environment or file. values: by lower-cased name."""

    name: str
    values: Mapping[str, str]
    local: bool = False


class Effective(NamedTuple):
    """values: parameters that some source sets, by lower-cased name, in the form of the environment (durations in
    seconds). origins: the source of each. problems: what was refused, in words."""

    values: dict[str, str]
    origins: dict[str, str]
    problems: tuple[str, ...]

    def text(self, name: str) -> str:
        """A parameter as text; its default if no source sets it; "" if it has none."""
        lowered = name.lower()
        found = self.values.get(lowered)
        if found is not None:
            return found
        parameter = BY_NAME.get(lowered)
        if parameter is None or not parameter.default:
            return ""
        return canonical_text(parameter, parameter.default)

    def boolean(self, name: str) -> bool:
        """A parameter that is true or false."""
        return self.text(name) == "true"

    def integer(self, name: str) -> int:
        """A parameter that is a whole number; 0 if unset."""
        return int(self.text(name) or "0", 0)

    def seconds(self, name: str) -> float:
        """A parameter that is a duration."""
        return float(self.text(name) or "0")

    def named(self) -> dict[str, str]:
        """The values by the parameters' proper names, for the dataplane."""
        return {BY_NAME[key].name if key in BY_NAME else key: text for key, text in self.values.items()}


def read_environment(environ: Mapping[str, str]) -> Source:
    """The variables FELIX_<Name>; case does not count."""
    values = {
        name[len(ENVIRONMENT_PREFIX) :].lower(): text
        for name, text in environ.items()
        if name.upper().startswith(ENVIRONMENT_PREFIX)
    }
    return Source("environment", values, local=True)


def read_file(path: Path) -> Source:
    """The configuration file, in ini form; section names are ignored. No file: no values. Raises Fatal."""
    parser = configparser.ConfigParser(interpolation=None, strict=False, default_section="")
    try:
        text = path.read_text()
        # Parameters before the first section are allowed.
        parser.read_string(f"[global]\n{text}", source=str(path))
    except FileNotFoundError:
        return Source("file", {}, local=True)
    except (OSError, configparser.Error, UnicodeDecodeError) as error:
        raise Fatal(f"configuration file {path}: {error}") from error
    values = {name.lower(): value for section in parser.sections() for name, value in parser.items(section)}
    return Source("file", values, local=True)


def resources(
    configurations: Mapping[str, ConfigValues],
    cluster: ConfigValues | None,
    *,
    node: str,
    labels: Mapping[str, str],
) -> list[Source]:
    """The sources in the datastore, highest precedence first. labels: the node's, for configurations that are scoped
    by a selector; of several that match, the oldest counts, then the first by name."""
    found: list[Source] = []
    own = configurations.get(f"node.{node}")
    if own is not None:
        found.append(_resource(f"FelixConfiguration node.{node}", own))
    scoped = [
        (value.created, name)
        for name, value in configurations.items()
        if name != "default" and not name.startswith("node.") and _selects(value.node_selector, labels)
    ]
    if scoped:
        _, name = min(scoped)
        found.append(_resource(f"FelixConfiguration {name}", configurations[name]))
    values = dict(cluster.values) if cluster is not None else {}
    default = configurations.get("default")
    if default is not None:
        values |= default.values
    found.append(_resource("FelixConfiguration default", ConfigValues(values=values)))
    return found


def merge(sources: Iterable[Source]) -> Effective:
    """Merges sources, highest precedence first. A bad value falls back to the default, not to a lower source.

    Raises Fatal for a bad value of a parameter without which Felix must not run."""
    values: dict[str, str] = {}
    origins: dict[str, str] = {}
    problems: list[str] = []
    for source in sources:
        for name, raw in source.values.items():
            text = raw.strip()
            if not text or name in origins:
                continue
            parameter = BY_NAME.get(name)
            if parameter is None:
                if _is_known(name, local=source.local):
                    origins[name] = source.name
                    values[name] = text
                else:
                    problems.append(f"{name} in {source.name} is ignored: {_why_ignored(name)}")
                continue
            origins[name] = source.name
            try:
                values[name] = canonical_text(parameter, text)
            except ValueError as error:
                problem = f"{parameter.name}={text!r} in {source.name} {error}"
                if parameter.fatal:
                    raise Fatal(problem) from error
                problems.append(f"{problem}; the default {parameter.default or 'of unset'} is used")
    return Effective(values, origins, tuple(problems))


def difference(old: Effective, new: Effective) -> list[str]:
    """The names of parameters whose effective value differs; a change that a higher source masks is none."""
    names = {*old.values, *new.values}
    return sorted(name for name in names if old.text(name) != new.text(name))


def _resource(name: str, value: ConfigValues) -> Source:
    return Source(name, {key.lower(): text for key, text in value.values.items()})


def _selects(text: str, labels: Mapping[str, str]) -> bool:
    try:
        return bool(text) and selector.parse(text).matches(labels)
    except selector.SelectorError:
        return False


def _is_known(name: str, *, local: bool) -> bool:
    return _is_local(name) if local else name in _CLUSTER


def _is_local(name: str) -> bool:
    return name in LOCAL_NAMES or name.startswith(_LOCAL)


def _why_ignored(name: str) -> str:
    if _is_local(name):
        return "only the environment and the configuration file may set it"
    return "there is no such parameter"
