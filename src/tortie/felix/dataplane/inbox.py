"""Messages sorted to whom they concern; what cannot be used counts as absent.

The driver hands over the calculation's messages one by one; policies, profiles and sets go to the tables, the rest to
the managers. A message with an impossible value is rejected: it acts like a removal, and what refers to it denies
(spec/felix.md 7.1).
"""

from tortie.felix.dataplane.config import DataplaneConfig
from tortie.felix.dataplane.hosts import HostEndpoints
from tortie.felix.dataplane.network import Network
from tortie.felix.dataplane.policies import policy_chains, profile_chains
from tortie.felix.dataplane.table import TableState
from tortie.felix.dataplane.workloads import Workloads
from tortie.felix.messages import (
    ConfigUpdate,
    HostEndpointRemove,
    HostEndpointUpdate,
    InSync,
    IPSetDelta,
    IPSetRemove,
    IPSetUpdate,
    Message,
    PolicyRemove,
    PolicyUpdate,
    PoolRemove,
    PoolUpdate,
    ProfileRemove,
    ProfileUpdate,
    RouteRemove,
    RouteUpdate,
    ServiceRemove,
    ServiceUpdate,
    WorkloadEndpointRemove,
    WorkloadEndpointUpdate,
)
from tortie.service.log import get_logger

_LOG = get_logger("tortie.felix.dataplane")


class Inbox:
    def __init__(
        self,
        config: DataplaneConfig,
        tables: list[TableState],
        workloads: Workloads,
        hosts: HostEndpoints,
        network: Network,
    ) -> None:
        self._config = config
        self._tables = tables
        self._workloads = workloads
        self._hosts = hosts
        self._network = network
        self.in_sync = False
        self.rejected: dict[str, str] = {}
        """object -> why its message could not be used"""

    def take(self, message: Message) -> bool:
        """False if the message was rejected."""
        try:
            self._handle(message)
        except (ValueError, KeyError) as error:
            self._reject(message, str(error))
            return False
        self.rejected.pop(_subject(message), None)
        return True

    def _reject(self, message: Message, reason: str) -> None:
        _LOG.error("a message cannot be used", message=type(message).__name__, object=_subject(message), reason=reason)
        self.rejected[_subject(message)] = reason
        match message:
            case IPSetUpdate() | IPSetDelta():
                self._handle(IPSetRemove(message.id))
            case PolicyUpdate():
                self._handle(PolicyRemove(message.key))
            case ProfileUpdate():
                self._handle(ProfileRemove(message.name))
            case WorkloadEndpointUpdate():
                self._workloads.remove(message.key)
            case HostEndpointUpdate():
                self._hosts.remove(message.key)
            case RouteUpdate():
                self._network.update(RouteRemove(message.cidr))
            case PoolUpdate():
                self._network.update(PoolRemove(message.name))
            case _:
                pass

    def _handle(self, message: Message) -> None:
        match message:
            case IPSetUpdate():
                for table in self._tables:
                    table.put_set(message.id, message.kind, message.members)
            case IPSetDelta():
                for table in self._tables:
                    table.change_set(message.id, message.added, message.removed)
            case IPSetRemove():
                for table in self._tables:
                    table.drop_set(message.id)
            case PolicyUpdate():
                for table in self._tables:
                    table.put(f"policy:{message.key}", policy_chains(message, table.version, self._config))
            case PolicyRemove():
                for table in self._tables:
                    table.drop(f"policy:{message.key}")
            case ProfileUpdate():
                for table in self._tables:
                    table.put(f"profile:{message.name}", profile_chains(message, table.version, self._config))
            case ProfileRemove():
                for table in self._tables:
                    table.drop(f"profile:{message.name}")
            case WorkloadEndpointUpdate():
                self._workloads.update(message)
            case WorkloadEndpointRemove():
                self._workloads.remove(message.key)
            case HostEndpointUpdate():
                self._hosts.update(message)
            case HostEndpointRemove():
                self._hosts.remove(message.key)
            case InSync():
                self.in_sync = True
            case ConfigUpdate() | ServiceUpdate() | ServiceRemove():
                pass  # the daemon restarts on a changed configuration; services matter to the collector alone
            case _:
                self._network.update(message)


def _subject(message: Message) -> str:
    for attribute in ("key", "id", "name", "cidr", "node"):
        value = getattr(message, attribute, None)
        if value is not None:
            return str(value)
    return ""
