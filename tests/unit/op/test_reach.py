"""Zones of addresses, and what an OP in each may lead to."""

import pytest

from oxd_server.op.reach import Reach, Zone, origin_of, zone_of

ZONES = {
    Zone.LOOPBACK: ["127.0.0.1", "127.8.9.1", "::1", "0.0.0.0", "::", "0.1.2.3"],
    Zone.LINK_LOCAL: ["169.254.1.1", "fe80::1", "fe80::1%eth0"],
    Zone.PRIVATE: [
        "10.0.0.1", "172.16.3.4", "192.168.1.1", "100.64.0.1", "198.18.0.1", "192.0.2.1",
        "fc00::1", "fd12::1", "fec0::1",
    ],
    Zone.PUBLIC: ["8.8.8.8", "93.184.216.34", "172.32.0.1", "2606:4700::1111"],
    Zone.NEVER: [
        "169.254.169.254", "169.254.170.2", "169.254.169.253", "fd00:ec2::254", "100.100.100.200", "168.63.129.16",
        "192.0.0.192", "fd20:ce::254", "fe80::a9fe:a9fe", "224.0.0.1", "255.255.255.255", "240.0.0.1", "ff02::1",
    ],
}  # fmt: skip

FORMS_OF_V4 = {
    "mapped": "::ffff:{0:04x}:{1:04x}",
    "translated": "::ffff:0:{0:04x}:{1:04x}",
    "compatible": "::{0:04x}:{1:04x}",
    "NAT64": "64:ff9b::{0:04x}:{1:04x}",
    "local NAT64": "64:ff9b:1::{0:04x}:{1:04x}",
    "6to4": "2002:{0:04x}:{1:04x}::1",
    "ISATAP": "2606:4700::5efe:{0:04x}:{1:04x}",
}


@pytest.mark.parametrize(("zone", "address"), [(zone, address) for zone in ZONES for address in ZONES[zone]])
def test_zone_of_an_address(zone: Zone, address: str) -> None:
    """Each address lies in its zone; those of clouds' metadata services, multicast and broadcast are never called."""
    assert zone_of(address) is zone


@pytest.mark.parametrize("form", FORMS_OF_V4)
@pytest.mark.parametrize(
    ("inner", "zone"),
    [
        ((0x7F00, 0x0001), Zone.LOOPBACK),
        ((0xA9FE, 0x0101), Zone.LINK_LOCAL),
        ((0xA9FE, 0xA9FE), Zone.NEVER),
        ((0x0A00, 0x0001), Zone.PRIVATE),
        ((0x0808, 0x0808), Zone.PUBLIC),
    ],
)
def test_ipv6_address_that_stands_for_an_ipv4_one(form: str, inner: tuple[int, int], zone: Zone) -> None:
    """An IPv4 address inside an IPv6 one decides."""
    assert zone_of(FORMS_OF_V4[form].format(*inner)) is zone


@pytest.mark.parametrize(
    ("address", "zone"),
    [
        ("64:ff9b:1:a9fe:a9:fe00::", Zone.NEVER), ("64:ff9b:1:a9:fe:a9fe::", Zone.NEVER),
        ("64:ff9b:1:0:a9:fea9:fe00:0", Zone.NEVER), ("64:ff9b:1:808:8:800::", Zone.PUBLIC),
        ("64:ff9b:1:7f00:0:100::", Zone.LOOPBACK), ("64:ff9b:1::", Zone.LOOPBACK),
    ],
)  # fmt: skip
def test_local_nat64_has_several_forms(address: str, zone: Zone) -> None:
    """A network may divide the local prefix of NAT64 in several ways: the innermost reading counts."""
    assert zone_of(address) is zone


def test_teredo_hides_an_inverted_address() -> None:
    """A Teredo address is that of the client behind it."""
    assert zone_of("2001:0:4136:e378:8000:63bf:80ff:fffe") is Zone.LOOPBACK  # 80ff:fffe is 127.0.0.1 inverted


@pytest.mark.parametrize(
    ("zone", "leads_to"),
    [
        (Zone.LOOPBACK, {Zone.LOOPBACK, Zone.PRIVATE, Zone.PUBLIC}),
        (Zone.LINK_LOCAL, {Zone.LINK_LOCAL, Zone.PRIVATE, Zone.PUBLIC}),
        (Zone.PRIVATE, {Zone.PRIVATE, Zone.PUBLIC}),
        (Zone.PUBLIC, {Zone.PUBLIC}),
    ],
)
def test_what_an_op_may_lead_to(zone: Zone, leads_to: set[Zone]) -> None:
    """An OP leads to its own zone and outwards, never inwards."""
    assert {other for other in Zone if zone.leads_to(other)} == leads_to


def test_https_leads_to_https() -> None:
    """An OP on https names no plain http URL, one on http may name both."""
    assert Reach(Zone.PUBLIC, "https://op.example").problem("http://op.example/") is not None
    assert Reach(Zone.PUBLIC, "https://op.example").problem("HTTPS://op.example/") is None
    assert Reach(Zone.LOOPBACK, "http://localhost").problem("http://localhost/") is None


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://OP.example:443/a?b", "https://op.example"),
        ("HTTP://op.example:80", "http://op.example"),
        ("https://op.example:8443/", "https://op.example:8443"),
        ("https://user@[::1]:443/", "https://[::1]"),
        ("nonsense", ""),
        ("https://op:port/", ""),
    ],
)
def test_origin(url: str, origin: str) -> None:
    """Letter case and the default port make no other origin."""
    assert origin_of(url) == origin
