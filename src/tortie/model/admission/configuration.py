"""FelixConfiguration, ClusterInformation and KubeControllersConfiguration: defaults and checks.

For admission. In: objects as JSON for defaults, decoded ones for checks. Out: completed JSON, and problems. What a
single field of FelixConfiguration accepts is in `v3/felix_parameters`: its table for the schema, `values` for the rest.
"""

import contextlib
from typing import Any

import msgspec

from tortie.model import formats
from tortie.model.admission.problems import Problems
from tortie.model.controllers_defaults import with_defaults
from tortie.model.serving import ServingMode
from tortie.model.v3.cluster import (
    HostEndpointTemplate,
    KubeControllersConfiguration,
    KubeControllersConfigurationSpec,
)
from tortie.model.v3.felix import FelixConfiguration
from tortie.model.v3.felix_parameters import PARAMETERS, snake_case
from tortie.model.v3.felix_parameters.values import field_problems

Object = dict[str, Any]

_WRITTEN = {p.field: p.written_default for p in PARAMETERS.values() if p.written_default}


# --- FelixConfiguration ----------------------------------------------------------------------------------------


def default_felix_configuration(obj: Object, mode: ServingMode) -> None:
    """What the aggregated server writes besides the schema's defaults. The deprecated switch of connect-time load
    balancing sets the fields that replace it."""
    if mode is ServingMode.NATIVE:
        return
    spec = obj["spec"]
    for field, value in _WRITTEN.items():
        spec[field] = spec.get(field) or value
    enabled = spec.get("bpfConnectTimeLoadBalancingEnabled")
    if isinstance(enabled, bool):
        spec["bpfConnectTimeLoadBalancing"] = "Enabled" if enabled else "Disabled"
        spec["bpfHostNetworkedNATWithoutCTLB"] = "Disabled"


def check_felix_configuration(configuration: FelixConfiguration, problems: Problems) -> None:
    spec = configuration.spec
    name = configuration.metadata.name
    if spec.node_selector:
        if name == "default" or name.startswith("node."):
            problems.forbidden("spec.nodeSelector", f"cannot be set in {name}, whose name says which nodes it is for")
        problems.selector("spec.nodeSelector", spec.node_selector)
    for field, parameter in PARAMETERS.items():
        value = getattr(spec, snake_case(field))
        if value is not None:
            for problem in field_problems(parameter, value):
                problems.add(f"spec.{field}{problem.where}", problem.value, problem.message)
    if spec.route_table_range is not None and spec.route_table_ranges:
        problems.forbidden("spec.routeTableRange", "cannot be set together with routeTableRanges, which replaces it")


# --- ClusterInformation and KubeControllersConfiguration -------------------------------------------------------


def default_cluster_information(obj: Object, _: ServingMode) -> None:
    obj["spec"].setdefault("datastoreReady", True)


def default_kube_controllers_configuration(obj: Object, mode: ServingMode) -> None:
    """The aggregated server writes every default; natively they are worked out when the controllers start."""
    if mode is ServingMode.AGGREGATED:
        with contextlib.suppress(msgspec.ValidationError):  # which the next step reports
            spec = with_defaults(msgspec.convert(obj["spec"], KubeControllersConfigurationSpec))
            obj["spec"] = msgspec.json.decode(msgspec.json.encode(spec))


def check_kube_controllers_configuration(configuration: KubeControllersConfiguration, problems: Problems) -> None:
    spec = configuration.spec
    problems.duration("spec.etcdV3CompactionPeriod", spec.etcd_v3_compaction_period)
    controllers = spec.controllers
    for field, controller in (
        ("policy", controllers.policy),
        ("workloadEndpoint", controllers.workload_endpoint),
        ("serviceAccount", controllers.service_account),
        ("namespace", controllers.namespace),
        ("federatedServices", controllers.federated_services),
        ("applicationLayer", controllers.application_layer),
        ("rbacSync", controllers.rbac_sync),
    ):
        if controller is not None:
            problems.duration(f"spec.controllers.{field}.reconcilerPeriod", controller.reconciler_period)
    node = controllers.node
    if node is None:
        return
    problems.duration("spec.controllers.node.reconcilerPeriod", node.reconciler_period)
    problems.duration("spec.controllers.node.leakGracePeriod", node.leak_grace_period)
    if node.host_endpoint is not None:
        names: set[str] = set()
        for index, template in enumerate(node.host_endpoint.templates):
            path = f"spec.controllers.node.hostEndpoint.templates[{index}]"
            if template.generate_name in names:
                problems.add(f"{path}.generateName", template.generate_name, "another template has this name")
            names.add(template.generate_name)
            _template(template, path, problems)


def _template(template: HostEndpointTemplate, path: str, problems: Problems) -> None:
    problems.text(f"{path}.generateName", template.generate_name, formats.name_problem)
    if not template.interface_cidrs and not template.interface_pattern:
        problems.required(f"{path}.interfaceCIDRs", "either interfaceCIDRs or interfacePattern must be set")
    problems.texts(
        f"{path}.interfaceCIDRs", template.interface_cidrs, lambda net: formats.net_problem(net, host_bits=True)
    )
    problems.text(f"{path}.interfacePattern", template.interface_pattern, formats.regex_problem)
    problems.labels(f"{path}.labels", template.labels)
    problems.annotations(f"{path}.annotations", template.annotations)
    problems.selector(f"{path}.nodeSelector", template.node_selector)
