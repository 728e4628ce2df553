"""The files under deploy/ that are made from the source: `python -m tortie.cli.generated deploy`.

In: the model. Out: their texts by path below deploy/, for `make manifests` and for the test that compares them.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from tortie.cli.crds import as_yaml
from tortie.model.definitions import GROUPS, definitions

_HEADER = "# Made by `make manifests` from src/tortie/model. Apply with: kubectl apply --server-side -f FILE\n"


def files() -> Iterator[tuple[str, str]]:
    """Path below deploy/ and text of every generated file."""
    for group in GROUPS:
        yield f"crds/{group}.yaml", _HEADER + as_yaml(definitions(group))


def main(deploy: Path) -> None:
    for path, text in files():
        target = deploy / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
