"""How fast the calculation is, at the shapes that matter: a whole large cluster, and single changes on a small one.

In: nothing. Out: one JSON object per line on stdout (name, value, unit, scale).
"""

import gc
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator

from tortie.felix.calc import Calculation
from tortie.model.dataplane import (
    EntityMatch,
    NamedPort,
    Policy,
    PolicyKey,
    PortRange,
    Profile,
    ProfileKey,
    Rule,
    Tier,
    TierKey,
    Update,
    WorkloadEndpoint,
    WorkloadEndpointKey,
)

NODE = "node-0"
ORCHESTRATOR = {"projectcalico.org/orchestrator": "k8s"}


def emit(name: str, value: float, unit: str, scale: str) -> None:
    print(json.dumps({"name": name, "value": round(value, 4), "unit": unit, "scale": scale}), flush=True)


def pod(number: int, *, namespaces: int, nodes: int, apps: int, extra: str = "") -> Update:
    namespace = f"ns-{number % namespaces}"
    node = f"node-{number % nodes}"
    app = f"app-{number // namespaces % apps}"
    key = WorkloadEndpointKey(node=node, orchestrator="k8s", workload=f"{namespace}/{app}-{number}", endpoint="eth0")
    labels = {
        "app": app,
        "tier": ("front", "back", "store")[number % 3],
        "pod-template-hash": f"{app}-hash",
        "projectcalico.org/namespace": namespace,
        "projectcalico.org/serviceaccount": "default",
        **ORCHESTRATOR,
    }
    if extra:
        labels["extra"] = extra
    return Update(
        key=key,
        value=WorkloadEndpoint(
            interface=f"cali{number:011x}",
            ipv4_nets=(f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}/32",),
            profiles=(f"kns.{namespace}", f"ksa.{namespace}.default"),
            labels=labels,
            ports=(NamedPort("http", 6, 8080),),
        ),
    )


def profile(namespace: str, **labels: str) -> Update:
    allow = (Rule(action="allow"),)
    values = {"pcns.projectcalico.org/name": namespace, "pcns.team": "a"} | {f"pcns.{k}": v for k, v in labels.items()}
    return Update(key=ProfileKey(f"kns.{namespace}"), value=Profile(ingress=allow, egress=allow, labels=values))


def policy(number: int, *, namespaces: int, apps: int, port: int = 8080, generation: int = 1) -> Update:
    namespace = f"ns-{number % namespaces}"
    app = f"app-{number // namespaces % apps}"
    scope = f'projectcalico.org/namespace == "{namespace}"'
    orchestrator = 'projectcalico.org/orchestrator == "k8s"'
    peer = EntityMatch(selector=f'({scope} && ({orchestrator} && tier == "front" && app != "{app}"))')
    return Update(
        key=PolicyKey(kind="KubernetesNetworkPolicy", namespace=namespace, name=f"policy-{number}"),
        value=Policy(
            tier="default",
            order=1000.0,
            selector=f'(({orchestrator} && app == "{app}") && {scope})',
            ingress=(Rule(action="allow", protocol=6, src=peer, dst=EntityMatch(ports=(PortRange(port, port),))),),
            generation=generation,
        ),
    )


def cluster(*, pods: int, policies: int, namespaces: int, nodes: int, apps: int) -> Iterator[Update]:
    yield Update(key=TierKey("default"), value=Tier(order=1_000_000.0))
    for number in range(namespaces):
        yield profile(f"ns-{number}")
    for number in range(policies):
        yield policy(number, namespaces=namespaces, apps=apps)
    for number in range(pods):
        yield pod(number, namespaces=namespaces, nodes=nodes, apps=apps)


def apart(measure: Callable[[], None]) -> None:
    """Runs one measurement in a process of its own, so that memory is its own too."""
    sys.stdout.flush()
    child = os.fork()
    if not child:
        status = 1
        try:
            measure()
            status = 0
        finally:
            sys.stdout.flush()
            os._exit(status)
    _, status = os.waitpid(child, 0)
    assert status == 0


def full(name: str, *, pods: int, policies: int, namespaces: int, nodes: int, apps: int) -> None:
    """From an empty calculation to all messages of the first flush; making the updates is not counted."""
    updates = list(cluster(pods=pods, policies=policies, namespaces=namespaces, nodes=nodes, apps=apps))
    gc.collect()
    gc.freeze()
    gc.disable()  # as the daemon does until the first snapshot is in force
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    calculation = Calculation(NODE)
    calculation.update(updates)
    calculation.in_sync()
    messages = calculation.flush()
    elapsed = time.perf_counter() - started
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1024
    local = calculation.statistics()
    scale = f"{pods} pods, {policies} policies, {namespaces} namespaces, {nodes} nodes"
    emit(f"calc.full.{name}", elapsed, "s", scale)
    emit(f"calc.full.{name}.memory", grown, "MiB", scale)
    emit(f"calc.full.{name}.messages", len(messages), "messages", scale)
    emit(f"calc.full.{name}.active_policies", local["active_policies"], "policies", scale)
    gc.enable()
    gc.unfreeze()


def change(name: str, scale: str, calculation: Calculation, make: Callable[[int], Update], rounds: int = 200) -> None:
    """One update and its flush, many times over."""
    times: list[float] = []
    for number in range(rounds):
        update = make(number)
        started = time.perf_counter()
        calculation.update((update,))
        calculation.flush()
        times.append((time.perf_counter() - started) * 1000)
    times.sort()
    emit(f"calc.change.{name}.median", statistics.median(times), "ms", scale)
    emit(f"calc.change.{name}.p99", times[int(len(times) * 0.99) - 1], "ms", scale)


def changes(*, pods: int, nodes: int, policies: int) -> None:
    shape = {"namespaces": 10, "apps": 5}
    calculation = Calculation(NODE)
    calculation.update(cluster(pods=pods, policies=policies, nodes=nodes, **shape))
    calculation.in_sync()
    calculation.flush()
    gc.collect()
    gc.freeze()
    scale = f"{pods} pods on {nodes} nodes, {policies} policies"
    change("policy_rule", scale, calculation, lambda n: policy(0, port=9000 + n, generation=n, **shape))
    change("pod_label", scale, calculation, lambda n: pod(1, nodes=nodes, extra=f"v{n}", **shape))
    change("local_pod_label", scale, calculation, lambda n: pod(0, nodes=nodes, extra=f"v{n}", **shape))
    change("namespace_label", scale, calculation, lambda n: profile("ns-0", revision=str(n)))

    def churn(number: int) -> Update:
        made = pod(pods + number // 2, nodes=nodes, **shape)
        return made if number % 2 == 0 else Update(key=made.key, value=None)

    change("pod_churn", scale, calculation, churn)
    gc.unfreeze()


def main() -> None:
    apart(lambda: changes(pods=150, nodes=3, policies=50))
    apart(lambda: changes(pods=100_000, nodes=1000, policies=5_000))
    large = {"pods": 100_000, "policies": 75_000, "nodes": 1000}
    apart(lambda: full("isolated", namespaces=15_000, apps=5, **large))
    apart(lambda: full("dense", namespaces=100, apps=750, **large))
    apart(lambda: full("all_local", pods=10_000, policies=7_500, namespaces=1_500, nodes=1, apps=5))


if __name__ == "__main__":
    main()
