"""Authorization and logout URLs, PKCE, and the issuer of the authorization response."""

from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oxd_server.op.authorization import (
    PROTOCOL_PARAMETERS,
    AuthorizationRequest,
    add_query,
    authorization_url,
    check_authorization_response_iss,
    pkce_challenge,
)
from oxd_server.op.discovery import ProviderMetadata
from oxd_server.op.errors import IssuerMismatch, ParameterRefused
from oxd_server.op.logout import end_session_url


def request(**changes):
    values = {
        "client_id": "client",
        "redirect_uri": "https://app.example/cb?x=1&y=2",
        "response_type": "code",
        "scope": "openid profile",
        "state": "the-state",
        "nonce": "the-nonce",
    }
    return AuthorizationRequest(**{**values, **changes})


def test_request_as_url():
    """The request is a URL with every parameter percent-encoded, spaces as %20."""
    url = authorization_url("https://op.example/auth", request(code_challenge="abc"))
    assert url == (
        "https://op.example/auth?response_type=code&client_id=client"
        "&redirect_uri=https%3A%2F%2Fapp.example%2Fcb%3Fx%3D1%26y%3D2&scope=openid%20profile"
        "&state=the-state&nonce=the-nonce&code_challenge=abc&code_challenge_method=S256"
    )


def test_all_parameters():
    """Every optional parameter has its registered name."""
    optional = {
        "response_mode": "query",
        "prompt": "login",
        "acr_values": "duo basic",
        "display": "popup",
        "ui_locales": "de fr",
        "claims_locales": "de",
        "id_token_hint": "a.b.c",
        "login_hint": "user@app",
        "claims": '{"userinfo":{}}',
        "hd": "example.org",
    }
    fields = dict(parse_qsl(urlsplit(authorization_url("https://op/a", request(max_age=0, **optional))).query))
    assert optional.items() <= fields.items()
    assert fields["max_age"] == "0"


def test_empty_parameters_are_left_out():
    """What is empty or None does not become a parameter."""
    fields = parse_qs(urlsplit(authorization_url("https://op/a", request(prompt="", nonce=""))).query)
    assert not {"prompt", "nonce", "code_challenge", "code_challenge_method"} & fields.keys()


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("https://op/a", "https://op/a?x=%2F"),
        ("https://op/a?tenant=1", "https://op/a?tenant=1&x=%2F"),
        ("https://op/a?", "https://op/a?x=%2F"),
        ("https://op/a?tenant=1&", "https://op/a?tenant=1&x=%2F"),
    ],
)
def test_query_of_the_endpoint_is_kept(endpoint, expected):
    """The endpoint may have a query already."""
    assert add_query(endpoint, {"x": "/"}) == expected
    assert add_query(endpoint, {}) == endpoint


def test_custom_parameters():
    """Custom parameters become query parameters."""
    url = authorization_url("https://op/a", request(custom={"param 1": "v&1", "login_hint": "me"}))
    assert url.endswith("&param%201=v%261&login_hint=me")


@pytest.mark.parametrize("name", [*sorted(PROTOCOL_PARAMETERS), "prompt"])
def test_custom_parameters_override_nothing(name):
    """A custom parameter that would override one of the protocol, or one that is set, is refused by name."""
    with pytest.raises(ParameterRefused) as caught:
        authorization_url("https://op/a", request(prompt="login", custom={name: "x"}))
    assert caught.value.name == name


@given(st.dictionaries(st.text(min_size=1), st.text(min_size=1)))
def test_any_parameter_arrives(parameters):
    """Whatever text a parameter holds, it arrives unchanged and adds no other."""
    query = urlsplit(add_query("https://op/a", parameters)).query
    assert dict(parse_qsl(query, keep_blank_values=True)) == parameters


def test_pkce_example():
    """The challenge is that of the example in RFC 7636, appendix B."""
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    assert pkce_challenge(verifier) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


@pytest.mark.parametrize("verifier", ["a" * 42, "a" * 129, "a" * 42 + "+", "a" * 42 + "\n", "a" * 43 + "\n"])
def test_pkce_verifier_that_is_none(verifier):
    """A verifier of another length or with other characters is refused."""
    with pytest.raises(ValueError, match="43 to 128"):
        pkce_challenge(verifier)


def test_issuer_of_the_response():
    """The iss of an authorization response is compared to the letter where the caller gives it."""
    metadata = ProviderMetadata(issuer="https://op.example")
    check_authorization_response_iss(None, metadata)
    check_authorization_response_iss("https://op.example", metadata)
    for other in ("https://op.example/", "https://OP.example", "https://evil.example", ""):
        with pytest.raises(IssuerMismatch) as caught:
            check_authorization_response_iss(other, metadata)
        assert (caught.value.expected, caught.value.actual) == ("https://op.example", other)


def test_request_shows_no_secret():
    """State, nonce and id_token_hint are not in the repr of a request."""
    shown = repr(request(id_token_hint="the-hint"))
    assert not [secret for secret in ("the-state", "the-nonce", "the-hint") if secret in shown]


def test_logout_url():
    """The logout request has what is known, percent-encoded, after the endpoint's own query."""
    url = end_session_url(
        "https://op/logout?x=1",
        id_token_hint="a.b.c",
        post_logout_redirect_uri="https://app/bye?a=b",
        state="s 1",
        session_state="ss",
        client_id="client",
        ui_locales="de",
    )
    assert url == (
        "https://op/logout?x=1&id_token_hint=a.b.c&post_logout_redirect_uri=https%3A%2F%2Fapp%2Fbye%3Fa%3Db"
        "&state=s%201&session_state=ss&client_id=client&ui_locales=de"
    )
    assert end_session_url("https://op/logout") == "https://op/logout"


def test_further_logout_parameters():
    """What one OP wants beside the protocol's is added; nothing of the protocol's is overridden."""
    further = {"logout_uri": "https://app/bye", "client_id": "c"}
    url = end_session_url("https://op/logout", state="s", further=further)
    assert url == "https://op/logout?state=s&logout_uri=https%3A%2F%2Fapp%2Fbye&client_id=c"
    assert end_session_url("https://op/logout", client_id="c", further=further).count("client_id") == 1
    for refused in ({"state": "x"}, {"id_token_hint": "x"}, {"post_logout_redirect_uri": "x"}, {"client_id": "x"}):
        with pytest.raises(ParameterRefused):
            end_session_url("https://op/logout", client_id="c", further=refused)
