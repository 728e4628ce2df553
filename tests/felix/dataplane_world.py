"""A small network of namespaces in which the dataplane runs for real: nodes with pods, and hosts around them.

Tests make a `World`, nodes and pods, feed messages by hand and probe with real packets. All namespaces are anonymous:
they live as long as their descriptors, so that nothing is left behind however a test ends.
"""

import asyncio
import contextlib
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from tortie.felix.dataplane import Dataplane, DataplaneConfig
from tortie.felix.messages import (
    CompiledRule,
    ConfigUpdate,
    EndpointStatus,
    InSync,
    Message,
    PolicyUpdate,
    ProfileUpdate,
    TierInfo,
    WorkloadEndpointUpdate,
)
from tortie.model.dataplane import PolicyKey, WorkloadEndpointKey
from tortie.net import namespace, sysctl

T = TypeVar("T")
GATEWAY4, GATEWAY6 = "169.254.1.1", "fe80::1"


def new_namespace() -> int:
    """A descriptor of a fresh network namespace with loopback up."""
    result: list[int] = []

    def make() -> None:
        namespace.unshare_network()
        # While a link-local address is checked for duplicates, the kernel sends no neighbour solicitations.
        sysctl.write("ipv6/conf/default/accept_dad", 0)
        sysctl.write("ipv6/conf/all/accept_dad", 0)
        result.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    run(result[0], "link set lo up")
    return result[0]


def path_of(fd: int) -> str:
    return f"/proc/{os.getpid()}/fd/{fd}"


def run(fd: int, commands: str) -> None:
    """Several `ip` commands, one a line, in a namespace."""
    subprocess.run(
        ["nsenter", f"--net={path_of(fd)}", "ip", "-batch", "-"], input=commands, text=True, check=True, pass_fds=()
    )


def tool(fd: int, *argv: str) -> str:
    done = subprocess.run(["nsenter", f"--net={path_of(fd)}", *argv], text=True, capture_output=True)
    return done.stdout + done.stderr


def until(condition: Callable[[], T], seconds: float = 5.0) -> T:
    """The first true value of `condition`; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {seconds} s: {condition}"
        time.sleep(0.005)


# --- probes ----------------------------------------------------------------------------------------------------


@dataclass
class Host:
    """Anything with a namespace and addresses from which tests send and at which they listen."""

    name: str
    fd: int
    ip: str = ""
    ip6: str = ""
    servers: list[socket.socket] = field(default_factory=list)

    def open(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        with namespace.inside(self.fd):
            return socket.socket(family, kind, protocol)

    def listen(self, *ports: int, kind: int = socket.SOCK_STREAM, accept: bool = True) -> None:
        for port in ports:
            server = self.open(socket.AF_INET6, kind)
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind(("::", port))
            if kind == socket.SOCK_STREAM:
                server.listen(64)
                if accept:
                    threading.Thread(target=_greet, args=(server,), daemon=True).start()
            else:
                threading.Thread(target=_echo, args=(server,), daemon=True).start()
            self.servers.append(server)

    def tcp(self, ip: str, port: int, *, timeout: float = 0.25, source: str = "", source_port: int = 0) -> bool:
        """Whether a connection can be made. Refusals raise, since a denied packet is dropped in silence."""
        client = self.open(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_STREAM)
        with client:
            client.settimeout(timeout)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if source or source_port:
                client.bind((source, source_port))
            try:
                client.connect((ip, port))
            except TimeoutError:
                return False
            return True

    def udp(self, ip: str, port: int, *, timeout: float = 0.25, source_port: int = 0) -> bool:
        client = self.open(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_DGRAM)
        with client:
            client.settimeout(timeout)
            if source_port:
                client.bind(("", source_port))
            client.sendto(b"ping", (ip, port))
            try:
                return client.recv(100) == b"ping"
            except TimeoutError:
                return False

    def ping(self, ip: str, *, timeout: float = 0.25) -> bool:
        v6 = ":" in ip
        kind, reply = (128, 129) if v6 else (8, 0)
        sock = self.open(
            socket.AF_INET6 if v6 else socket.AF_INET,
            socket.SOCK_RAW,
            socket.IPPROTO_ICMPV6 if v6 else socket.IPPROTO_ICMP,
        )
        with sock:
            sock.settimeout(timeout)
            identity = os.urandom(4)
            body = bytes((kind, 0, 0, 0)) + identity + b"tortie"
            if not v6:
                body = bytes((kind, 0)) + checksum(body) + identity + b"tortie"
            sock.sendto(body, (ip, 0))
            deadline = time.monotonic() + timeout
            while time.monotonic() < deadline:
                try:
                    data = sock.recv(500)
                except TimeoutError:
                    return False
                if not v6:
                    data = data[(data[0] & 15) * 4 :]
                if data[0] == reply and data[4:8] == identity:
                    return True
            return False

    def close(self) -> None:
        for server in self.servers:
            server.close()
        with contextlib.suppress(OSError):
            os.close(self.fd)


def checksum(data: bytes) -> bytes:
    if len(data) % 2:
        data += b"\0"
    total = sum(int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return (~total & 0xFFFF).to_bytes(2, "big")


def _greet(server: socket.socket) -> None:
    while True:
        try:
            server.accept()[0].close()
        except OSError:
            return


def _echo(server: socket.socket) -> None:
    while True:
        try:
            data, sender = server.recvfrom(2000)
            server.sendto(data, sender)
        except OSError:
            return


# --- nodes -----------------------------------------------------------------------------------------------------


@dataclass
class Pod(Host):
    interface: str = ""
    mac: str = ""
    node: "Node | None" = None

    @property
    def key(self) -> WorkloadEndpointKey:
        assert self.node is not None
        return WorkloadEndpointKey(self.node.name, "k8s", f"default/{self.name}", "eth0")

    def endpoint(
        self,
        *tiers: TierInfo,
        profiles: Sequence[str] = ("kns.default",),
        active: bool = True,
        spoof: Sequence[str] = (),
    ) -> WorkloadEndpointUpdate:
        return WorkloadEndpointUpdate(
            key=self.key,
            interface=self.interface,
            mac=self.mac,
            ipv4_nets=(f"{self.ip}/32",),
            ipv6_nets=(f"{self.ip6}/128",),
            profiles=tuple(profiles),
            tiers=tuple(tiers),
            active=active,
            allowed_source_prefixes=tuple(spoof),
        )


class Node(Host):
    """A namespace in which a Dataplane runs, on a thread of its own."""

    def __init__(self, name: str, fd: int, ip: str = "", ip6: str = "") -> None:
        super().__init__(name=name, fd=fd, ip=ip, ip6=ip6)
        self.statuses: dict[object, EndpointStatus] = {}
        self.dataplane: Dataplane | None = None
        self.error: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self, config: DataplaneConfig | None = None) -> None:
        started = threading.Event()
        self.error = None

        async def main() -> None:
            self._loop = asyncio.get_running_loop()
            self.dataplane = Dataplane(config or DataplaneConfig(node=self.name), on_status=self._status)
            self._task = asyncio.current_task()
            started.set()
            try:
                await self.dataplane.run()
            except asyncio.CancelledError:
                pass
            except BaseException as error:
                self.error = error
                raise

        def thread() -> None:
            namespace.setns(self.fd)
            with contextlib.suppress(BaseException):
                asyncio.run(main())

        self._thread = threading.Thread(target=thread, daemon=True)
        self._thread.start()
        assert started.wait(5)

    def _status(self, statuses: list[EndpointStatus]) -> None:
        for status in statuses:
            self.statuses[status.key] = status

    def send(self, *messages: Message, seconds: float = 5.0) -> None:
        """Feeds messages and waits until they are in force."""
        assert self._loop is not None and self.dataplane is not None

        async def feed() -> None:
            assert self.dataplane is not None
            revision = self.dataplane.enqueue(list(messages))
            await asyncio.wait_for(self.dataplane.wait_applied(revision), seconds)

        try:
            asyncio.run_coroutine_threadsafe(feed(), self._loop).result(seconds + 1)
        except TimeoutError:
            raise AssertionError(f"not applied: {self.error or self.dataplane.problems()}") from self.error

    def begin(self, *messages: Message) -> None:
        self.send(ConfigUpdate({}), *messages, InSync())

    def stop(self) -> None:
        if self._task is not None and self._loop is not None and self._loop.is_running():
            self._loop.call_soon_threadsafe(self._task.cancel)
        if self._thread is not None:
            self._thread.join(5)
        self._thread = None

    def ruleset(self) -> str:
        return tool(self.fd, "nft", "list", "ruleset")


class World:
    def __init__(self) -> None:
        self._hosts: list[Host] = []
        self._pods = 0
        self.wire = new_namespace()
        run(self.wire, "link add br0 type bridge\nlink set br0 up")
        self._hosts.append(Host("wire", self.wire))

    def _plug(self, fd: int, number: int) -> None:
        run(
            self.wire,
            f"link add p{number} type veth peer name eth0 netns {path_of(fd)}\n"
            f"link set p{number} master br0\nlink set p{number} up",
        )
        run(
            fd,
            f"link set eth0 up\naddress add 172.31.0.{number}/24 dev eth0\n"
            f"address add fd31::{number}/64 dev eth0 nodad\n"
            # Proxy ARP answers for 169.254.1.1 only if there is a route to it.
            f"route add default via 172.31.0.254 dev eth0",
        )

    def node(self, number: int = 1) -> Node:
        """Node n<number> at 172.31.0.<number>."""
        fd = new_namespace()
        self._plug(fd, number)
        node = Node(f"n{number}", fd, f"172.31.0.{number}", f"fd31::{number}")
        self._hosts.append(node)
        return node

    def outside(self, number: int = 9, *, via: Node | None = None) -> Host:
        """A host on the wire; with `via` it routes the pods' ranges to that node."""
        fd = new_namespace()
        self._plug(fd, number)
        if via is not None:
            run(fd, f"route add 10.65.0.0/16 via {via.ip}\nroute add fd65::/64 via {via.ip6}")
        host = Host(f"h{number}", fd, f"172.31.0.{number}", f"fd31::{number}")
        self._hosts.append(host)
        return host

    def pod(self, node: Node, name: str = "", *, ip: str = "", ip6: str = "") -> Pod:
        self._pods += 1
        number = self._pods
        fd = new_namespace()
        interface = f"cali{number:08x}"
        mac = f"ee:ee:ee:00:00:{number:02x}"
        pod = Pod(
            name=name or f"p{number}",
            fd=fd,
            ip=ip or f"10.65.0.{number}",
            ip6=ip6 or f"fd65::{number}",
            interface=interface,
            mac=mac,
            node=node,
        )
        run(
            node.fd,
            f"link add {interface} type veth peer name eth0 address {mac} netns {path_of(fd)}\n"
            f"link set {interface} address ee:ee:ee:ee:ee:ee up\n"
            f"address add {GATEWAY6}/64 dev {interface} nodad",
        )
        run(
            fd,
            f"link set eth0 up\naddress add {pod.ip}/32 dev eth0\naddress add {pod.ip6}/128 dev eth0 nodad\n"
            f"route add {GATEWAY4} dev eth0 scope link\nroute add default via {GATEWAY4} dev eth0\n"
            f"route add default via {GATEWAY6} dev eth0",
        )
        self._hosts.append(pod)
        return pod

    def close(self) -> None:
        for host in self._hosts:
            if isinstance(host, Node):
                host.stop()
        for host in self._hosts:
            host.close()


@contextlib.contextmanager
def world() -> Iterator[World]:
    made = World()
    try:
        yield made
    finally:
        made.close()


# --- messages --------------------------------------------------------------------------------------------------


def gnp(name: str) -> PolicyKey:
    return PolicyKey("GlobalNetworkPolicy", "", name)


def rule(action: str, **fields: object) -> CompiledRule:
    return CompiledRule(action=action, rule_id="r" * 16, **fields)  # type: ignore[arg-type]


def policy(
    name: str,
    *,
    ingress: Sequence[CompiledRule] = (),
    egress: Sequence[CompiledRule] = (),
    tier: str = "default",
    do_not_track: bool = False,
    pre_dnat: bool = False,
) -> PolicyUpdate:
    return PolicyUpdate(
        key=gnp(name),
        tier=tier,
        ingress=tuple(ingress),
        egress=tuple(egress),
        do_not_track=do_not_track,
        pre_dnat=pre_dnat,
    )


def tier(
    name: str = "default", *, ingress: Sequence[str] = (), egress: Sequence[str] = (), default: str = "deny"
) -> TierInfo:
    return TierInfo(
        name=name,
        ingress=tuple(map(gnp, ingress)),
        egress=tuple(map(gnp, egress)),
        default_action=default,  # type: ignore[arg-type]
    )


ALLOW_ALL = ProfileUpdate(name="kns.default", ingress=(rule("allow"),), egress=(rule("allow"),))
EMPTY_PROFILE = ProfileUpdate(name="kns.default", ingress=(), egress=())
