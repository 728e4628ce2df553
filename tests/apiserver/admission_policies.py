"""What the tests of admission policies share: policies with their bindings, made and taken away again.

In: a client of a running API server. Out: `binder`, for a fixture, and expressions as policies hold them.
"""

from collections.abc import Callable, Iterator
from typing import Any

from apiserver_http import MAPS, Answer, Http, config_map

ADMISSION = "/apis/admissionregistration.k8s.io/v1"
CREATES = {"operations": ["CREATE", "UPDATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}
Bind = Callable[..., None]
PLURALS = {"Validating": "validatingadmissionpolicies", "Mutating": "mutatingadmissionpolicies"}


def binder(http: Http) -> Iterator[Bind]:
    """bind(policy spec, binding spec): a policy and its binding, both named `name`, which go after the test."""
    made: list[str] = []

    def make(
        spec: dict[str, Any], binding: dict[str, Any] | None = None, *, phase: str = "Validating", name: str = "p"
    ) -> None:
        rules = {"matchConstraints": {"resourceRules": [CREATES]}}
        more = {"reinvocationPolicy": "Never"} if phase == "Mutating" else {}
        own = {"validationActions": ["Deny"]} if phase == "Validating" else {}
        plural = PLURALS[phase]
        bindings = plural.replace("policies", "policybindings")
        http.ok("POST", f"{ADMISSION}/{plural}", {"metadata": {"name": name}, "spec": {**rules, **more, **spec}})
        made.append(f"{ADMISSION}/{plural}/{name}")
        bound = {"policyName": name, **own, **(binding or {})}
        http.ok("POST", f"{ADMISSION}/{bindings}", {"metadata": {"name": f"{name}-binding"}, "spec": bound})
        made.append(f"{ADMISSION}/{bindings}/{name}-binding")

    yield make
    for path in reversed(made):
        http("DELETE", path)
    for item in http.ok("GET", MAPS)["items"]:
        http("DELETE", f"{MAPS}/{item['metadata']['name']}")


def create(http: Http, name: str = "a", labels: dict[str, str] | None = None, **data: str) -> Answer:
    return http("POST", MAPS, config_map(name, labels, **data))


def apply(expression: str) -> dict[str, Any]:
    """A mutation by apply configuration."""
    return {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}


def patches(expression: str) -> dict[str, Any]:
    """A mutation by JSON patch."""
    return {"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}
