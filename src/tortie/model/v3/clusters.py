"""Several clusters and their licence: ManagedCluster, RemoteClusterConfiguration, LicenseKey, LicenseUsageReport.

For admission and for the components that join clusters. In: JSON of projectcalico.org/v3 and usage.tigera.io/v1. Out:
immutable structs; all four kinds are of the Enterprise edition (spec/resources.md 1.4).
"""

from typing import Annotated

import msgspec

from tortie.model.fields import ApiStruct, Object, constant, doc
from tortie.model.meta import Condition, ObjectMeta


class ManagedClusterSpec(ApiStruct, frozen=True, kw_only=True):
    certificate: Annotated[
        str, doc("Certificate of the managed cluster, base64 of PEM, if it was made by others.", format="byte")
    ] = ""
    installation_manifest: Annotated[
        str, doc("Manifest to apply in the managed cluster; given only in the answer to its creation.")
    ] = ""
    operator_namespace: Annotated[str, doc("Namespace of the operator in the managed cluster.")] = ""


class ManagedClusterCondition(ApiStruct, frozen=True, kw_only=True):
    type: Annotated[str, doc("What the condition is about: ManagedClusterConnected.", required=True)] = ""
    status: Annotated[
        str, doc("Whether it holds: True, False or Unknown.", enum=["True", "False", "Unknown"], required=True)
    ] = ""
    reason: Annotated[str, doc("Why, in one CamelCase word for programs.")] = ""
    message: Annotated[str, doc("Why, in words for people.")] = ""


class ManagedClusterStatus(ApiStruct, frozen=True, kw_only=True):
    conditions: Annotated[
        tuple[ManagedClusterCondition, ...],
        doc("ManagedClusterConnected: whether the cluster is connected; Unknown at first."),
    ] = ()


class ManagedCluster(Object, frozen=True, kw_only=True):
    """Another cluster that is managed from this one. The name cluster is taken by this cluster itself."""

    api_version: str = constant("projectcalico.org/v3")
    kind: str = constant("ManagedCluster")
    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[ManagedClusterSpec, doc("How the cluster identifies itself.")] = ManagedClusterSpec()
    status: Annotated[ManagedClusterStatus | None, doc("Whether the cluster is connected.")] = None


class SecretObjectReference(ApiStruct, frozen=True, kw_only=True):
    """Names a Secret of the Kubernetes API."""

    api_version: Annotated[str, doc("API version of the object that is referred to.")] = ""
    kind: Annotated[str, doc("Kind of the object; Secret.")] = ""
    namespace: Annotated[str, doc("Namespace of the object.")] = ""
    name: Annotated[str, doc("Name of the object.")] = ""
    uid: Annotated[str, doc("UID of the object, if exactly that one is meant.")] = ""
    resource_version: Annotated[str, doc("Version of the object, if exactly that one is meant.")] = ""
    field_path: Annotated[str, doc("Part of the object that is meant.")] = ""


class RemoteClusterSyncOptions(ApiStruct, frozen=True, kw_only=True):
    overlay_routing_mode: Annotated[
        str,
        doc(
            "Whether routes to pods of the remote cluster go through the overlay network of both.",
            enum=["Enabled", "Disabled"],
            default="Disabled",
        ),
    ] = ""


class RemoteClusterConfigurationSpec(ApiStruct, frozen=True, kw_only=True):
    datastore_type: Annotated[
        str, doc("Where the remote cluster keeps its objects; etcdv3 if absent.", enum=["etcdv3", "kubernetes"])
    ] = ""
    cluster_access_secret: Annotated[
        SecretObjectReference | None,
        doc("A Secret with all connection settings; then every other connection field stays empty."),
    ] = None
    etcd_endpoints: Annotated[str, doc("Addresses of etcd, with commas; for etcdv3.")] = ""
    etcd_username: Annotated[str, doc("User name in etcd; for etcdv3.")] = ""
    etcd_password: Annotated[str, doc("Password of the user in etcd; for etcdv3.")] = ""
    etcd_key_file: Annotated[str, doc("File with the client key; for etcdv3.")] = ""
    etcd_cert_file: Annotated[str, doc("File with the client certificate; for etcdv3.")] = ""
    etcd_ca_cert_file: Annotated[str, doc("File with the certificate authority; for etcdv3.")] = ""
    etcd_key: Annotated[str, doc("The client key itself, as PEM; for etcdv3.")] = ""
    etcd_cert: Annotated[str, doc("The client certificate itself, as PEM; for etcdv3.")] = ""
    etcd_ca_cert: Annotated[str, doc("The certificate authority itself, as PEM; for etcdv3.")] = ""
    kubeconfig: Annotated[str, doc("File with the kubeconfig; for kubernetes.")] = ""
    kubeconfig_inline: Annotated[str, doc("The kubeconfig itself; for kubernetes.")] = ""
    k8s_api_endpoint: Annotated[str, doc("URL of the API server; for kubernetes.")] = ""
    k8s_key_file: Annotated[str, doc("File with the client key; for kubernetes.")] = ""
    k8s_cert_file: Annotated[str, doc("File with the client certificate; for kubernetes.")] = ""
    k8s_ca_file: Annotated[str, doc("File with the certificate authority; for kubernetes.")] = ""
    k8s_api_token: Annotated[str, doc("Bearer token; for kubernetes.")] = ""
    k8s_insecure_skip_tls_verify: Annotated[bool, doc("Trust any certificate of the API server; for kubernetes.")] = (
        False
    )
    k8s_client_qps: Annotated[
        float | None, doc("How many requests a second the API server gets at most; for kubernetes.", minimum=0)
    ] = msgspec.field(default=None, name="k8sClientQPS")
    sync_options: Annotated[RemoteClusterSyncOptions, doc("What is taken over from the remote cluster.")] = (
        RemoteClusterSyncOptions()
    )


class RemoteClusterConfiguration(Object, frozen=True, kw_only=True):
    """A cluster whose endpoints this cluster knows, for federated policy and services."""

    api_version: str = constant("projectcalico.org/v3")
    kind: str = constant("RemoteClusterConfiguration")
    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[RemoteClusterConfigurationSpec, doc("How to reach the cluster.")] = RemoteClusterConfigurationSpec()


class LicenseKeySpec(ApiStruct, frozen=True, kw_only=True):
    token: Annotated[str, doc("The licence itself.", required=True)] = ""
    certificate: Annotated[str, doc("Certificate, as PEM, with which the licence is verified.")] = ""


class LicenseKeyStatus(ApiStruct, frozen=True, kw_only=True):
    expiry: Annotated[str | None, doc("When the licence ends.", format="date-time")] = None
    grace_period: Annotated[str, doc("How long it is honoured after that.")] = ""
    max_nodes: Annotated[int | None, doc("How many nodes it covers.")] = msgspec.field(default=None, name="maxnodes")
    max_cores: Annotated[int | None, doc("How many cores it covers.")] = msgspec.field(default=None, name="maxcores")
    package: Annotated[
        str,
        doc("What was bought.", enum=["CloudCommunity", "CloudStarter", "CloudPro", "Enterprise"]),
    ] = ""
    features: Annotated[tuple[str, ...], doc("Features that the licence includes.")] = ()
    conditions: Annotated[tuple[Condition, ...], doc("Valid: whether the licence is valid.")] = ()


class LicenseKey(Object, frozen=True, kw_only=True):
    """The licence of the cluster. The only object is named default."""

    api_version: str = constant("projectcalico.org/v3")
    kind: str = constant("LicenseKey")
    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[LicenseKeySpec, doc("The licence.")] = LicenseKeySpec()
    status: Annotated[LicenseKeyStatus | None, doc("What the licence says.")] = None


class LicenseUsageReportSpec(ApiStruct, frozen=True, kw_only=True):
    report_data: Annotated[str, doc("The report: base64 of JSON.", required=True)] = ""
    hmac: Annotated[str, doc("Proof that the report was not changed.", required=True)] = ""


class LicenseUsageReport(Object, frozen=True, kw_only=True):
    """How many nodes and cores were in use. Written by the system."""

    api_version: str = constant("usage.tigera.io/v1")
    kind: str = constant("LicenseUsageReport")
    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[LicenseUsageReportSpec, doc("The report and its proof.")] = LicenseUsageReportSpec()
