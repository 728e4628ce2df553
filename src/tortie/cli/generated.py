"""The files under deploy/ that are made from the source: `python -m tortie.cli.generated deploy`.

In: the model. Out: their texts by path below deploy/, for `make manifests` and for the test that compares them.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from tortie.cli.crds import as_yaml
from tortie.model.definitions import GROUPS, definitions
from tortie.model.native_policies import MUTATING_VERSIONS, built_in_tiers, native_policies

_HEADER = "# Made by `make manifests` from src/tortie/model. Apply with: kubectl apply --server-side -f FILE\n"
_KUBERNETES = {"v1": "1.36 and later", "v1beta1": "1.34 and 1.35", "v1alpha1": "1.32 and 1.33"}
_POLICIES = """\
# Admission policies for a cluster that serves projectcalico.org/v3 from CustomResourceDefinitions: they fill in the
# tier of a policy, its label and its types, and keep the built-in tiers. For Kubernetes {kubernetes}{gate}.
"""


def files() -> Iterator[tuple[str, str]]:
    """Path below deploy/ and text of every generated file."""
    for group in GROUPS:
        yield f"crds/{group}.yaml", _HEADER + as_yaml(definitions(group))
    for version in MUTATING_VERSIONS:
        suffix = "" if version == "v1" else f"-{version}"
        gate = (
            ""
            if version == "v1"
            else f", whose feature gate\n# MutatingAdmissionPolicy and API version {version} are on"
        )
        text = _POLICIES.format(kubernetes=_KUBERNETES[version], gate=gate)
        yield f"manifests/calico-admission-policies{suffix}.yaml", _HEADER + text + as_yaml(native_policies(version))
    yield "manifests/calico-tiers.yaml", _HEADER + as_yaml(built_in_tiers())


def main(deploy: Path) -> None:
    for path, text in files():
        target = deploy / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
