"""How often strangers may have clients registered."""

import pytest

from oxd_protocol.errors import CommandError
from oxd_server.dispatch.shares import Registrations


def admitted(registrations: Registrations, address: str, now: float = 0.0) -> bool:
    """Return whether one more registration is let through."""
    try:
        registrations.admit(address, now)
    except CommandError:
        return False
    return True


@pytest.mark.parametrize(
    ("first", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("", "no address", True),
    ],
)
def test_an_address_has_its_share_and_takes_nobody_elses(first: str, other: str, same: bool) -> None:
    """Two registrations use up the share of one address; a network of 64 bits is one IPv6 address."""
    registrations = Registrations(2)
    assert [admitted(registrations, first) for _ in range(3)] == [True, True, False]
    assert admitted(registrations, other) is not same


def test_all_addresses_together_have_ten_times_the_share() -> None:
    """However many addresses somebody has, there is an end; an hour later all begin anew."""
    registrations = Registrations(1)
    assert [admitted(registrations, f"192.0.2.{number}") for number in range(11)] == [True] * 10 + [False]
    assert not admitted(registrations, "198.51.100.1", 3599.0)
    assert admitted(registrations, "192.0.2.1", 3600.0)
