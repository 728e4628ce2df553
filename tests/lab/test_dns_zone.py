"""The names of the cluster, by the Kubernetes DNS specification. Messages and sockets: test_dns_server.py."""

from typing import Any

import pytest

from tortie.lab.dns.zone import NOT_OURS, Answer, Record, Zone
from tortie.model import k8s
from tortie.model.meta import ObjectMeta

DOMAIN = "cluster.local"
WEB = f"web.shop.svc.{DOMAIN}"
DB = f"db.shop.svc.{DOMAIN}"


def service(name: str, cluster_ips: tuple[str, ...] = (), ports: tuple[Any, ...] = (), **spec: Any) -> k8s.Service:
    return k8s.Service(
        metadata=ObjectMeta(name=name, namespace="shop"),
        spec=k8s.ServiceSpec(
            cluster_ip=cluster_ips[0] if cluster_ips else "",
            cluster_ips=cluster_ips,
            ports=tuple(k8s.ServicePort(name=n, protocol=p, port=number) for n, p, number in ports),
            **spec,
        ),
    )


def endpoint_slice(name: str, of: str, *endpoints: k8s.Endpoint, kind: str = "IPv4") -> k8s.EndpointSlice:
    return k8s.EndpointSlice(
        metadata=ObjectMeta(name=name, namespace="shop", labels={"kubernetes.io/service-name": of}),
        address_type=kind,
        endpoints=endpoints,
        ports=(k8s.EndpointPort(name="sql", protocol="TCP", port=5432),),
    )


@pytest.fixture
def zone() -> Zone:
    z = Zone(DOMAIN)
    z.put_namespace(("", "shop"), object())
    z.put_service(
        ("shop", "web"),
        service("web", ("10.96.0.5", "fd00:10:96::5"), (("http", "TCP", 80), ("quic", "UDP", 443))),
    )
    z.put_service(("shop", "db"), service("db", ("None",), (("sql", "TCP", 5432),)))
    z.put_slice(
        ("shop", "db-1"),
        endpoint_slice(
            "db-1",
            "db",
            k8s.Endpoint(addresses=("192.168.1.1",), hostname="db-0"),
            k8s.Endpoint(addresses=("192.168.1.2",)),
            k8s.Endpoint(addresses=("192.168.1.3",), conditions=k8s.EndpointConditions(ready=False)),
        ),
    )
    z.put_slice(
        ("shop", "db-2"),
        endpoint_slice("db-2", "db", k8s.Endpoint(addresses=("fd00::1",), hostname="db-0"), kind="IPv6"),
    )
    z.put_service(("shop", "away"), service("away", type="ExternalName", external_name="Example.org."))
    return z


def values(answer: Answer) -> list[Any]:
    assert answer.outcome == "found", answer
    return [record.value for record in answer.records]


def test_a_service_has_its_cluster_ips_by_family(zone: Zone) -> None:
    assert values(zone.lookup(WEB, "A")) == ["10.96.0.5"]
    assert values(zone.lookup(WEB, "AAAA")) == ["fd00:10:96::5"]
    assert zone.lookup(WEB, "TXT").outcome == "no-data"


def test_a_headless_service_has_the_addresses_of_its_ready_endpoints(zone: Zone) -> None:
    assert sorted(values(zone.lookup(DB, "A"))) == ["192.168.1.1", "192.168.1.2"]
    assert values(zone.lookup(DB, "AAAA")) == ["fd00::1"]


def test_an_endpoint_is_known_by_hostname_or_by_dashed_address(zone: Zone) -> None:
    assert values(zone.lookup(f"db-0.{DB}", "A")) == ["192.168.1.1"]
    assert values(zone.lookup(f"db-0.{DB}", "AAAA")) == ["fd00::1"]
    assert values(zone.lookup(f"192-168-1-2.{DB}", "A")) == ["192.168.1.2"]
    assert zone.lookup(f"db-9.{DB}", "A").outcome == "no-name"


def test_named_ports_have_srv_records_with_addresses_beside_them(zone: Zone) -> None:
    web = zone.lookup(f"_http._tcp.{WEB}", "SRV")
    assert values(web) == [(0, 100, 80, WEB)]
    assert {r.value for r in web.additional} == {"10.96.0.5", "fd00:10:96::5"}
    db = zone.lookup(f"_sql._tcp.{DB}", "SRV")
    assert {(v[2], v[3]) for v in values(db)} == {(5432, f"db-0.{DB}"), (5432, f"192-168-1-2.{DB}")}
    assert Record(f"db-0.{DB}", "AAAA", "fd00::1") in db.additional
    assert zone.lookup(f"_http._udp.{WEB}", "SRV").outcome == "no-name"
    assert zone.lookup(f"_http._tcp.{WEB}", "A").outcome == "no-data"
    assert {v[2] for v in values(zone.lookup(WEB, "SRV"))} == {80, 443}


def test_an_external_name_is_an_alias(zone: Zone) -> None:
    answer = zone.lookup(f"away.shop.svc.{DOMAIN}", "A")
    assert answer.records == (Record(f"away.shop.svc.{DOMAIN}", "CNAME", "example.org"),)


def test_pod_names_are_their_addresses_in_namespaces_that_exist(zone: Zone) -> None:
    assert values(zone.lookup(f"192-168-1-2.shop.pod.{DOMAIN}", "A")) == ["192.168.1.2"]
    assert values(zone.lookup(f"fd00--1.shop.pod.{DOMAIN}", "AAAA")) == ["fd00::1"]
    assert zone.lookup(f"192-168-1-2.nowhere.pod.{DOMAIN}", "A").outcome == "no-name"
    assert zone.lookup(f"not-an-address.shop.pod.{DOMAIN}", "A").outcome == "no-name"


def test_addresses_lead_back_to_names(zone: Zone) -> None:
    assert values(zone.lookup("5.0.96.10.in-addr.arpa", "PTR")) == [WEB]
    assert values(zone.lookup("1.1.168.192.in-addr.arpa", "PTR")) == [f"db-0.{DB}"]
    six = ".".join(reversed("fd000000000000000000000000000001")) + ".ip6.arpa"
    assert values(zone.lookup(six, "PTR")) == [f"db-0.{DB}"]
    assert zone.lookup("1.2.0.192.in-addr.arpa", "PTR") == NOT_OURS


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("example.org", "not-ours"),
        ("notcluster.local", "not-ours"),
        (DOMAIN, "no-data"),
        (f"svc.{DOMAIN}", "no-data"),
        (f"shop.svc.{DOMAIN}", "no-data"),
        (f"nowhere.svc.{DOMAIN}", "no-name"),
        (f"nobody.shop.svc.{DOMAIN}", "no-name"),
        (f"web.nowhere.svc.{DOMAIN}", "no-name"),
        (f"x.y.z.{WEB}", "no-name"),
        (f"example.org.{DOMAIN}", "no-name"),
    ],
)
def test_the_kind_of_absence_tells_a_resolver_whether_to_try_the_next_search_domain(
    zone: Zone, name: str, outcome: str
) -> None:
    assert zone.lookup(name, "A").outcome == outcome


def test_changes_and_deletions_take_effect(zone: Zone) -> None:
    zone.put_service(("shop", "web"), service("web", ("10.96.0.6",)))
    assert values(zone.lookup(WEB, "A")) == ["10.96.0.6"]
    assert zone.lookup("5.0.96.10.in-addr.arpa", "PTR") == NOT_OURS
    zone.put_slice(("shop", "db-1"), None)
    assert zone.lookup(DB, "A").outcome == "no-data"
    zone.put_slice(("shop", "db-2"), None)
    assert zone.lookup(DB, "A").outcome == "no-name"
    assert zone.lookup("1.1.168.192.in-addr.arpa", "PTR") == NOT_OURS
    zone.put_service(("shop", "web"), None)
    assert zone.lookup(WEB, "A").outcome == "no-name"
    assert zone.lookup(f"dns-version.{DOMAIN}", "TXT").records[0].value == "1.1.0"


def test_a_slice_that_moves_to_another_service_leaves_the_first(zone: Zone) -> None:
    zone.put_service(("shop", "copy"), service("copy", ("None",)))
    zone.put_slice(("shop", "db-1"), endpoint_slice("db-1", "copy", k8s.Endpoint(addresses=("192.168.1.1",))))
    assert values(zone.lookup(f"copy.shop.svc.{DOMAIN}", "A")) == ["192.168.1.1"]
    assert zone.lookup(DB, "A").outcome == "no-data"
