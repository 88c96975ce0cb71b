"""How often an OP is asked about a login on another device."""

from __future__ import annotations

from oxd_server.rp.device_logins import DeviceLogins

NOW = 1000.0


def test_the_pace_of_a_login() -> None:
    """Too early, the OP is not asked; after slow_down it is asked five seconds later, every time."""
    logins = DeviceLogins()
    logins.start("code", 5, NOW)
    assert logins.ask("code", NOW) == 5
    assert logins.ask("code", NOW + 4.5) == 1
    assert logins.ask("code", NOW + 5) == 0
    assert logins.ask("code", NOW + 5) == 5, "two at the same time asked"
    assert logins.wait("code", NOW + 6) == 5
    assert logins.wait("code", NOW + 11, slower=True) == 10
    assert logins.ask("code", NOW + 20) == 1
    assert logins.ask("code", NOW + 21) == 0
    assert logins.wait("code", NOW + 21) == 10
    logins.end("code")
    assert len(logins) == 0


def test_an_op_that_does_not_answer_is_asked_less_often() -> None:
    """Each failure halves the pace, down to once an hour."""
    logins = DeviceLogins()
    logins.start("code", 5, NOW)
    logins.back_off("code", NOW)
    assert logins.ask("code", NOW) == 10
    for _ in range(20):
        logins.back_off("code", NOW)
    assert logins.ask("code", NOW) == 3600
    logins.back_off("unknown", NOW)
    assert len(logins) == 1


def test_a_login_that_another_process_started() -> None:
    """It may be asked about at once, and then at the usual pace; of too many, the oldest gives way."""
    logins = DeviceLogins(capacity=2)
    assert logins.ask("a", NOW) == 0
    assert logins.ask("a", NOW) == 5
    assert logins.wait("forgotten", NOW) == 5
    logins.start("b", 5, NOW)
    logins.start("c", 5, NOW)
    assert len(logins) == 2
    assert logins.ask("a", NOW) == 0
