"""Who may call the front: addresses, the names that it is called by, and pages of other sites."""

from __future__ import annotations

import pytest

from oxd_server.entrances.callers import Callers, make_callers
from oxd_server.entrances.http1_messages import HttpRequest


def callers(addresses: tuple[str, ...] | None = None, *allowed: str) -> Callers:
    """Return the rules of a front on 192.0.2.1 and ::1 with a certificate for two names."""
    names = ("oxd.example.org", "*.apps.example.org")
    return make_callers(addresses, bound=("192.0.2.1", "::1"), names=names, allowed=allowed)


@pytest.mark.parametrize(
    ("addresses", "admitted", "refused"),
    [
        (None, ["203.0.113.9", "2001:db8::1", "127.0.0.1"], []),
        (("*",), ["203.0.113.9", "2001:db8::1"], []),
        ((), ["127.0.0.1", "127.1.2.3", "::1"], ["203.0.113.9", "::2"]),
        (("10.0.0.0/8", "192.0.2.7"), ["10.255.0.1", "192.0.2.7", "::ffff:10.1.1.1"], ["127.0.0.1", "192.0.2.8"]),
        (("2001:db8::/32",), ["2001:db8:9::1", "2001:db8::1%eth0"], ["2001:db9::1", "10.0.0.1"]),
    ],
)
def test_callers_by_address(addresses: tuple[str, ...] | None, admitted: list[str], refused: list[str]) -> None:
    """Addresses and networks are admitted as they are named; none named: this machine; null or *: everybody."""
    rules = callers(addresses)
    assert [address for address in admitted if rules.refuse_address(address) is not None] == []
    for address in refused:
        assert "bind_ip_addresses" in str(rules.refuse_address(address))


def request(server: str = "192.0.2.1", **headers: str) -> HttpRequest:
    """Return a request with these headers, to this address."""
    return HttpRequest("GET", "/", headers=[(name.replace("_", "-"), text) for name, text in headers.items()],
                       server=server)  # fmt: skip


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:8443", "localhost.", "127.0.0.1:1", "192.0.2.1", "[::1]:8443", "[0:0::1]",
     "oxd.example.org", "one.apps.example.org:443", "proxy.example", "proxy.example:9"],
)  # fmt: skip
def test_our_own_names_are_answered(host: str) -> None:
    """localhost, the bound addresses, the certificate's names and the allowed ones, with any port or none."""
    assert callers(None, "Proxy.example:8443").refuse_request(request(host=host)) is None


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "evil.example:8443", "", "192.0.2.2", "[::2]", "[::1", "example.org",
     "two.one.apps.example.org", "apps.example.org", "localhost@evil.example", "127.0.0.1.evil.example", "*"],
)  # fmt: skip
def test_a_foreign_name_is_refused(host: str) -> None:
    """A name that resolves here, but is not ours, is one of a page that poses as this server."""
    assert "https.allowed_hosts" in str(callers().refuse_request(request(host=host)))


def test_the_address_that_was_connected_to_is_ours() -> None:
    """A front that listens on all addresses is called by any of them."""
    rules = make_callers(None, bound=("0.0.0.0",), names=(), allowed=())
    assert rules.refuse_request(request(host="198.51.100.7:8443", server="198.51.100.7")) is None
    assert rules.refuse_request(request(host="198.51.100.8:8443", server="198.51.100.7")) is not None


def test_any_name_can_be_allowed() -> None:
    """With * in the allowed names every name is answered, and pages of other sites still are not."""
    rules = callers(None, "*")
    assert rules.refuse_request(request(host="whatever.example")) is None
    assert rules.refuse_request(request(host="whatever.example", origin="https://evil.example")) is not None


@pytest.mark.parametrize(
    ("host", "origin", "is_answered"),
    [
        ("localhost:8443", "https://localhost:8443", True),
        ("localhost", "https://localhost:443", True),
        ("LocalHost:443", "https://localhost", True),
        ("localhost:8443", "http://localhost:8443", False),
        ("localhost:8443", "https://localhost:3000", False),
        ("localhost:8443", "https://localhost", False),
        ("localhost:8443", "null", False),
        ("localhost:8443", "", False),
        ("localhost:8443", "https://evil.example", False),
        ("localhost:8443", "https://localhost:8443.evil.example", False),
        (None, "https://localhost", False),
    ],
)
def test_only_pages_of_our_own_are_answered(host: str | None, origin: str, is_answered: bool) -> None:
    """An Origin must be this server to the letter: its scheme, its name and its port."""
    headers = {"origin": origin} | ({} if host is None else {"host": host})
    assert (callers().refuse_request(request(**headers)) is None) is is_answered


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_what_a_browser_says_of_another_site_counts(site: str) -> None:
    """Sec-Fetch-Site names pages of other sites also where there is no Origin."""
    assert callers().refuse_request(request(host="localhost", sec_fetch_site=site)) is not None
    assert callers().refuse_request(request(host="localhost", sec_fetch_site="same-origin")) is None
    assert callers().refuse_request(request(host="localhost", sec_fetch_site="none")) is None


def test_a_client_that_sends_no_host_is_no_browser() -> None:
    """HTTP/1.0 knows no Host."""
    assert callers().refuse_request(request()) is None
