"""Parameters that only the environment and the configuration file may set: who we are, and where the datastore is.

For Felix, which must not take them from the datastore itself, and for the reference. In: nothing. Out: `LOCAL`.
"""

from typing import NamedTuple


class LocalParameter(NamedTuple):
    """name: as in FELIX_<name> and in the file. acting: whether Tortie's Felix acts on it."""

    name: str
    description: str
    default: str = ""
    acting: bool = False


_ETCD = "For etcd, which Tortie does not use."
_TYPHA = "For Typha, between Felix and the API server."

LOCAL: tuple[LocalParameter, ...] = (
    LocalParameter("FelixHostname", "Name of the node; the host's name in lower case if absent.", acting=True),
    LocalParameter("DatastoreType", "Where objects are kept: kubernetes.", "kubernetes"),
    LocalParameter("EtcdAddr", f"{_ETCD} Address and port."),
    LocalParameter("EtcdScheme", f"{_ETCD} http or https."),
    LocalParameter("EtcdEndpoints", f"{_ETCD} URLs, with commas."),
    LocalParameter("EtcdKeyFile", f"{_ETCD} Key of the client."),
    LocalParameter("EtcdCertFile", f"{_ETCD} Certificate of the client."),
    LocalParameter("EtcdCaFile", f"{_ETCD} Certificates of the authority."),
    LocalParameter("TyphaAddr", f"{_TYPHA} Address and port."),
    LocalParameter("TyphaK8sServiceName", f"{_TYPHA} Service to find it by."),
    LocalParameter("TyphaK8sNamespace", f"{_TYPHA} Namespace of that Service.", "kube-system"),
    LocalParameter("TyphaReadTimeout", f"{_TYPHA} Seconds until a silent connection is given up.", "30"),
    LocalParameter("TyphaWriteTimeout", f"{_TYPHA} Seconds until a write is given up.", "10"),
    LocalParameter("TyphaKeyFile", f"{_TYPHA} Key of the client."),
    LocalParameter("TyphaCertFile", f"{_TYPHA} Certificate of the client."),
    LocalParameter("TyphaCAFile", f"{_TYPHA} Certificates of the authority."),
    LocalParameter("TyphaCN", f"{_TYPHA} Common name that its certificate must have."),
    LocalParameter("TyphaURISAN", f"{_TYPHA} URI that its certificate must have."),
    LocalParameter("IPSecPSKFile", "File with the shared key of IPsec."),
    LocalParameter("PolicyActivityRefreshInterval", "Seconds between reports of policy activity.", "3600"),
)
"""What begins with Etcd or Typha is taken for one of these, listed or not."""

LOCAL_NAMES = frozenset(parameter.name.lower() for parameter in LOCAL)
