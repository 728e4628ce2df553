"""The parts of a Pod that a kubelet acts on, as typed structs.

In: JSON of core/v1 from the API server. Out: immutable structs for every module of this room, and the status structs
that `status` fills and the API server gets back. Fields not listed here are skipped while decoding.
"""

from typing import Any

import msgspec

from tortie.model.fields import ApiStruct
from tortie.model.meta import ObjectMeta

Port = int | str


class Named(ApiStruct, frozen=True, kw_only=True):
    name: str = ""


class FieldRef(ApiStruct, frozen=True, kw_only=True):
    field_path: str = ""


class ResourceFieldRef(ApiStruct, frozen=True, kw_only=True):
    container_name: str = ""
    resource: str = ""
    divisor: str = "1"


class KeyRef(ApiStruct, frozen=True, kw_only=True):
    """One key of a ConfigMap or Secret of the pod's namespace."""

    name: str = ""
    key: str = ""
    optional: bool = False


class EnvSource(ApiStruct, frozen=True, kw_only=True):
    field_ref: FieldRef | None = None
    resource_field_ref: ResourceFieldRef | None = None
    config_map_key_ref: KeyRef | None = None
    secret_key_ref: KeyRef | None = None


class EnvVar(ApiStruct, frozen=True, kw_only=True):
    name: str
    value: str = ""
    value_from: EnvSource | None = None


class EnvFromRef(ApiStruct, frozen=True, kw_only=True):
    name: str = ""
    optional: bool = False


class EnvFrom(ApiStruct, frozen=True, kw_only=True):
    prefix: str = ""
    config_map_ref: EnvFromRef | None = None
    secret_ref: EnvFromRef | None = None


class ContainerPort(ApiStruct, frozen=True, kw_only=True):
    name: str = ""
    container_port: int = 0
    host_port: int = 0
    host_ip: str = ""
    protocol: str = "TCP"


class VolumeMount(ApiStruct, frozen=True, kw_only=True):
    name: str
    mount_path: str
    read_only: bool = False
    sub_path: str = ""
    sub_path_expr: str = ""


class ExecAction(ApiStruct, frozen=True, kw_only=True):
    command: tuple[str, ...] = ()


class HTTPHeader(ApiStruct, frozen=True, kw_only=True):
    name: str = ""
    value: str = ""


class HTTPGetAction(ApiStruct, frozen=True, kw_only=True):
    path: str = "/"
    port: Port = 80
    host: str = ""
    scheme: str = "HTTP"
    http_headers: tuple[HTTPHeader, ...] = ()


class TCPSocketAction(ApiStruct, frozen=True, kw_only=True):
    port: Port = 0
    host: str = ""


class SleepAction(ApiStruct, frozen=True, kw_only=True):
    seconds: int = 0


class GRPCAction(ApiStruct, frozen=True, kw_only=True):
    port: int = 0
    service: str = ""


class Probe(ApiStruct, frozen=True, kw_only=True):
    exec: ExecAction | None = None
    http_get: HTTPGetAction | None = None
    tcp_socket: TCPSocketAction | None = None
    grpc: GRPCAction | None = None
    initial_delay_seconds: int = 0
    timeout_seconds: int = 1
    period_seconds: int = 10
    success_threshold: int = 1
    failure_threshold: int = 3
    termination_grace_period_seconds: int | None = None


class LifecycleHandler(ApiStruct, frozen=True, kw_only=True):
    exec: ExecAction | None = None
    http_get: HTTPGetAction | None = None
    tcp_socket: TCPSocketAction | None = None
    sleep: SleepAction | None = None


class Lifecycle(ApiStruct, frozen=True, kw_only=True):
    post_start: LifecycleHandler | None = None
    pre_stop: LifecycleHandler | None = None


class Capabilities(ApiStruct, frozen=True, kw_only=True):
    add: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()


class SecurityContext(ApiStruct, frozen=True, kw_only=True):
    run_as_user: int | None = msgspec.field(default=None, name="runAsUser")
    run_as_group: int | None = msgspec.field(default=None, name="runAsGroup")
    privileged: bool = False
    read_only_root_filesystem: bool = False
    capabilities: Capabilities | None = None


class Sysctl(ApiStruct, frozen=True, kw_only=True):
    name: str
    value: str


class PodSecurityContext(ApiStruct, frozen=True, kw_only=True):
    run_as_user: int | None = msgspec.field(default=None, name="runAsUser")
    run_as_group: int | None = msgspec.field(default=None, name="runAsGroup")
    fs_group: int | None = None
    supplemental_groups: tuple[int, ...] = ()
    sysctls: tuple[Sysctl, ...] = ()


class Resources(ApiStruct, frozen=True, kw_only=True):
    limits: dict[str, Any] = msgspec.field(default_factory=dict)
    requests: dict[str, Any] = msgspec.field(default_factory=dict)


class Container(ApiStruct, frozen=True, kw_only=True):
    name: str
    image: str = ""
    image_pull_policy: str = ""
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    working_dir: str = ""
    env: tuple[EnvVar, ...] = ()
    env_from: tuple[EnvFrom, ...] = ()
    ports: tuple[ContainerPort, ...] = ()
    volume_mounts: tuple[VolumeMount, ...] = ()
    liveness_probe: Probe | None = None
    readiness_probe: Probe | None = None
    startup_probe: Probe | None = None
    lifecycle: Lifecycle | None = None
    security_context: SecurityContext | None = None
    resources: Resources = Resources()
    restart_policy: str = ""
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False
    termination_message_path: str = "/dev/termination-log"
    termination_message_policy: str = "File"


class KeyToPath(ApiStruct, frozen=True, kw_only=True):
    key: str
    path: str
    mode: int | None = None


class EmptyDirVolume(ApiStruct, frozen=True, kw_only=True):
    medium: str = ""


class ConfigMapVolume(ApiStruct, frozen=True, kw_only=True):
    """Also a projected ConfigMap source."""

    name: str = ""
    items: tuple[KeyToPath, ...] = ()
    default_mode: int | None = None
    optional: bool = False


class SecretVolume(ApiStruct, frozen=True, kw_only=True):
    secret_name: str = ""
    items: tuple[KeyToPath, ...] = ()
    default_mode: int | None = None
    optional: bool = False


class SecretProjection(ApiStruct, frozen=True, kw_only=True):
    name: str = ""
    items: tuple[KeyToPath, ...] = ()
    optional: bool = False


class DownwardItem(ApiStruct, frozen=True, kw_only=True):
    path: str
    field_ref: FieldRef | None = None
    resource_field_ref: ResourceFieldRef | None = None
    mode: int | None = None


class DownwardVolume(ApiStruct, frozen=True, kw_only=True):
    items: tuple[DownwardItem, ...] = ()
    default_mode: int | None = None


class TokenProjection(ApiStruct, frozen=True, kw_only=True):
    audience: str = ""
    expiration_seconds: int = 3600
    path: str = "token"


class Projection(ApiStruct, frozen=True, kw_only=True):
    config_map: ConfigMapVolume | None = None
    secret: SecretProjection | None = None
    downward_api: DownwardVolume | None = msgspec.field(default=None, name="downwardAPI")
    service_account_token: TokenProjection | None = None


class ProjectedVolume(ApiStruct, frozen=True, kw_only=True):
    sources: tuple[Projection, ...] = ()
    default_mode: int | None = None


class HostPathVolume(ApiStruct, frozen=True, kw_only=True):
    path: str
    type: str = ""


class Volume(ApiStruct, frozen=True, kw_only=True):
    name: str
    empty_dir: EmptyDirVolume | None = None
    config_map: ConfigMapVolume | None = None
    secret: SecretVolume | None = None
    projected: ProjectedVolume | None = None
    downward_api: DownwardVolume | None = msgspec.field(default=None, name="downwardAPI")
    host_path: HostPathVolume | None = None


class HostAlias(ApiStruct, frozen=True, kw_only=True):
    ip: str
    hostnames: tuple[str, ...] = ()


class DNSOption(ApiStruct, frozen=True, kw_only=True):
    name: str = ""
    value: str | None = None


class PodDNSConfig(ApiStruct, frozen=True, kw_only=True):
    nameservers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[DNSOption, ...] = ()


class ReadinessGate(ApiStruct, frozen=True, kw_only=True):
    condition_type: str


class PodSpec(ApiStruct, frozen=True, kw_only=True):
    node_name: str = ""
    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] = ()
    ephemeral_containers: tuple[Container, ...] = ()
    volumes: tuple[Volume, ...] = ()
    restart_policy: str = "Always"
    termination_grace_period_seconds: int = 30
    active_deadline_seconds: int | None = None
    host_network: bool = False
    dns_policy: str = "ClusterFirst"
    dns_config: PodDNSConfig | None = None
    host_aliases: tuple[HostAlias, ...] = ()
    hostname: str = ""
    subdomain: str = ""
    service_account_name: str = ""
    automount_service_account_token: bool | None = None
    enable_service_links: bool = True
    security_context: PodSecurityContext | None = None
    readiness_gates: tuple[ReadinessGate, ...] = ()


class PodCondition(ApiStruct, frozen=True, kw_only=True):
    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""
    last_probe_time: str | None = None
    last_transition_time: str | None = None
    observed_generation: int = 0


class RunningState(ApiStruct, frozen=True, kw_only=True):
    started_at: str | None = None


class WaitingState(ApiStruct, frozen=True, kw_only=True):
    reason: str = ""
    message: str = ""


class TerminatedState(ApiStruct, frozen=True, kw_only=True, omit_defaults=False):
    exit_code: int = 0
    reason: str = ""
    message: str | None = None
    signal: int | None = None
    started_at: str | None = None
    finished_at: str | None = None
    container_id: str = ""


class ContainerState(ApiStruct, frozen=True, kw_only=True):
    waiting: WaitingState | None = None
    running: RunningState | None = None
    terminated: TerminatedState | None = None


class ContainerStatus(ApiStruct, frozen=True, kw_only=True, omit_defaults=False):
    """All fields are written: the API calls name, ready, restartCount, image and imageID required."""

    name: str
    state: ContainerState = ContainerState()
    last_state: ContainerState = ContainerState()
    ready: bool = False
    restart_count: int = 0
    image: str = ""
    image_id: str = ""
    container_id: str = ""
    started: bool | None = None


class PodIP(ApiStruct, frozen=True, kw_only=True):
    ip: str


class PodStatus(ApiStruct, frozen=True, kw_only=True):
    phase: str = ""
    reason: str = ""
    message: str = ""
    conditions: tuple[PodCondition, ...] = ()
    host_ip: str = ""
    host_ips: tuple[PodIP, ...] = ()
    pod_ip: str = ""
    pod_ips: tuple[PodIP, ...] = ()
    start_time: str | None = None
    init_container_statuses: tuple[ContainerStatus, ...] = ()
    container_statuses: tuple[ContainerStatus, ...] = ()
    ephemeral_container_statuses: tuple[ContainerStatus, ...] = ()
    qos_class: str = ""
    observed_generation: int = 0


class Pod(ApiStruct, frozen=True, kw_only=True):
    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def key(self) -> str:
        """`namespace/name`, for people."""
        return f"{self.metadata.namespace}/{self.metadata.name}"

    @property
    def uid(self) -> str:
        return self.metadata.uid


class ConfigMap(ApiStruct, frozen=True, kw_only=True):
    metadata: ObjectMeta = ObjectMeta()
    data: dict[str, str] = msgspec.field(default_factory=dict)
    binary_data: dict[str, str] = msgspec.field(default_factory=dict)


class Secret(ApiStruct, frozen=True, kw_only=True):
    """Values of `data` are base64."""

    metadata: ObjectMeta = ObjectMeta()
    data: dict[str, str] = msgspec.field(default_factory=dict)


class ServicePort(ApiStruct, frozen=True, kw_only=True):
    name: str = ""
    port: int = 0
    protocol: str = "TCP"


class ServiceSpec(ApiStruct, frozen=True, kw_only=True):
    cluster_ip: str = ""
    ports: tuple[ServicePort, ...] = ()


class Service(ApiStruct, frozen=True, kw_only=True):
    metadata: ObjectMeta = ObjectMeta()
    spec: ServiceSpec = ServiceSpec()
