"""KubeControllersConfiguration where it is silent. What it accepts is in test_model_validation_config_cluster.py."""

import json
from typing import Any

import msgspec

from tortie.model.admission import admit
from tortie.model.catalog import KUBE_CONTROLLERS_CONFIGURATIONS
from tortie.model.controllers_defaults import STANDARD, with_defaults
from tortie.model.v3.cluster import KubeControllersConfigurationSpec


def completed(spec: dict[str, Any]) -> Any:
    return json.loads(msgspec.json.encode(with_defaults(msgspec.convert(spec, KubeControllersConfigurationSpec))))


GENERAL = {
    "logSeverityScreen": "Info",
    "healthChecks": "Enabled",
    "etcdV3CompactionPeriod": "10m",
    "prometheusMetricsPort": 9094,
}
HOST_ENDPOINT = {"autoCreate": "Disabled", "createDefaultHostEndpoint": "Enabled"}
NODE = {"reconcilerPeriod": "5m", "syncLabels": "Enabled", "leakGracePeriod": "15m", "hostEndpoint": HOST_ENDPOINT}


def test_a_controller_without_a_section_stays_off() -> None:
    assert completed({"controllers": {}}) == {**GENERAL, "controllers": {}}


def test_every_section_gets_its_defaults() -> None:
    names = ("node", "policy", "loadBalancer", "migration", "federatedServices", "applicationLayer", "rbacSync")
    assert completed({"controllers": {name: {} for name in names}})["controllers"] == {
        "node": NODE,
        "policy": {"reconcilerPeriod": "5m"},
        "loadBalancer": {"assignIPs": "AllServices"},
        "migration": {"policyNameMigrator": "Enabled"},
        "federatedServices": {"reconcilerPeriod": "5m"},
        "applicationLayer": {"reconcilerPeriod": "30s"},
        "rbacSync": {"reconcilerPeriod": "30s"},
    }


def test_what_is_written_stays_as_it_is() -> None:
    node = {"reconcilerPeriod": "1m", "syncLabels": "Disabled", "leakGracePeriod": "0"}
    template = {"generateName": "wan", "interfacePattern": "eth.*"}
    spec = {
        "logSeverityScreen": "Debug",
        "healthChecks": "Disabled",
        "etcdV3CompactionPeriod": "0",
        "prometheusMetricsPort": 0,
        "debugProfilePort": 6060,
        "controllers": {"node": {**node, "hostEndpoint": {"autoCreate": "Enabled", "templates": [template]}}},
    }
    made = completed(spec)
    assert made["controllers"]["node"].items() >= node.items()
    assert made["controllers"]["node"]["hostEndpoint"] == {
        "autoCreate": "Enabled",
        "createDefaultHostEndpoint": "Enabled",
        "templates": [{**template, "nodeSelector": "all()"}],
    }
    assert {name: made[name] for name in spec if name != "controllers"} == {
        name: value for name, value in spec.items() if name != "controllers"
    }


def test_the_object_that_is_made_by_itself_is_accepted() -> None:
    obj = {"metadata": {"name": "default"}, "spec": json.loads(msgspec.json.encode(STANDARD))}
    admission = admit(KUBE_CONTROLLERS_CONFIGURATIONS, obj, None)
    assert (admission.errors, admission.unknown_fields) == ([], [])
    assert with_defaults(with_defaults(STANDARD)) == with_defaults(STANDARD)
