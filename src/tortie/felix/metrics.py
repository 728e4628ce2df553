"""Felix's Prometheus metrics, by the names that dashboards know (spec/felix.md 5.4).

In: counts and times from the daemon as they happen, and plain statistics of calculation and dataplane when Prometheus
asks. Out: a registry for /metrics. Counters are untyped there, since the library would put `_total` after the names.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from prometheus_client import CollectorRegistry, Histogram, Summary, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily, Metric, UnknownMetricFamily
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector

from tortie.felix.messages import Message
from tortie.model.dataplane import Update

_CALCULATION = {
    "local_endpoints": "felix_active_local_endpoints",
    "active_policies": "felix_active_local_policies",
    "active_sets": "felix_active_local_selectors",
    "cluster_hosts": "felix_cluster_num_hosts",
    "cluster_host_endpoints": "felix_cluster_num_host_endpoints",
    "cluster_workload_endpoints": "felix_cluster_num_workload_endpoints",
    "cluster_policies": "felix_cluster_num_policies",
    "cluster_profiles": "felix_cluster_num_profiles",
    "cluster_tiers": "felix_cluster_num_tiers",
    "labels_items": "felix_label_index_num_endpoints",
}
_TABLES = ("chains", "rules", "sets", "maps")
_STATES = {"wait-for-datastore": 1, "resync-in-progress": 2, "in-sync": 3}
_LATENCY_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class Metrics:
    """One set of metrics in a registry of its own. state: the syncer's; problems: how many objects are not in force."""

    def __init__(self, host: str, *, process: bool = True) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library's own
        self.registry = CollectorRegistry()
        self.state = "wait-for-datastore"
        self.problems = 0
        self.initial_resync_seconds = 0.0
        self.calculation: Callable[[], Mapping[str, int]] = dict
        self.dataplane: Callable[[], Mapping[str, object]] = dict
        self._host = host
        self._resyncs = 0
        self._events = 0
        self._updates: Counter[str] = Counter()
        self._messages: Counter[str] = Counter()
        registry = self.registry
        self.calculation_time = Summary(
            "felix_calc_graph_update_time_seconds", "Seconds to calculate one batch of updates.", registry=registry
        )
        self.apply_time = Summary(
            "felix_int_dataplane_apply_time_seconds", "Seconds to write one batch to the kernel.", registry=registry
        )
        self.batch_size = Summary(
            "felix_int_dataplane_msg_batch_size", "Messages in one batch to the dataplane.", registry=registry
        )
        self.latency = Histogram(
            "felix_update_to_kernel_seconds",
            "Seconds from an update's arrival until the kernel has it.",
            buckets=_LATENCY_BUCKETS,
            registry=registry,
        )
        if process:
            ProcessCollector(registry=registry)
            GCCollector(registry=registry)
        registry.register(self)

    def received(self, updates: Sequence[Update]) -> None:
        """Counts updates from the syncer."""
        self._updates.update(type(update.key).__name__ for update in updates)

    def sent(self, messages: Sequence[Message]) -> None:
        """Counts messages to the dataplane."""
        self._events += len(messages)
        self._messages.update(type(message).__name__ for message in messages)
        self.batch_size.observe(len(messages))

    def syncing(self, state: str) -> None:
        """The syncer's new state."""
        self.state = state
        self._resyncs += state == "resync-in-progress"

    def collect(self) -> Iterable[Metric]:
        """For prometheus-client."""
        yield GaugeMetricFamily("felix_resync_state", "1 waiting, 2 catching up, 3 in sync.", _STATES[self.state])
        yield UnknownMetricFamily("felix_resyncs_started", "How often catching up began.", self._resyncs)
        yield UnknownMetricFamily("felix_calc_graph_output_events", "Messages to the dataplane.", self._events)
        yield _by_type("felix_calc_graph_updates_processed", "Updates from the datastore.", self._updates)
        yield _by_type("felix_int_dataplane_messages", "Messages to the dataplane.", self._messages)
        yield GaugeMetricFamily(
            "felix_int_dataplane_initial_resync_time_seconds",
            "Seconds from start to the first complete state of the kernel.",
            self.initial_resync_seconds,
        )
        yield GaugeMetricFamily("felix_problems", "Objects that are not in force as wished.", self.problems)
        host = GaugeMetricFamily("felix_host", "Always 1; tells the node's name.", labels=["host"])
        host.add_metric([self._host], 1)
        yield host
        numbers = self.calculation()
        for name, metric in _CALCULATION.items():
            yield GaugeMetricFamily(metric, f"The calculation's {name.replace('_', ' ')}.", numbers.get(name, 0))
        yield _selectors(numbers)
        yield UnknownMetricFamily(
            "felix_label_index_selector_evals", "Selectors tried on labels.", numbers.get("labels_evaluations", 0)
        )
        yield from _dataplane(self.dataplane())


def _by_type(name: str, text: str, counts: Counter[str]) -> UnknownMetricFamily:
    family = UnknownMetricFamily(name, text, labels=["type"])
    for kind, count in sorted(counts.items()):
        family.add_metric([kind], count)
    return family


def _selectors(numbers: Mapping[str, int]) -> Metric:
    slow = numbers.get("labels_selectors_without_requirement", 0)
    family = GaugeMetricFamily(
        "felix_label_index_num_active_selectors", "Selectors by whether an index finds them.", labels=["optimized"]
    )
    family.add_metric(["true"], numbers.get("labels_selectors", 0) - slow)
    family.add_metric(["false"], slow)
    return family


def _dataplane(numbers: Mapping[str, object]) -> Iterable[Metric]:
    failures = numbers.get("failures", 0)
    if isinstance(failures, int):
        yield UnknownMetricFamily("felix_int_dataplane_failures", "Updates that the kernel refused.", failures)
    tables = numbers.get("tables")
    if not isinstance(tables, Mapping):
        return
    for kind in _TABLES:
        family = GaugeMetricFamily(f"felix_nft_{kind}", f"nftables {kind} programmed.", labels=["ip_version"])
        for name, table in tables.items():
            if isinstance(table, Mapping) and isinstance(table.get(kind), int):
                family.add_metric(["6" if str(name).endswith("6") else "4"], table[kind])
        yield family
