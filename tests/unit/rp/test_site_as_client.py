"""Between a site and its client at the OP: what is sent, and what of the answer is taken over."""

import msgspec
import pytest

from oxd_server.op.registration import RegistrationAnswer
from oxd_server.rp.site_as_client import as_answered, credentials_of, known_metadata, metadata_of
from oxd_server.store import Site

REDIRECT_URI, OTHER_URI = "https://app.example/callback", "https://app.example/other"
SITE = Site(
    oxd_id="site-1",
    op_host="https://op.example.org",
    authorization_redirect_uri=REDIRECT_URI,
    redirect_uris=(OTHER_URI,),
    logout_redirect_uri="https://app.example/bye",
    front_channel_logout_uri=("https://app.example/front",),
    claims_redirect_uri=("https://app.example/claims",),
    request_uris=("https://app.example/request",),
    sector_identifier_uri="https://app.example/sector",
    application_type="web",
    response_types=("code",),
    grant_types=("authorization_code", "refresh_token"),
    scope=("openid", "email"),
    acr_values=("basic",),
    ui_locales=("de",),
    claims_locales=("fr",),
    contacts=("ops@app.example",),
    client_name="App",
    client_jwks_uri="https://app.example/jwks",
    token_endpoint_auth_method="client_secret_post",
    token_endpoint_auth_signing_alg="RS256",
    client_id="client-1",
    client_secret="old-secret",
    client_registration_access_token="old-token",
    client_registration_client_uri="https://op.example.org/register/1",
    client_secret_expires_at=5000,
)


def answer(**metadata: object) -> RegistrationAnswer:
    return RegistrationAnswer(client_id="client-1", metadata=metadata)


def test_an_op_that_answers_what_it_was_sent() -> None:
    """A site that is registered and answered as it is stays the same, its redirect URIs being listed in full."""
    sent = msgspec.json.decode(msgspec.json.encode(metadata_of(SITE)))
    stored = as_answered(SITE, answer(**sent))
    assert stored.redirect_uris == (REDIRECT_URI, OTHER_URI)
    assert known_metadata(stored) == sent
    unchanged = msgspec.structs.replace(stored, redirect_uris=SITE.redirect_uris, registered_metadata=None)
    assert unchanged == SITE
    assert msgspec.json.decode(msgspec.json.encode(metadata_of(stored))) == sent


def test_an_op_that_answers_nothing_more() -> None:
    """What the answer does not mention stays as it was, secrets included."""
    stored = as_answered(SITE, answer())
    assert msgspec.structs.replace(stored, registered_metadata=None) == SITE


def test_an_op_that_decides_otherwise() -> None:
    """What the OP changed is what counts from then on."""
    stored = as_answered(
        SITE,
        answer(
            client_name="Another",
            scope="openid",
            grant_types=["authorization_code"],
            redirect_uris=[OTHER_URI],
            post_logout_redirect_uris=["https://app.example/elsewhere"],
            token_endpoint_auth_method="client_secret_basic",
        ),
    )
    assert (stored.client_name, stored.scope, stored.grant_types) == ("Another", ("openid",), ("authorization_code",))
    assert (stored.authorization_redirect_uri, stored.redirect_uris) == (OTHER_URI, (OTHER_URI,))
    assert stored.logout_redirect_uri == "https://app.example/elsewhere"
    assert credentials_of(stored, None).method == "client_secret_basic"


def test_an_op_that_drops() -> None:
    """What only the OP uses is gone when its full answer leaves it out; what we use in requests stays."""
    stored = as_answered(SITE, answer(redirect_uris=[REDIRECT_URI, OTHER_URI]))
    assert (stored.contacts, stored.client_jwks_uri, stored.request_uris) == ((), None, ())
    assert (stored.front_channel_logout_uri, stored.sector_identifier_uri) == ((), None)
    assert (stored.scope, stored.acr_values, stored.ui_locales) == (SITE.scope, SITE.acr_values, SITE.ui_locales)
    assert stored.logout_redirect_uri == SITE.logout_redirect_uri


def test_an_op_that_adds() -> None:
    """Among several URIs ours stay the ones that are used; members that nobody knows are sent back as they came."""
    stored = as_answered(
        SITE,
        answer(
            redirect_uris=[OTHER_URI, REDIRECT_URI],
            post_logout_redirect_uris=["https://app.example/x", "https://app.example/bye"],
            invented={"by": ["the", "OP"]},
        ),
    )
    assert stored.authorization_redirect_uri == REDIRECT_URI
    assert stored.logout_redirect_uri == "https://app.example/bye"
    assert known_metadata(stored)["invented"] == {"by": ["the", "OP"]}


def test_an_op_that_rotates() -> None:
    """New secrets and tokens replace the old ones; seconds become milliseconds."""
    rotated = RegistrationAnswer(
        client_id="client-1",
        client_secret="new-secret",
        registration_access_token="new-token",
        registration_client_uri="https://op.example.org/register/2",
        client_id_issued_at=7,
        client_secret_expires_at=0,
    )
    stored = as_answered(SITE, rotated)
    assert (stored.client_secret, stored.client_registration_access_token) == ("new-secret", "new-token")
    assert stored.client_registration_client_uri == "https://op.example.org/register/2"
    assert (stored.client_id_issued_at, stored.client_secret_expires_at) == (7000, 0)


@pytest.mark.parametrize("nonsense", [{"client_name": 5}, {"contacts": "x"}, {"scope": ["openid"]}])
def test_an_op_that_answers_nonsense(nonsense: dict[str, object]) -> None:
    """A member of a wrong type changes nothing."""
    stored = as_answered(SITE, answer(**nonsense))
    assert msgspec.structs.replace(stored, registered_metadata=None) == SITE


def test_a_bare_site() -> None:
    """What a site does not know is left out of the registration; how its client authenticates is left open."""
    bare = Site(oxd_id="x", op_host="https://op.example.org")
    assert msgspec.to_builtins(metadata_of(bare)) == {}
    assert known_metadata(bare) == {}
    credentials = credentials_of(bare, None)
    assert (credentials.client_id, credentials.client_secret, credentials.method) == ("", None, None)


def test_credentials() -> None:
    """They are those of the site, with the expiry in seconds, and show no secret."""
    credentials = credentials_of(SITE, None)
    assert (credentials.client_id, credentials.client_secret) == ("client-1", "old-secret")
    assert (credentials.method, credentials.signing_alg) == ("client_secret_post", "RS256")
    assert credentials.client_secret_expires_at == 5
    assert "old-secret" not in repr(credentials)
