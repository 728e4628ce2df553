"""What the lab remembers between commands: its specification, in its state directory.

In: a `LabSpec` from `up`. Out: the specification again, for every other command; the list of labs of this machine.
"""

import os

import msgspec

from tortie.lab.layout import NAME_PATTERN, STATE_ROOT, LabSpec, Layout


class LabError(Exception):
    """Something the user can understand and act on; printed as one sentence, without a traceback."""


def save(layout: Layout) -> None:
    """Writes the specification atomically; creates the state directory, readable by root alone."""
    layout.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    layout.state.chmod(0o700)
    temporary = layout.spec_file.with_suffix(".tmp")
    temporary.write_bytes(msgspec.json.format(msgspec.json.encode(layout.spec), indent=2) + b"\n")
    temporary.replace(layout.spec_file)


def load(name: str) -> Layout | None:
    """The lab of that name, or None if there is none. Raises LabError if its state cannot be read."""
    check_name(name)
    path = STATE_ROOT / name / "lab.json"
    try:
        return Layout(msgspec.json.decode(path.read_bytes(), type=LabSpec))
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, OSError) as error:
        raise LabError(
            f"The state of lab {name!r} in {path} cannot be read ({error}); `tortie lab down --name {name}` removes it."
        ) from error


def require(name: str) -> Layout:
    """The lab of that name; raises LabError with what to do if there is none."""
    layout = load(name)
    if layout is None:
        known = ", ".join(names()) or "none"
        raise LabError(f"There is no lab {name!r} (labs on this machine: {known}); `tortie lab up` makes one.")
    return layout


def names() -> list[str]:
    """The labs that have a state directory."""
    if not STATE_ROOT.is_dir():
        return []
    return sorted(entry.name for entry in os.scandir(STATE_ROOT) if entry.is_dir() and NAME_PATTERN.match(entry.name))


def free_index() -> int:
    """The lowest index that no lab of this machine has."""
    used = set()
    for name in names():
        try:
            layout = load(name)
        except LabError:
            continue
        if layout is not None:
            used.add(layout.spec.index)
    index = next(i for i in range(101) if i not in used)
    if index > 99:
        raise LabError("There are a hundred labs on this machine already; `tortie lab down --name NAME` removes one.")
    return index


def check_name(name: str) -> None:
    if not NAME_PATTERN.match(name):
        raise LabError(f"--name {name!r}: a lab's name is 1 to 20 of a-z, 0-9 and -, not beginning or ending with -.")
