"""A node with two pods and an outside client in network namespaces, for tests of the service proxy.

    client 172.29.9.2 ── 172.29.9.1 node 192.168.71.1 ── pod a 192.168.71.11, pod b 192.168.71.12
    (the same in IPv6: fd00:29:9::/64 and fd00:10:244:71::/64)

Servers answer `<pod name> <address they see as the peer>`; sockets are made inside the namespaces, by this process.
"""

import contextlib
import errno
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from tortie.lab.proxy.dataplane import Dataplane
from tortie.lab.proxy.endpoints import FAMILIES, VERSIONS, ip_version, plan
from tortie.lab.proxy.rules import EMPTY, service_rules
from tortie.model import k8s
from tortie.model.meta import ObjectMeta
from tortie.net import namespace

T = TypeVar("T")

CIDRS = {"ip": ("192.168.0.0/16",), "ip6": ("fd00:10:244::/48",)}
NODE4, NODE6 = "172.29.9.1", "fd00:29:9::1"
CLIENT4, CLIENT6 = "172.29.9.2", "fd00:29:9::2"
PODS = {"a": ("192.168.71.11", "fd00:10:244:71::11"), "b": ("192.168.71.12", "fd00:10:244:71::12")}
PORT = 8080


def sh(command: str) -> None:
    subprocess.run(command, shell=True, check=True, capture_output=True, text=True)


class ProxyWorld:
    def __init__(self) -> None:
        self.prefix = f"tt-proxy-{os.getpid()}"
        self.names = {name: f"{self.prefix}-{name}" for name in ("node", "client", "a", "b")}
        self.stop = threading.Event()
        self.sockets: list[socket.socket] = []
        self.dataplane: Dataplane

    def build(self) -> None:
        for name in self.names.values():
            sh(f"ip netns add {name} && ip netns exec {name} sysctl -qw net.ipv6.conf.default.accept_dad=0")
            sh(f"ip -n {name} link set lo up")
        node = self.names["node"]
        for name, four, six, gateway4, gateway6, bits4, bits6 in (
            ("client", CLIENT4, CLIENT6, NODE4, NODE6, 24, 64),
            ("a", *PODS["a"], "192.168.71.1", "fd00:10:244:71::1", 32, 128),
            ("b", *PODS["b"], "192.168.71.1", "fd00:10:244:71::1", 32, 128),
        ):
            ns = self.names[name]
            sh(f"ip -n {ns} link add eth0 type veth peer name to-{name} netns {node}")
            sh(f"ip -n {node} link set to-{name} up && ip -n {ns} link set eth0 up")
            sh(f"ip -n {ns} addr add {four}/{bits4} dev eth0 && ip -n {ns} addr add {six}/{bits6} dev eth0 nodad")
            if name == "client":
                sh(f"ip -n {node} addr add {NODE4}/24 dev to-client")
                sh(f"ip -n {node} addr add {NODE6}/64 dev to-client nodad")
            else:
                sh(f"ip -n {node} addr add {gateway4}/32 dev to-{name}")
                sh(f"ip -n {node} addr add {gateway6}/128 dev to-{name} nodad")
                sh(f"ip -n {node} route add {four}/32 dev to-{name} && ip -n {node} route add {six}/128 dev to-{name}")
                sh(f"ip -n {ns} route add {gateway4}/32 dev eth0 && ip -n {ns} route add {gateway6}/128 dev eth0")
            sh(f"ip -n {ns} route add default via {gateway4} && ip -n {ns} route add default via {gateway6}")
        # A route for service addresses: packets are judged where they would be forwarded.
        sh(f"ip -n {node} route add default via {CLIENT4} && ip -n {node} route add default via {CLIENT6}")
        for key in ("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"):
            sh(f"ip netns exec {node} sysctl -qw {key}")
        with self.inside("node"):
            self.dataplane = Dataplane()
            self.dataplane.set_node_addresses("ip", frozenset({NODE4}))
            self.dataplane.set_node_addresses("ip6", frozenset({NODE6}))
            assert self.dataplane.apply()
        for name in PODS:
            self.serve(name)

    def destroy(self) -> None:
        self.stop.set()
        for sock in self.sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        for name in self.names.values():
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)

    @contextlib.contextmanager
    def inside(self, name: str) -> Iterator[None]:
        with namespace.inside(f"/run/netns/{self.names[name]}"):
            yield

    def serve(self, name: str) -> None:
        def tcp(listener: socket.socket) -> None:
            while not self.stop.is_set():
                try:
                    connection, peer = listener.accept()
                except OSError:
                    return
                with connection, contextlib.suppress(OSError):
                    connection.sendall(f"{name} {_plain(peer[0])}".encode())

        def udp(sock: socket.socket) -> None:
            while not self.stop.is_set():
                try:
                    _, peer = sock.recvfrom(2048)
                    if peer is None:  # shut down
                        return
                    sock.sendto(f"{name} {_plain(peer[0])}".encode(), peer)
                except OSError:
                    return

        with self.inside(name):
            kinds: list[tuple[int, int, Callable[[socket.socket], None]]] = [
                (socket.SOCK_STREAM, socket.IPPROTO_TCP, tcp),
                (socket.SOCK_DGRAM, socket.IPPROTO_UDP, udp),
            ]
            if sctp_available():
                kinds.append((socket.SOCK_STREAM, socket.IPPROTO_SCTP, tcp))
            for kind, protocol, work in kinds:
                for family, address in ((socket.AF_INET, PODS[name][0]), (socket.AF_INET6, PODS[name][1])):
                    sock = socket.socket(family, kind, protocol)
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    sock.bind((address, PORT))
                    if kind == socket.SOCK_STREAM:
                        sock.listen(64)
                    self.sockets.append(sock)
                    threading.Thread(target=work, args=(sock,), daemon=True).start()

    # --- what tests do -------------------------------------------------------------------------------------------

    def apply(self, *pairs: tuple[k8s.Service, list[k8s.EndpointSlice]], node: str = "n1") -> None:
        for service, slices in pairs:
            for family in FAMILIES:
                plans = plan(service, slices, node=node, family=family)
                rules = service_rules(plans, family=family, cluster_cidrs=CIDRS[family]) if plans else EMPTY
                self.dataplane.set(family, (service.metadata.namespace, service.metadata.name), rules)
        with self.inside("node"):
            assert self.dataplane.apply()

    def remove(self, service: k8s.Service) -> None:
        for family in FAMILIES:
            self.dataplane.set(family, (service.metadata.namespace, service.metadata.name), EMPTY)
        with self.inside("node"):
            assert self.dataplane.apply()

    def tcp(
        self, who: str, address: str, port: int, *, protocol: int = socket.IPPROTO_TCP, timeout: float = 2.0
    ) -> str:
        """`pod peer`, or `refused`, or `timeout`."""
        with self.inside(who):
            sock = socket.socket(_family(address), socket.SOCK_STREAM, protocol)
        with sock:
            sock.settimeout(timeout)
            try:
                sock.connect((address, port))
                return sock.recv(100).decode()
            except TimeoutError:
                return "timeout"
            except OSError as error:
                if error.errno in (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ECONNRESET):
                    return "refused"
                raise

    def udp_socket(self, who: str, address: str) -> socket.socket:
        with self.inside(who):
            sock = socket.socket(_family(address), socket.SOCK_DGRAM)
        sock.settimeout(1.0)
        return sock

    def udp(self, who: str, address: str, port: int, *, sock: socket.socket | None = None) -> str:
        own = sock is None
        sock = sock or self.udp_socket(who, address)
        try:
            sock.connect((address, port))
            sock.send(b"?")
            return sock.recv(100).decode()
        except TimeoutError:
            return "timeout"
        except ConnectionRefusedError:
            return "refused"
        finally:
            if own:
                sock.close()


def _plain(address: str) -> str:
    return address.removeprefix("::ffff:")


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def sctp_available() -> bool:
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP).close()
    except OSError:
        return False
    return True


# --- objects -----------------------------------------------------------------------------------------------------


def service(
    *cluster_ips: str,
    name: str = "web",
    protocol: str = "TCP",
    port: int = 80,
    node_port: int = 0,
    **spec: Any,
) -> k8s.Service:
    ports = (k8s.ServicePort(name="main", protocol=protocol, port=port, node_port=node_port),)
    status = k8s.ServiceStatus(
        load_balancer=k8s.LoadBalancerStatus(
            ingress=tuple(k8s.LoadBalancerIngress(ip=ip) for ip in spec.pop("ingress", ()))
        )
    )
    spec.setdefault("type", "NodePort" if node_port else "ClusterIP")
    return k8s.Service(
        metadata=ObjectMeta(name=name, namespace="shop"),
        spec=k8s.ServiceSpec(cluster_ip=cluster_ips[0], cluster_ips=cluster_ips, ports=ports, **spec),
        status=status,
    )


def slices(
    *pods: str,
    name: str = "web",
    protocol: str = "TCP",
    nodes: dict[str, str] | None = None,
    conditions: dict[str, k8s.EndpointConditions] | None = None,
) -> list[k8s.EndpointSlice]:
    result = []
    for index, kind in enumerate(("IPv4", "IPv6")):
        endpoints = tuple(
            k8s.Endpoint(
                addresses=(PODS[pod][index] if pod in PODS else pod,),
                node_name=(nodes or {}).get(pod, "n1"),
                conditions=(conditions or {}).get(pod, k8s.EndpointConditions(ready=True)),
            )
            for pod in pods
            if pod in PODS or ip_version(pod) == tuple(VERSIONS.values())[index]
        )
        result.append(
            k8s.EndpointSlice(
                metadata=ObjectMeta(
                    name=f"{name}-{kind.lower()}", namespace="shop", labels={"kubernetes.io/service-name": name}
                ),
                address_type=kind,
                endpoints=endpoints,
                ports=(k8s.EndpointPort(name="main", protocol=protocol, port=PORT),),
            )
        )
    return result
