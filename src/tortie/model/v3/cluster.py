"""Objects about the cluster as a whole: ClusterInformation and the settings of kube-controllers.

For node start-up, Felix and the controllers. In: JSON of projectcalico.org/v3. Out: immutable structs.
"""

from typing import Annotated

import msgspec

from tortie.model.fields import UNIQUE, ApiStruct, Object, constant, doc, empty_map
from tortie.model.meta import ObjectMeta

_ON_OFF = ["Enabled", "Disabled"]


class ClusterInformationSpec(ApiStruct, frozen=True, kw_only=True):
    cluster_guid: Annotated[str, doc("Identity of the cluster: 32 hexadecimal digits.")] = ""
    cluster_type: Annotated[str, doc("What the cluster is made of, as a list with commas.")] = ""
    calico_version: Annotated[str, doc("Version of the node agent that started last.")] = ""
    datastore_ready: Annotated[
        bool | None, doc("False tells all components to wait, during an upgrade or migration.")
    ] = None
    variant: Annotated[str, doc("Edition of the product.")] = ""
    cnx_version: Annotated[str, doc("Version of the Enterprise edition, under its old name.")] = ""
    calico_enterprise_version: Annotated[str, doc("Version of the Enterprise edition.")] = ""


class ClusterInformation(Object, frozen=True, kw_only=True):
    """Facts about the cluster, written by the system. The only object is named default."""

    api_version: str = constant("projectcalico.org/v3")
    kind: str = constant("ClusterInformation")
    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[ClusterInformationSpec, doc("The facts.")] = ClusterInformationSpec()


class HostEndpointTemplate(ApiStruct, frozen=True, kw_only=True):
    generate_name: Annotated[
        str,
        doc(
            "Middle part of the names of the host endpoints made from this template; unique.",
            maxLength=253,
            required=True,
        ),
    ] = ""
    interface_cidrs: Annotated[
        tuple[str, ...], doc("Interfaces with an address in any of these ranges.", **UNIQUE)
    ] = ()
    interface_pattern: Annotated[str, doc("Interfaces whose name matches this regular expression.")] = ""
    labels: Annotated[dict[str, str], doc("Labels of the host endpoints.")] = empty_map()
    annotations: Annotated[dict[str, str], doc("Annotations of the host endpoints.")] = empty_map()
    node_selector: Annotated[str, doc("The nodes that the template is for; all() if absent.")] = ""


class AutoHostEndpointConfig(ApiStruct, frozen=True, kw_only=True):
    auto_create: Annotated[
        str, doc("Whether host endpoints are made for every node; Disabled if absent.", enum=_ON_OFF)
    ] = ""
    create_default_host_endpoint: Annotated[
        str, doc("Whether one for all interfaces is among them; Enabled if absent.", enum=_ON_OFF)
    ] = ""
    templates: Annotated[tuple[HostEndpointTemplate, ...], doc("Further host endpoints, for chosen interfaces.")] = ()


class NodeController(ApiStruct, frozen=True, kw_only=True):
    reconciler_period: Annotated[str | None, doc("Time between full checks; 5m if absent.")] = None
    sync_labels: Annotated[
        str, doc("Whether labels of Kubernetes nodes are copied; Enabled if absent.", enum=_ON_OFF)
    ] = ""
    host_endpoint: Annotated[AutoHostEndpointConfig | None, doc("Host endpoints that are made by themselves.")] = None
    leak_grace_period: Annotated[
        str | None, doc("How long an address may seem leaked before it is released; 15m if absent.")
    ] = None


class PeriodicController(ApiStruct, frozen=True, kw_only=True):
    reconciler_period: Annotated[str | None, doc("Time between full checks; 5m if absent.")] = None


class HalfMinuteController(ApiStruct, frozen=True, kw_only=True):
    reconciler_period: Annotated[str | None, doc("Time between full checks; 30s if absent.")] = None


class LoadBalancerController(ApiStruct, frozen=True, kw_only=True):
    assign_ips: Annotated[
        str,
        doc(
            "Which Services of type LoadBalancer get an address; AllServices if absent.",
            enum=["AllServices", "RequestedServicesOnly"],
        ),
    ] = ""


class MigrationController(ApiStruct, frozen=True, kw_only=True):
    policy_name_migrator: Annotated[
        str, doc("Whether policies stored under old names are renamed; Enabled if absent.", enum=_ON_OFF)
    ] = ""


class ControllersConfig(ApiStruct, frozen=True, kw_only=True):
    node: Annotated[NodeController | None, doc("Cleans up after nodes and makes host endpoints; off if absent.")] = None
    policy: Annotated[PeriodicController | None, doc("Copies network policies to etcd.")] = None
    workload_endpoint: Annotated[PeriodicController | None, doc("Copies labels of pods to etcd.")] = None
    service_account: Annotated[PeriodicController | None, doc("Copies service accounts to etcd.")] = None
    namespace: Annotated[PeriodicController | None, doc("Copies namespaces to etcd.")] = None
    load_balancer: Annotated[LoadBalancerController | None, doc("Assigns addresses to Services.")] = None
    migration: Annotated[MigrationController | None, doc("Moves stored objects to new forms.")] = None
    federated_services: Annotated[
        PeriodicController | None, doc("Keeps Services whose endpoints are in several clusters.")
    ] = None
    application_layer: Annotated[HalfMinuteController | None, doc("Sets up the layer 7 proxies of workloads.")] = None
    rbac_sync: Annotated[HalfMinuteController | None, doc("Carries roles of the user interface to other clusters.")] = (
        msgspec.field(default=None, name="rbacSync")
    )


class KubeControllersConfigurationSpec(ApiStruct, frozen=True, kw_only=True):
    log_severity_screen: Annotated[
        str,
        doc("What is logged; Info if absent.", enum=["None", "Debug", "Info", "Warning", "Error", "Fatal", "Panic"]),
    ] = ""
    health_checks: Annotated[str, doc("Whether health is reported; Enabled if absent.", enum=_ON_OFF)] = ""
    etcd_v3_compaction_period: Annotated[
        str | None, doc("Time between compactions of etcd; 10m if absent, 0 for never.")
    ] = msgspec.field(default=None, name="etcdV3CompactionPeriod")
    prometheus_metrics_port: Annotated[
        int | None, doc("Port of the metrics; 9094 if absent, 0 for none.", minimum=0, maximum=65535)
    ] = None
    debug_profile_port: Annotated[
        int | None, doc("Port of the profiler; off if absent or 0.", minimum=0, maximum=65535)
    ] = None
    controllers: Annotated[ControllersConfig, doc("The controllers that run, and their settings.", required=True)] = (
        constant(ControllersConfig())
    )


class KubeControllersConfigurationStatus(ApiStruct, frozen=True, kw_only=True):
    running_config: Annotated[
        KubeControllersConfigurationSpec | None, doc("The settings in force, environment included.")
    ] = None
    environment_vars: Annotated[dict[str, str], doc("Settings that come from the environment and win.")] = empty_map()


class KubeControllersConfiguration(Object, frozen=True, kw_only=True):
    """Settings of kube-controllers. The only object is named default."""

    api_version: str = constant("projectcalico.org/v3")
    kind: str = constant("KubeControllersConfiguration")
    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[KubeControllersConfigurationSpec, doc("The settings.")] = KubeControllersConfigurationSpec()
    status: Annotated[KubeControllersConfigurationStatus | None, doc("The settings in force.")] = None
