"""The kubelet dies and comes back: running pods do not notice, and what happened meanwhile is made good.

A node's own death is the same with every process gone, which the last tests play.
"""

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from kubelet_world import World, pod, wait_for, world_in

pytestmark = pytest.mark.netns


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world_in(tmp_path_factory.mktemp("kl")) as world:
        yield world


def processes(world: World, word: str) -> set[int]:
    """Pids, as the node numbers them, of commands whose line has the word in it."""
    lines = world.run_in_node("ps", "axwwo", "pid,args").splitlines()[1:]
    return {int(line.split()[0]) for line in lines if word in line and "bwrap" not in line and "ps axwwo" not in line}


def restarts(world: World, name: str) -> int:
    found: Any = world.get("pod", name)
    return int(found["status"]["containerStatuses"][0]["restartCount"])


def test_running_containers_survive_a_killed_kubelet(world: World) -> None:
    script = "n=0; while :; do n=$((n+1)); echo tick $n; sleep 0.2; done # keeper"
    world.apply(pod("keeper", ["sh", "-c", script]))
    before = world.wait_phase("keeper", "Running")
    pids = processes(world, "# keeper")
    assert pids
    world.kill_kubelet()
    count = len(
        (world.root_dir / "pods" / before["metadata"]["uid"] / "containers/main/0.log").read_text().splitlines()
    )
    world.start_kubelet()
    assert processes(world, "# keeper") == pids
    after = world.get("pod", "keeper")
    assert after is not None
    assert after["status"]["containerStatuses"] == before["status"]["containerStatuses"]
    assert after["status"]["podIPs"] == before["status"]["podIPs"]
    lines = world.logs("keeper").splitlines()
    assert lines == [f"tick {n}" for n in range(1, len(lines) + 1)], "no line was lost"
    wait_for(lambda: len(world.logs("keeper").splitlines()) > count + 3, "the log goes on")
    assert world.kubectl("exec", "keeper", "--", "echo", "in").stdout == "in\n"
    assert [c["command"] for c in world.cni_calls() if "K8S_POD_NAME=keeper;" in c["args"]] == ["ADD", "ADD"]
    world.delete("keeper")
    assert processes(world, "# keeper") == set()


def test_a_container_that_ended_meanwhile_is_noticed_and_restarted(world: World) -> None:
    world.apply(pod("ender", ["sh", "-c", "while [ ! -e /tmp/end ]; do sleep 0.1; done; echo bye; exit 6 # ender"]))
    world.wait_phase("ender", "Running")
    uid = world.get("pod", "ender")["metadata"]["uid"]  # type: ignore[index]
    (pid,) = processes(world, "# ender")
    world.kill_kubelet()
    world.run_in_node("touch", f"/proc/{pid}/root/tmp/end")
    wait_for(lambda: (world.root_dir / "pods" / uid / "containers/main/0/exit.json").exists(), "it has ended")
    world.start_kubelet()
    wait_for(lambda: restarts(world, "ender") == 1, "it was restarted")
    status = world.get("pod", "ender")["status"]["containerStatuses"][0]  # type: ignore[index]
    assert status["lastState"]["terminated"]["exitCode"] == 6
    assert world.logs("ender", "--previous") == "bye\n"
    world.delete("ender")


def test_pods_deleted_meanwhile_are_torn_down(world: World) -> None:
    world.apply(pod("dropped", ["sleep", "7001"]), pod("dropped-hard", ["sleep", "7002"]))
    world.wait_phase("dropped", "Running")
    world.wait_phase("dropped-hard", "Running")
    world.kill_kubelet()
    world.kubectl("delete", "pod", "dropped", "--wait=false")
    world.kubectl("delete", "pod", "dropped-hard", "--force", "--grace-period=0")
    assert processes(world, "sleep 700") != set()
    world.start_kubelet()
    wait_for(lambda: processes(world, "sleep 700") == set(), "their processes are gone")
    wait_for(lambda: world.get("pod", "dropped") is None, "the object is gone")
    for name in ("dropped", "dropped-hard"):
        wait_for(
            lambda name=name: (
                [c["command"] for c in world.cni_calls() if f"K8S_POD_NAME={name};" in c["args"]].count("DEL") == 2
            ),
            f"CNI DEL of {name}",
        )
    wait_for(lambda: not list((world.root_dir / "pods").iterdir()), "no directory is left")
    assert world.run_in_node("ls", "/run/netns") == ""
    assert not [line for line in world.run_in_node("mount").splitlines() if str(world.root_dir) in line]


def test_a_killed_shim_takes_its_container_with_it_and_the_pod_restarts(world: World) -> None:
    world.apply(pod("shimless", ["sleep", "7003"]))
    world.wait_phase("shimless", "Running")
    (pid,) = processes(world, "sleep 7003")
    parents = dict(
        line.split()[:2]
        for line in world.run_in_node("ps", "axwwo", "pid,ppid").splitlines()[1:]  # type: ignore[misc]
    )
    shim = parents[parents[parents[str(pid)]]]
    assert "shim.parent" in world.run_in_node("cat", f"/proc/{shim}/cmdline")
    world.run_in_node("kill", "-9", shim)
    wait_for(lambda: restarts(world, "shimless") == 1, "it was restarted")
    assert processes(world, "sleep 7003") != {pid}
    world.delete("shimless")


def test_a_shim_is_small(world: World) -> None:
    world.apply(*(pod(f"small-{n}", image="pause") for n in range(5)))
    for n in range(5):
        world.wait_phase(f"small-{n}", "Running")
    shims = [
        int(line.split()[0])
        for line in world.run_in_node("ps", "axwwo", "pid,ppid,args").splitlines()[1:]
        if "shim.parent" in line and "kubelet --node" not in line
    ]
    sizes = []
    for pid in shims:
        rollup = world.run_in_node("cat", f"/proc/{pid}/smaps_rollup")
        sizes.append({line.split()[0]: int(line.split()[1]) for line in rollup.splitlines()[1:]})
    own = sorted(size["Private_Dirty:"] + size["Private_Clean:"] for size in sizes)
    assert own[len(own) // 2] < 2500, own
    world.delete(*(f"small-{n}" for n in range(5)))


def test_after_a_power_cut_pods_get_new_sandboxes(world: World) -> None:
    world.apply(pod("phoenix", ["sleep", "7004"]))
    before = world.wait_phase("phoenix", "Running")
    assert world.node is not None
    os.kill(world.node_pid(), signal.SIGKILL)
    world.node.wait(10)
    assert world.kubelet is not None
    world.kubelet.wait(10)
    world._start_node()
    world.start_kubelet()
    wait_for(lambda: restarts(world, "phoenix") == 1, "it runs again")
    after = world.get("pod", "phoenix")
    assert after is not None
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["status"]["podIP"] != before["status"]["podIP"]
    assert "sandbox changed" in world.wait_event("phoenix", "SandboxChanged")["message"]
    calls = [c for c in world.cni_calls() if "K8S_POD_NAME=phoenix;" in c["args"]]
    old = [c for c in calls if c["command"] == "DEL"]
    assert {c["id"] for c in old} == {calls[0]["id"]}
    assert all(c["netns"] == "" for c in old), "the namespace vanished with the node"
    world.delete("phoenix")
