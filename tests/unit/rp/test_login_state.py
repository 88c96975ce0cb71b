"""States: sealed, bound to a site and a purpose, limited in time; whatever is not exactly one is none."""

import base64
import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oxd_server.op.authorization import pkce_challenge
from oxd_server.rp.login_state import KEY_BYTES, IssuedState, LoginState, Purpose, States

KEY = bytes(range(KEY_BYTES))
NOW, LIFETIME = 1_800_000_000.0, 300.0
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@pytest.fixture
def states() -> States:
    return States(KEY, LIFETIME, os.urandom)


@pytest.fixture
def issued(states: States) -> IssuedState:
    return states.issue("site-1", NOW, pkce=True)


def belongs(opened: LoginState | None, issued: IssuedState) -> bool:
    """Tell whether nonce and verifier that came back are those of what was issued."""
    if opened is None:
        return False
    challenge = None if opened.code_verifier is None else pkce_challenge(opened.code_verifier)
    return (opened.nonce, challenge) == (issued.nonce, issued.code_challenge)


@pytest.mark.parametrize("pkce", [True, False])
@pytest.mark.parametrize("signed_response", [True, False])
def test_a_state_tells_what_answer_was_asked_for(states: States, pkce: bool, signed_response: bool) -> None:
    """Whether a signed response has to come is sealed in the state, beside PKCE."""
    issued = states.issue("site-1", NOW, pkce=pkce, signed_response=signed_response)
    opened = states.open(issued.state, "site-1", NOW)
    assert belongs(opened, issued)
    assert opened is not None
    assert opened.signed_response is signed_response


def test_what_was_issued_is_opened(states: States, issued: IssuedState) -> None:
    """The same site gets back nonce, verifier and expiry, to the last moment of the lifetime."""
    assert belongs(states.open(issued.state, "site-1", NOW), issued)
    assert belongs(states.open(issued.state, "site-1", NOW + LIFETIME - 0.002), issued)
    opened = states.open(issued.state, "site-1", NOW)
    assert opened is not None
    assert opened.expires_at == pytest.approx(NOW + LIFETIME, abs=0.001)


def test_another_process_with_the_same_key_opens_it(issued: IssuedState) -> None:
    """Nothing but the key is needed: a state survives a restart."""
    assert belongs(States(KEY, LIFETIME, os.urandom).open(issued.state, "site-1", NOW), issued)


def test_it_expires(states: States, issued: IssuedState) -> None:
    """At the end of its lifetime, and ever after, a state is none."""
    assert states.open(issued.state, "site-1", NOW + LIFETIME) is None
    assert states.open(issued.state, "site-1", NOW + 10 * LIFETIME) is None


def test_what_has_expired_was_issued(states: States, issued: IssuedState) -> None:
    """Whether a state was ever issued for a site can be told for good, and of no other text."""
    assert states.issued(issued.state, "site-1")
    assert not states.issued(issued.state, "site-2")
    assert not states.issued(issued.state, "site-1", Purpose.CLAIMS_GATHERING)
    assert not states.issued(issued.state[:-1], "site-1")
    assert not States(bytes(KEY_BYTES), LIFETIME, os.urandom).issued(issued.state, "site-1")


def test_it_is_bound(states: States, issued: IssuedState) -> None:
    """Another site, another purpose or another key does not open it."""
    assert states.open(issued.state, "site-2", NOW) is None
    assert states.open(issued.state, "", NOW) is None
    assert states.open(issued.state, "site-1", NOW, Purpose.CLAIMS_GATHERING) is None
    assert States(bytes(KEY_BYTES), LIFETIME, os.urandom).open(issued.state, "site-1", NOW) is None
    gathering = states.issue("site-1", NOW, pkce=False, purpose=Purpose.CLAIMS_GATHERING)
    assert states.open(gathering.state, "site-1", NOW) is None
    assert belongs(states.open(gathering.state, "site-1", NOW, Purpose.CLAIMS_GATHERING), gathering)


@given(position=st.integers(0, 53), other=st.sampled_from(ALPHABET + "=+/ é\0"))
def test_any_changed_character_is_refused(position: int, other: str) -> None:
    """A state with one character exchanged, wherever it is, is no state."""
    states = States(KEY, LIFETIME, lambda count: bytes(count))
    state = states.issue("site-1", NOW, pkce=True).state
    changed = state[:position] + other + state[position + 1 :]
    assert (states.open(changed, "site-1", NOW) is None) is (changed != state)


@given(st.text(max_size=80) | st.text(ALPHABET, min_size=54, max_size=54))
def test_no_text_is_a_state(text: str) -> None:
    """Any other text is refused without an error."""
    assert States(KEY, LIFETIME, os.urandom).open(text, "site-1", NOW) is None


@pytest.mark.parametrize("change", [lambda s: s[:-1], lambda s: s + "A", lambda s: s + "==", lambda s: " " + s[1:]])
def test_no_other_spelling(states: States, issued: IssuedState, change) -> None:  # type: ignore[no-untyped-def]
    """Shortened, lengthened and padded spellings of a state are refused."""
    assert states.open(change(issued.state), "site-1", NOW) is None


def test_a_future_version_is_refused(states: States, issued: IssuedState) -> None:
    """A state with a good MAC but another version byte is none: its layout is not known."""
    raw = bytearray(base64.urlsafe_b64decode(issued.state + "=="))
    assert bytes(raw[24:]) == states._mac(bytes(raw[:24]), "site-1", Purpose.LOGIN)
    raw[0] = 2
    raw[24:] = states._mac(bytes(raw[:24]), "site-1", Purpose.LOGIN)
    assert states.open(base64.urlsafe_b64encode(raw).decode().rstrip("="), "site-1", NOW) is None


def test_everything_is_different_each_time(states: States) -> None:
    """Of a thousand states no two share anything, and none of the values of one is another's."""
    values = []
    for _ in range(1000):
        issued = states.issue("site-1", NOW, pkce=True)
        opened = states.open(issued.state, "site-1", NOW)
        assert opened is not None
        values += [issued.state, issued.nonce, issued.code_challenge, opened.code_verifier, opened.used_token]
    assert len(set(values)) == 5000


def test_pkce_is_optional_and_sealed(states: States) -> None:
    """Without PKCE there is no verifier; with it one that the state does not give away, and its challenge."""
    plain = states.issue("site-1", NOW, pkce=False)
    opened = states.open(plain.state, "site-1", NOW)
    assert plain.code_challenge is None
    assert opened is not None
    assert opened.code_verifier is None
    issued = states.issue("site-1", NOW, pkce=True)
    opened = states.open(issued.state, "site-1", NOW)
    assert opened is not None
    assert opened.code_verifier is not None
    assert re.fullmatch(r"[A-Za-z0-9._~-]{43,128}", opened.code_verifier)  # RFC 7636, section 4.1
    assert issued.code_challenge == pkce_challenge(opened.code_verifier)
    assert opened.code_verifier not in issued.state + issued.nonce


def test_nothing_is_shown(states: States, issued: IssuedState) -> None:
    """The repr holds none of the values."""
    opened = states.open(issued.state, "site-1", NOW)
    assert opened is not None
    shown = repr(issued) + repr(opened)
    values = (issued.state, issued.nonce, issued.code_challenge, opened.code_verifier)
    assert all(str(value) not in shown for value in values)
    assert repr(opened.used_token) not in shown


def test_one_from_the_future_is_refused(states: States, issued: IssuedState) -> None:
    """A state that expires later than any issued now is from before the clock was set back; a little may pass."""
    assert belongs(states.open(issued.state, "site-1", NOW - 30), issued)
    assert states.open(issued.state, "site-1", NOW - 61) is None


def test_a_new_key_ends_what_the_old_one_issued(states: States, issued: IssuedState) -> None:
    """After the key was replaced, states of the old one are none, and those of the new one open."""
    key = os.urandom(KEY_BYTES)
    states.use_key(key)
    assert states.uses(key)
    assert not states.uses(KEY)
    assert states.open(issued.state, "site-1", NOW) is None
    renewed = states.issue("site-1", NOW, pkce=True)
    assert belongs(states.open(renewed.state, "site-1", NOW), renewed)
    assert renewed.nonce != issued.nonce
