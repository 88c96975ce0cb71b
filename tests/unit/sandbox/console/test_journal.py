"""What the provider remembers of its requests, and how much of it."""

import base64
import json

from oxd_server.entrances.http1_messages import HttpRequest, HttpResponse
from oxd_server.sandbox.console.verdicts import verdicts
from oxd_server.sandbox.provider.journal import Journal

FORM = (("content-type", "application/x-www-form-urlencoded"),)


def basic(text: bytes) -> tuple[tuple[str, str], ...]:
    """An Authorization header of the scheme Basic."""
    return (*FORM, ("authorization", "Basic " + base64.b64encode(text).decode()))


def test_what_is_kept_is_bounded() -> None:
    """The latest hundred are kept, and none of them is long."""
    journal = Journal()
    for number in range(150):
        long = b"x=" + b"y" * 100_000
        journal.note(HttpRequest("POST", f"/{number}", headers=FORM, body=long), HttpResponse(200, (), b"z" * 100_000))
    assert journal.count == 150
    kept = list(journal.since(0))
    assert [one.path for one in kept] == [f"/{number}" for number in range(50, 150)]
    assert {(one.sent, one.answered) for one in kept} == {("", "")}
    assert [one.path for one in journal.since(149)] == ["/149"]
    assert list(journal.since(150)) == []


def test_who_asked_and_what() -> None:
    """The client is named, in whatever way it says so; its secret and its tokens are not shown."""
    journal = Journal()
    answer = HttpResponse(200, (), json.dumps({"id_token": "a.b.c", "access_token": "t" * 40}).encode())
    journal.note(
        HttpRequest("POST", "/token", headers=basic(b"client:secret-of-the-client"), body=b"code=" + b"c" * 40), answer
    )
    journal.note(HttpRequest("GET", "/userinfo", headers=(("authorization", "Bearer " + "t" * 40),)), answer)
    journal.note(
        HttpRequest("POST", "/token", headers=(*FORM, ("authorization", "Basic !"))), HttpResponse(400, (), b"[")
    )
    journal.note(HttpRequest("POST", "/register", body=b'{"client_name": "A shop"}'), HttpResponse(201, (), b"[1]"))
    journal.note(HttpRequest("POST", "/register", body=b"[2]"), HttpResponse(400))
    token, user, broken, registered, wrong = journal.since(0)
    assert (token.client_id, token.id_token) == ("client", "a.b.c")
    for hidden in ("secret-of-the-client", "c" * 40, "t" * 40):
        assert hidden not in token.sent + token.answered + user.sent
    assert (broken.client_id, broken.sent, broken.answered) == (None, "", "")
    assert "A shop" in registered.sent
    assert registered.id_token is None
    assert wrong.sent == ""


def test_tokens_that_cannot_be_read_have_verdicts_too() -> None:
    """Whatever a provider calls an id_token is shown as far as it goes."""
    for token in ("", "x", "a.b", "W10.W10.", "e30.bm90IGpzb24.x"):
        refused = verdicts(token, {"error": "invalid_id_token", "details": {"check": "malformed", "expected": None}})
        assert (refused[0].claim, refused[0].outcome) == ("(form)", "refused")
        assert {one.outcome for one in refused[1:]} == {"not reached"}
    assert verdicts("x", {"error": "op_unreachable", "details": None}) == []
