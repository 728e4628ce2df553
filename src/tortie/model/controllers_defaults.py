"""What KubeControllersConfiguration means where it is silent, and the object that is made if there is none.

For the controllers, which write the result to status.runningConfig, and for tools. In: a spec as it is stored. Out: the
same spec with every default (spec/apiserver-controllers-clis.md 3.2). A controller whose section is absent is off, so
sections are completed, never added. What the environment says comes on top and is the controllers' business.
"""

from typing import Any, TypeVar

from msgspec import structs

from tortie.model.v3.cluster import (
    AutoHostEndpointConfig,
    ControllersConfig,
    HalfMinuteController,
    HostEndpointTemplate,
    KubeControllersConfigurationSpec,
    LoadBalancerController,
    MigrationController,
    NodeController,
    PeriodicController,
)

_T = TypeVar("_T")

_DEFAULTS: dict[type, dict[str, Any]] = {
    KubeControllersConfigurationSpec: {
        "log_severity_screen": "Info",
        "health_checks": "Enabled",
        "etcd_v3_compaction_period": "10m",
        "prometheus_metrics_port": 9094,
    },
    NodeController: {
        "reconciler_period": "5m",
        "sync_labels": "Enabled",
        "host_endpoint": AutoHostEndpointConfig(),
        "leak_grace_period": "15m",
    },
    AutoHostEndpointConfig: {"auto_create": "Disabled", "create_default_host_endpoint": "Enabled"},
    HostEndpointTemplate: {"node_selector": "all()"},
    PeriodicController: {"reconciler_period": "5m"},
    HalfMinuteController: {"reconciler_period": "30s"},
    LoadBalancerController: {"assign_ips": "AllServices"},
    MigrationController: {"policy_name_migrator": "Enabled"},
    ControllersConfig: {},
}

STANDARD = KubeControllersConfigurationSpec(
    controllers=ControllersConfig(
        node=NodeController(),
        policy=PeriodicController(),
        workload_endpoint=PeriodicController(),
        service_account=PeriodicController(),
        namespace=PeriodicController(),
        load_balancer=LoadBalancerController(),
        migration=MigrationController(),
    )
)
"""The spec of the object `default` that is made when there is none: every controller of the open source edition."""


def with_defaults(spec: KubeControllersConfigurationSpec) -> KubeControllersConfigurationSpec:
    """The spec with a value for everything that has a default. A port of 0 is a value: it means none."""
    return _completed(spec)


def _completed(value: _T) -> _T:
    defaults = _DEFAULTS.get(type(value))
    if defaults is None:
        return value
    found: dict[str, Any] = {}
    for name in structs.asdict(value):  # type: ignore[arg-type]  # the types in _DEFAULTS are structs
        item = getattr(value, name)
        if item in (None, "") and name in defaults:
            item = defaults[name]
        found[name] = tuple(map(_completed, item)) if isinstance(item, tuple) else _completed(item)
    return type(value)(**found)
