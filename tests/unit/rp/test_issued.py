"""What is remembered of a login, and which id_token a logout may carry."""

from __future__ import annotations

from typing import Any

import pytest

from oxd_server.op.id_token import IdToken
from oxd_server.op.tokens import TokenAnswer
from oxd_server.rp.issued import (
    MAX_HINT_CHARACTERS,
    after_login,
    earlier_id_token,
    hint_of,
    issued_in,
    login_with,
    token_hash,
)
from oxd_server.store import Login, SiteSession


def id_token(sub: str = "u", **claims: Any) -> IdToken:
    """Return a valid id_token of a user that lives until 1000."""
    return IdToken({}, {"sub": sub, "exp": 1000, **claims})


def test_a_login_is_remembered_with_each_of_its_tokens() -> None:
    """Access and refresh token, by hashes of this site's own, each for as long as it may live and no longer."""
    login = login_with("site", id_token(nonce="n", azp="c"))
    assert (login.oxd_id, login.subject, login.azp) == ("site", "u", True)
    access, refresh = issued_in(login, TokenAnswer(access_token="a", refresh_token="r", expires_in=60), 100.0)
    assert (access.hash, access.what, access.expires_at) == (token_hash("site", "a"), login, 160.0)
    assert (refresh.hash, refresh.expires_at) == (token_hash("site", "r"), 100.0 + 30 * 86400)
    (alone,) = issued_in(login, TokenAnswer(access_token="a", expires_in=10**9), 100.0)
    assert alone.expires_at == 100.0 + 30 * 86400
    assert token_hash("site", "a") != token_hash("other", "a")


def test_what_a_refreshed_id_token_has_to_agree_with() -> None:
    """The nonce is compared by its hash; a login without a nonce has none to agree with."""
    earlier = earlier_id_token(login_with("site", id_token(nonce="n")))
    assert (earlier.subject, earlier.azp) == ("u", False)
    assert earlier.is_nonce("n")
    assert not earlier.is_nonce("m")
    assert not earlier_id_token(Login(oxd_id="site")).is_nonce("")


def test_a_subject_longer_than_any_may_be_is_not_remembered() -> None:
    """Core, section 2: 255 characters at most."""
    assert login_with("site", id_token("u" * 255)).subject == "u" * 255
    assert login_with("site", id_token("u" * 256)).subject is None


@pytest.mark.parametrize(
    ("before", "users", "now", "hint"),
    [
        (SiteSession(), ["a"], 999.0, "token of a"),
        (SiteSession(), ["a", "a"], 999.0, "token of a"),
        (SiteSession(), ["a"], 1000.0, None),
        (SiteSession(), ["a", "b"], 1.0, None),
        (SiteSession(), ["a", "b", "a", "a"], 1.0, None),
        (SiteSession(id_token="of nobody knows whom"), ["a"], 1.0, None),
    ],
)
def test_which_id_token_anybodys_logout_may_carry(
    before: SiteSession, users: list[str], now: float, hint: str | None
) -> None:
    """The last one, while it lives and the site has known one user."""
    session = before
    for user in users:
        session = after_login(session, f"token of {user}", id_token(user))
    assert hint_of(session, now) == hint


def test_an_id_token_that_fits_into_no_url_is_not_kept() -> None:
    """It is of no use for the logout; whose it was counts all the same, and the PAT stays."""
    session = after_login(SiteSession(pat="p"), "x" * (MAX_HINT_CHARACTERS + 1), id_token("a"))
    assert (session.id_token, session.pat, hint_of(session, 1.0)) == (None, "p", None)
    assert after_login(session, "token of b", id_token("b")).several_subjects
