"""The log keeps secrets to itself, and everything else on one line."""

import base64
import io
import json
import logging
import resource
import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from oxd_server.log import REDACTED, configure_logging, is_secret_name, redact, redact_text
from oxd_server.log.known import begin_command, end_command, known_secrets, note_secrets
from oxd_server.log.plain import plain_json, plain_text
from oxd_server.store import Site

SECRET = "Zq9-vN_xt7.K2~w+/Q="
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ6In0.c2lnbmF0dXJl"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\n-----END RSA PRIVATE KEY-----"

SECRET_NAMES = (
    *("client_secret", "access_token", "refresh_token", "id_token", "protection_access_token", "token", "user_secret"),
    *("client_registration_access_token", "code", "state", "nonce", "authorization", "Authorization", "password"),
    *("trust_store_password", "crypt_provider_key_store_password", "ticket", "rpt", "pat", "pct", "claim_token"),
    *(
        "code_verifier",
        "client_assertion",
        "assertion",
        "private_key",
        "cookie",
        "Set-Cookie",
        "cookies",
        "clientSecret",
    ),
    *("id_token_hint", "session_state", "pat_refresh_token", "X-Auth-Token", "api-key", "proxy-authorization", "jwt"),
)
PLAIN_NAMES = (
    *(
        "oxd_id",
        "op_host",
        "command",
        "client_id",
        "client_name",
        "token_endpoint",
        "token_type",
        "expires_in",
        "status",
    ),
    *("error", "event", "level", "scope", "redirect_uri", "statement", "encoded", "path", "duration", "grant_type"),
    *(
        "token_endpoint_auth_method",
        "id_token_signed_response_alg",
        "state_expiration_in_minutes",
        "description",
        "kid",
    ),
)


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Every test leaves the process's logging as it found it."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def logged(format: str = "json", level: str = "debug") -> tuple[Any, io.StringIO]:
    stream = io.StringIO()
    configure_logging(level, format, stream)
    return structlog.get_logger("test"), stream


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_secret_names_are_known(name: str) -> None:
    """Each name that a secret goes by is one, in any letter case, with dashes or underscores."""
    assert is_secret_name(name)
    assert is_secret_name(name.upper())
    assert is_secret_name(name.replace("_", "-"))


@pytest.mark.parametrize("name", PLAIN_NAMES)
def test_other_names_are_not(name: str) -> None:
    """Names that operators need to read are left alone."""
    assert not is_secret_name(name)


# Long and odd enough not to turn up by chance in a rendered line.
secrets = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="\"'\\"), min_size=12).map(
    lambda text: f"Zq9{text}"
)


def buried(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """The leaves at any depth of dicts, lists and tuples."""
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.dictionaries(st.sampled_from(PLAIN_NAMES), inner, min_size=1, max_size=3),
            st.lists(inner, min_size=1, max_size=3),
            st.tuples(inner),
        ),
        max_leaves=8,
    )


@given(data=st.data(), secret=secrets, name=st.sampled_from(SECRET_NAMES), console=st.booleans())
def test_secret_under_a_secret_name_never_shows(data: st.DataObject, secret: str, name: str, console: bool) -> None:
    """Whatever lies under a secret name, however deep, is not in the line."""
    shape = data.draw(buried(st.sampled_from([secret, [secret], {"value": secret}, secret.encode(), (1, secret)])))
    value = data.draw(buried(st.just({name: shape})))
    log, stream = logged("console" if console else "json")
    log.info("something happened", detail=value, **{name.replace("-", "_"): shape})
    assert secret not in stream.getvalue()
    assert json.dumps(secret)[1:-1] not in stream.getvalue()
    assert "something happened" in stream.getvalue()


def test_nesting_beyond_all_measure_is_cut_off() -> None:
    """A value nested deeper than anyone reads, or inside itself, ends instead of overflowing."""
    deep: Any = {"client_secret": SECRET}
    for _ in range(5000):
        deep = {"inner": deep}
    ring: list[Any] = []
    ring.append(ring)
    shown = json.dumps(redact(None, "info", {"deep": deep, "ring": ring}))
    assert "[too deep]" in shown
    assert SECRET not in shown


TEXTS = (
    *("GET /cb?code={}&x=1", "https://op/auth?x=1&state={}", "https://rp/cb#access_token={}&expires_in=1"),
    *('{{"client_secret": "{}"}}', '{{"data": "{{\\"refresh_token\\":\\"{}\\"}}"}}', "{{'id_token': '{}'}}"),
    *("client_secret={}", "password = {}", "Authorization: Bearer {}", "authorization=Basic {}", "bearer {}"),
    *("Site(oxd_id='x', client_secret='{}')", "Cookie: session={}; theme=dark", "https://user:{}@op.example.org/"),
    *("(b'authorization', b'Basic {}')", "x?redirect=https%3A%2F%2Frp%3Fcode%3D{}", "ticket={}", "rpt: {}"),
    *('{{"code" : "{}', "access_token=['{}']", "Bearer%20{}", "code_verifier={}", 'claim_token=\\"{}\\"'),
)


@pytest.mark.parametrize("text", TEXTS)
def test_secret_inside_a_text_never_shows(text: str) -> None:
    """A secret in a query, in JSON, in JSON inside JSON, in a repr or a header is hidden, and it shows."""
    secret = "Zq9-vN_xt7.K2~w"
    shown = redact_text(f"before {text.format(secret)} after")
    assert secret not in shown
    assert "Zq9" not in shown
    assert REDACTED in shown
    assert shown.startswith("before ")


@given(
    secret=st.text("abcdefghijklmnopqrstuvwxyzABCXYZ0123456789-._~%+", min_size=12), name=st.sampled_from(SECRET_NAMES)
)
def test_random_secret_inside_a_text_never_shows(secret: str, name: str) -> None:
    """Any token after any secret name, as a parameter or in JSON, is hidden whole."""
    secret = f"Zq9{secret}"
    for text in (f"/x?a=b&{name}={secret}&c=d", json.dumps({"a": {name: secret}}), repr({name: [secret]})):
        assert secret not in redact_text(text)


@given(password=st.text(min_size=8).map(lambda text: f"Zq9{text}9qZ"))
def test_any_text_as_json_value_is_hidden_whole(password: str) -> None:
    """A password with quotes, backslashes and the like in it does not end where one of them stands."""
    for text in (json.dumps({"password": password}), repr({"password": password})):
        shown = redact_text(text)
        assert "Zq9" not in shown
        assert "9qZ" not in shown


@pytest.mark.parametrize(
    "text", [f"got {JWT}", f"x={JWT},", f'"{JWT}"', f"Bearer {JWT}", PEM, f"key: {PEM} end", PEM[:45]]
)
def test_tokens_and_keys_are_known_by_their_looks(text: str) -> None:
    """A JWT or a PEM private key is hidden wherever it stands, cut off or not."""
    shown = redact_text(text)
    assert "eyJ" not in shown
    assert "MII" not in shown
    assert REDACTED in shown


def test_header_pairs_are_hidden() -> None:
    """In a list of header pairs, as bytes or text, the values of secret headers are hidden and the others are not."""
    headers = [(b"Authorization", b"Custom " + SECRET.encode()), ("cookie", SECRET), (b"accept", b"text/html")]
    shown = json.dumps(redact(None, "info", {"headers": headers}))
    assert SECRET not in shown
    assert "text/html" in shown
    assert "Authorization" in shown


def test_private_jwk_members_are_hidden() -> None:
    """Of a JWK the private members are hidden and the public ones are not, as a value and as text."""
    jwk = {"kty": "RSA", "kid": "one", "n": "modulus", "e": "AQAB", "d": "hidden-d", "dp": "hidden-dp"}
    for shown in (json.dumps(redact(None, "info", {"jwk": jwk})), redact_text(json.dumps(jwk))):
        assert "hidden" not in shown
        assert "modulus" in shown


@pytest.mark.parametrize(
    "text",
    [
        "Start listening for notifications on 127.0.0.1:8099",
        "https://op.example.org/.well-known/openid-configuration answered 503",
        "oxd_server.op.tokens failed: op_unreachable",
        "'state' is not registered",
        "bcad760f-91ba-46e1-a020-05e4281d91b6",
        "expires_in=299&token_type=none",
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    """What operators read every day is not touched."""
    assert redact_text(text) == text


@pytest.mark.parametrize(
    "text", ["a" * 10**6, "eyJ" * 10**5, "token" * 10**5, '\\"' * 10**5, "://:" * 10**5, "a=" * 10**5]
)
def test_long_text_is_cut_off(text: str) -> None:
    """However long a text is, its line is not."""
    assert len(redact_text(text)) < 25_000


HOSTILE = (
    *("eyJ", "eyJa", "a", "token", "=%26", "token=[", "token={", "token=\\'", '"d\\', 'kty:"', "://:", "a="),
    "bearer ",
    *("bearer+", "cookie: ", 'cookie:"', 'token="\\', "a.", "eyJ.", "-----BEGIN PRIVATE KEY-----", "%3Ftoken%3D"),
    "'",
    *("password ", "kty\\", "token\\", "token : ", ".token", "secret-", "%26", '\\\\"', "\n", "code,"),
)
MAKE_LONG = """
import sys
from oxd_server.log import redaction
redaction._LONGEST_TEXT = 10**9
for line in sys.stdin:
    piece, beginning = eval(line)
    redaction.redact_text(beginning + piece * (50_000 // len(piece)))
print("done")
"""


def test_redaction_takes_linear_time() -> None:
    """Texts of 50,000 characters, made to start over and over in every pattern, are redacted within 30 s in all.

    Linear work takes about three seconds; one quadratic pattern takes half a minute for a single text. What counts
    is processor time, which the kernel measures and bounds.
    """
    lines = [repr((piece, beginning)) for piece in HOSTILE for beginning in ("", "eyJ", "kty=", "token=", "token='")]
    done = subprocess.run(
        [sys.executable, "-c", MAKE_LONG],
        input="\n".join(lines),
        text=True,
        capture_output=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (30, 30)),
    )
    assert done.stdout == "done\n", done.stderr


@given(data=buried(st.text(max_size=50) | st.integers() | st.binary(max_size=20)), size=st.integers(1, 2000))
def test_an_event_is_bounded(data: Any, size: int) -> None:
    """However much one event holds, its line is not longer than a bound."""
    shown = redact(None, "info", {"event": "x", "values": [data] * size, "text": "word " * size * 100})
    assert len(json.dumps(shown)) < 600_000
    assert shown["event"] == "x"


def test_a_number_that_cannot_be_written_out_is_described() -> None:
    """A number with more digits than Python writes does not stop the line."""
    log, stream = logged()
    log.info("x", number=10**5000, negative=-(10**5000))
    assert json.loads(stream.getvalue())["number"] == "a number of 16610 bits"


def spelled(secret: str) -> Iterator[str]:
    """Yield the usual ways to write a secret, with something before and after it."""
    yield from (secret, quote(secret, safe=""), secret.encode().hex(), repr(secret), json.dumps(secret))
    for before in ("", "a", "ab"):
        encoded = base64.b64encode(f"{before}:{secret}:after".encode()).decode()
        yield from (encoded, encoded.translate(str.maketrans("+/", "-_")))


@given(secret=secrets, before=st.text(max_size=30), after=st.text(max_size=30), console=st.booleans())
def test_a_known_secret_never_shows(secret: str, before: str, after: str, console: bool) -> None:
    """What the command deals with is hidden wherever it turns up, under any name, whatever stands around it."""
    log, stream = logged("console" if console else "json")
    token = begin_command({"oxd_id": "one", "code": secret})
    for text in spelled(secret):
        log.info("refused", description=f"{before}{text}{after}", kid=[text], told={text: 1})
    end_command(token)
    assert secret not in stream.getvalue()
    assert json.dumps(secret)[1:-1] not in stream.getvalue()
    assert quote(secret, safe="") not in stream.getvalue()
    assert secret.encode().hex() not in stream.getvalue()
    assert base64.b64encode(secret.encode())[:-4].decode() not in stream.getvalue()
    assert known_secrets() == ()


def test_secrets_are_found_in_what_was_noted() -> None:
    """Params, a site, fields of a form, a header and the JSON of an answer are looked through for secrets."""
    token = begin_command({"oxd_id": "not-a-secret", "params": {"access_token": "given-as-a-param"}, "state": None})
    note_secrets(Site(oxd_id="x", op_host="https://op", client_secret="secret-of-the-site"))
    note_secrets([("grant_type", "authorization_code"), ("code_verifier", "verifier-in-a-form")])
    note_secrets(f"Basic {base64.b64encode(b'client:secret-in-a-header').decode()}")
    note_secrets("Bearer token-in-a-header")
    note_secrets(b'{"refresh_token": "token-in-an-answer", "inner": [{"client_secret": "secret-in-an-answer"}]}')
    note_secrets(b"no JSON")
    note_secrets(None)
    known = known_secrets()
    end_command(token)
    for secret in (
        *("given-as-a-param", "secret-of-the-site", "verifier-in-a-form", "secret-in-a-header", "token-in-a-header"),
        *("token-in-an-answer", "secret-in-an-answer"),
    ):
        assert secret in known
    assert "not-a-secret" not in known
    assert "authorization_code" not in known


def test_the_beginning_of_a_known_secret_does_not_show() -> None:
    """Where a text was cut off in the middle of a secret, its beginning is hidden as well."""
    for shown_of_it in range(4, len(SECRET)):
        assert SECRET[:4] not in redact_text(f"the kid is {SECRET[:shown_of_it]}...", (SECRET,))
    assert SECRET[:4] not in redact_text("x" * 19_995 + SECRET, (SECRET,))


def test_noting_is_bounded() -> None:
    """A command that handles very many secrets is not slowed down by them; its params always count."""
    token = begin_command({"code": SECRET})
    for number in range(10_000):
        note_secrets(f"secret-number-{number}")
    known = known_secrets()
    end_command(token)
    assert SECRET in known
    assert len(known) < 2000


def test_text_for_people_obeys_nobody() -> None:
    """Control characters, marks that turn the direction of writing and lone surrogates are written out."""
    assert plain_text("Zoë \x1b[31m\u202e\x9b\ud800") == "Zoë \\x1b[31m\\u202e\\x9b\\ud800"
    value = {"name": "Zoë \u202e\x7f\x9b\U000e0001 \ud800", "n": [1]}
    text = plain_json(json.dumps(value, indent=2, ensure_ascii=False))
    assert json.loads(text) == value
    assert all(line.isprintable() for line in text.split("\n"))


def test_a_traceback_cannot_pass_for_an_event() -> None:
    """On the console the lines of an exception's text are indented, and none of them moves the cursor."""
    log, stream = logged("console")
    try:
        raise ValueError("one\n2026-01-01T00:00:00Z [info] all is well\x1b[2J\r")
    except ValueError:
        log.exception("trouble")
    lines = stream.getvalue().splitlines()
    assert [line for line in lines[1:] if not line.startswith("    ")] == []
    assert not set("\r\x1b") & set(stream.getvalue())


def test_event_is_not_changed() -> None:
    """Redaction makes a new event: the values of the one that was logged stay as they are."""
    inner = {"client_secret": SECRET}
    event = {"event": "x", "data": inner}
    redact(None, "info", event)
    assert event == {"event": "x", "data": {"client_secret": SECRET}}
    assert inner == {"client_secret": SECRET}


@pytest.mark.parametrize("format", ["json", "console"])
def test_traceback_is_redacted(format: str) -> None:
    """The text of an exception goes through redaction with its traceback, causes included."""
    log, stream = logged(format)
    try:
        try:
            raise ValueError(f"client_secret={SECRET}")
        except ValueError as error:
            raise RuntimeError(f"Bearer {SECRET}") from error
    except RuntimeError:
        log.exception("trouble", error=ValueError(f"code={SECRET}"))
    assert SECRET not in stream.getvalue()
    assert "ValueError" in stream.getvalue()
    assert "RuntimeError" in stream.getvalue()


def test_json_is_one_line_an_event() -> None:
    """Each event is one line of JSON with time, level and what was said; None stays None, numbers stay numbers."""
    log, stream = logged()
    log.info("one\ntwo", count=3, code=None, ok=True, site=Site(oxd_id="x", op_host="https://op", client_secret=SECRET))
    log.warning("next")
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert first.pop("timestamp").endswith("Z")
    site = "Site(oxd_id='x', op_host='https://op')"
    assert first == {"event": "one\ntwo", "level": "info", "count": 3, "code": None, "ok": True, "site": site}
    assert second["level"] == "warning"


def test_console_is_one_line_an_event() -> None:
    """What was logged cannot break out of its line or move the cursor of a terminal."""
    log, stream = logged("console")
    log.info("one\ntwo\x1b[2J", name="a\r\nb\x1b]0;title\x07")
    assert stream.getvalue().count("\n") == 1
    assert stream.getvalue().endswith("\n")
    assert not set("\r\x1b\x07") & set(stream.getvalue())


def test_auto_is_json_unless_on_a_terminal() -> None:
    """Without a terminal, auto writes JSON; on one, it writes for people, in colour."""
    log, stream = logged("auto")
    log.info("x")
    assert json.loads(stream.getvalue())["event"] == "x"

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    configure_logging("info", "auto", terminal)
    log.info("x")
    assert "\x1b[" in terminal.getvalue()


def test_level_is_kept() -> None:
    """Events below the level are not written."""
    log, stream = logged(level="warning")
    log.info("quiet")
    log.warning("loud")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["loud"]


def test_libraries_do_not_show_their_requests() -> None:
    """Below a warning libraries are silent at any level; above it they are redacted, tracebacks too, and once only."""
    logged()
    _, stream = logged()
    for name in ("httpx2", "httpcore2.http11", "h11", "trio"):
        logging.getLogger(name).info("GET https://op/?code=%s", SECRET)
        logging.getLogger(name).debug("GET https://op/?code=%s", SECRET)
    assert stream.getvalue() == ""
    try:
        raise ValueError(f"token={SECRET}")
    except ValueError:
        logging.getLogger("httpx2").exception("GET https://op/?code=%s failed", SECRET)
    (line,) = map(json.loads, stream.getvalue().splitlines())
    assert line["event"] == f"GET https://op/?code={REDACTED} failed"
    assert line["logger"] == "httpx2"
    assert "ValueError" in line["exception"]
    assert SECRET not in stream.getvalue()
