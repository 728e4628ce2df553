"""`tortie crds`: Calico's kinds as CustomResourceDefinitions, for `kubectl apply --server-side -f -`.

In: the group to print. Out: the definitions as YAML documents or as a JSON list; the same as in deploy/crds.
"""

import json
from collections.abc import Iterable
from typing import Any

import click

from tortie.model.catalog import CALICO_GROUP
from tortie.model.definitions import GROUPS, definitions


@click.command()
@click.option(
    "--group",
    type=click.Choice([*GROUPS, "all"]),
    default=CALICO_GROUP,
    show_default=True,
    help="projectcalico.org to serve the API natively; crd.projectcalico.org to store an aggregated API server's"
    " objects; the others in either case.",
)
@click.option("-o", "--output", type=click.Choice(["yaml", "json"]), default="yaml", show_default=True)
def command(group: str, output: str) -> None:
    """Print the CustomResourceDefinitions of Calico's kinds.

    Install them with: tortie crds | kubectl apply --server-side -f -
    (what such an apply owns is recorded by field, so that later versions can take fields away).
    """
    found = [item for name in (GROUPS if group == "all" else (group,)) for item in definitions(name)]
    if output == "yaml":
        click.echo(as_yaml(found), nl=False)
    else:
        click.echo(json.dumps({"apiVersion": "v1", "kind": "List", "items": found}, indent=2, ensure_ascii=False))


def as_yaml(objects: Iterable[dict[str, Any]]) -> str:
    """YAML documents, the same text for the same objects everywhere."""
    import yaml  # late: takes longer to import than most commands run

    class Plain(yaml.SafeDumper):
        """What occurs twice is written twice."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

    return "".join(
        "---\n"
        + yaml.dump(item, Dumper=Plain, sort_keys=False, width=110, allow_unicode=True, default_flow_style=False)
        for item in objects
    )
