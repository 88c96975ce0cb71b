"""Providers that people have, each with its habits, and what a login at any of them has in common."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.integration.bendable_op import CLIENT_SECRET, BendableOp, Personality
from tests.integration.logins import data_of
from tests.integration.oxd_process import ServerProcess

REDIRECT_URI, LOGOUT_URI = "https://app.example/callback", "https://app.example/goodbye"
TENANT = "9188040d-6c67-4c5b-b112-36a304b66dad"

PERSONALITIES = {
    # Answers a registration with its optional scopes; adds much of its own to token answers; refresh tokens rotate.
    "Keycloak": Personality(
        path="/realms/main",
        registers=True,
        registration={
            "registration_access_token": "rat", "registration_client_uri": "{op}/register/client-1",
            "scope": "address phone offline_access microprofile-jwt", "response_types": ["code", "none"],
        },
        metadata={"code_challenge_methods_supported": ["plain", "S256"], "claims_parameter_supported": True},
        tokens={"not-before-policy": 0, "session_state": "s-1", "refresh_expires_in": 1800, "scope": "openid profile"},
        refreshed={"refresh_token": "refresh-2"},
    ),
    # Takes assertions for its token endpoint alone, and has client ids of its own kind.
    "Gluu 3.x": Personality(
        client_id="@!1736.179E.AA60.16B2!0001!8F7C.B9AB!0008!A2BB.9AE6",
        registers=True,
        registration={
            "client_secret_expires_at": 4102444800, "token_endpoint_auth_method": "client_secret_jwt",
            "registration_access_token": "rat", "registration_client_uri": "{op}/register/client-1",
        },
        methods=("client_secret_jwt",),
        audience="{op}/token",
        site={"client_token_endpoint_auth_method": "client_secret_jwt"},
        tokens={"expires_in": 299, "scope": None},
    ),
    # The common endpoint serves every tenant: its issuer is a pattern.
    "Entra ID": Personality(
        path="/common/v2.0",
        issuer="{origin}/{tenantid}/v2.0",
        key={"alg": None, "x5t": "key-1", "x5c": ["MIIC"], "issuer": "{origin}/{tenantid}/v2.0"},
        claims={"iss": f"{{origin}}/{TENANT}/v2.0", "tid": TENANT, "ver": "2.0", "aio": "opaque"},
        header={"x5t": "key-1"},
        tokens={"expires_in": "3599", "ext_expires_in": "3599", "scope": "openid profile User.Read"},
        metadata={"tenant_region_scope": None, "rbac_url": "https://pas.windows.net", "http_logout_supported": True},
        methods=("client_secret_post",),
        settings={"op_issuers": {"{op}": "{origin}/{tenantid}/v2.0"}},
    ),
    # No logout and no introspection; azp names the client though there is one audience; no new refresh token.
    "Google": Personality(
        metadata={"end_session_endpoint": None, "code_challenge_methods_supported": ["plain", "S256"]},
        claims={"azp": "client-1", "at_hash": None, "hd": "example.com", "email_verified": True},
        tokens={"scope": "openid https://www.googleapis.com/auth/userinfo.profile", "refresh_token_expires_in": 604799},
        login={"custom_parameters": {"access_type": "offline"}, "hd": "example.com"},
    ),
    # No userinfo and no logout endpoint, booleans as texts, the secret in the form only, logins come back as a form.
    "Apple": Personality(
        metadata={"userinfo_endpoint": None, "end_session_endpoint": None, "response_modes_supported": "form_post"},
        methods=("client_secret_post",),
        site={"response_mode": "form_post"},
        claims={"email_verified": "true", "is_private_email": "false", "nonce_supported": True, "auth_time": 1},
    ),
    # Its logout wants client_id and logout_uri.
    "Cognito": Personality(
        path="/eu-west-1_aBcDeF123",
        claims={"cognito:username": "user-1", "token_use": "id", "event_id": "e-1"},
        userinfo={"email_verified": "true", "username": "user-1"},
        tokens={"scope": None},
        settings={
            "op_settings": {
                "{op}": {"logout_parameters": {"client_id": "{client_id}", "logout_uri": "{post_logout_redirect_uri}"}}
            }
        },
    ),
    # Many members that nobody reads; refresh tokens rotate.
    "Okta": Personality(
        path="/oauth2/default",
        metadata={"request_object_signing_alg_values_supported": "HS256", "dpop_signing_alg_values_supported": {}},
        claims={"ver": 1, "amr": ["pwd"], "idp": "00o1", "auth_time": 1700000000},
        tokens={"scope": "offline_access openid profile"},
        refreshed={"refresh_token": "refresh-2"},
        logout={"state": "after"},
    ),
    # The issuer ends with a slash, and what stands in front of it gzips whatever was asked for.
    "Auth0": Personality(
        issuer="{op}/",
        compressed=True,
        metadata={"mfa_challenge_endpoint": "{op}/mfa/challenge", "device_authorization_endpoint": "{op}/device"},
        key={"x5t": "key-1", "x5c": ["MIID"]},
        claims={"sid": "s-1"},
        userinfo={"updated_at": "2024-05-01T10:00:00.000Z"},
    ),
    # The project's other clients stand beside ours in aud.
    "Zitadel": Personality(
        claims={"aud": ["client-1", "client-2", "254@project"], "azp": "client-1", "client_id": "client-1"},
        tokens={"expires_in": 43199},
        settings={"op_settings": {"{op}": {"trusted_audiences": ["client-2", "254@project"]}}},
    ),
    # Numbers and truth as texts, tokens that never expire, signed userinfo that calls itself JSON.
    "WSO2": Personality(
        path="/oauth2/token",
        registers=True,
        registration={"client_secret_expires_at": "0", "client_id_issued_at": "1700000000", "redirect_uris": [""]},
        metadata={
            "claims_parameter_supported": "true", "request_parameter_supported": "true", "version": "3.0",
            "response_modes_supported": "query", "backchannel_logout_supported": "true",
        },
        claims={"aut": "APPLICATION_USER", "c_hash": None, "nbf": 1},
        tokens={"expires_in": 9223372036854775, "scope": "openid profile"},
        userinfo={"updated_at": "1700000000"},
        signed_userinfo=True,
    ),
    # A byte order mark before the JSON, a kid in keys and x5t in the header.
    "ADFS": Personality(
        path="/adfs",
        marked=True,
        content_type="application/json;charset=UTF-8",
        metadata={"access_token_issuer": "{origin}/adfs/services/trust", "microsoft_multi_refresh_token": True},
        header={"x5t": "key-1"},
        tokens={"token_type": "bearer", "resource": "urn:microsoft:userinfo", "refresh_token_expires_in": 28799},
        claims={"upn": "user-1@example.com", "pwd_exp": "1209600", "sid": "S-1-5"},
        userinfo={"name": None},
    ),
    # Behind a proxy it names an endpoint that nobody needs by its path alone.
    "GitLab": Personality(
        metadata={"revocation_endpoint": "/oauth/revoke", "introspection_endpoint": "/oauth/introspect"},
        claims={"auth_time": 1700000000, "sub_legacy": "abc", "groups_direct": ["a/b"]},
        tokens={"created_at": 1700000000, "scope": "openid profile"},
        refreshed={"refresh_token": "refresh-2", "id_token": None},
        userinfo={"groups": [], "profile": "https://gitlab.example/user-1"},
    ),
    # Does not say how long a token lives; tells much that is its own.
    "Salesforce": Personality(
        tokens={
            "expires_in": None, "id": "https://login.example/id/00D/005", "instance_url": "https://eu1.example",
            "signature": "c2ln", "issued_at": "1700000000000", "scope": "refresh_token openid profile",
        },
        claims={"custom_attributes": {"a": "b"}},
        userinfo={"urls": {"enterprise": "https://eu1.example/{version}"}, "active": True, "utcOffset": -28800000},
    ),
    # Keys that are listed without alg, tokens without scope, no logout.
    "Dex": Personality(
        path="/dex",
        metadata={"end_session_endpoint": "", "device_authorization_endpoint": "{op}/device/code"},
        key={"alg": None},
        header={"typ": None},
        tokens={"token_type": "bearer", "expires_in": 86399, "scope": None},
        claims={"federated_claims": {"connector_id": "ldap", "user_id": "1"}, "name": "Ünal"},
    ),
    # Sends neither a nonce nor a token_type, which only the operator can allow it.
    "LinkedIn": Personality(
        claims={"nonce": None},
        tokens={"token_type": None},
        methods=("client_secret_post",),
        settings={"op_exceptions": {"{op}": ["no_nonce", "no_token_type"]}},
    ),
    # An issuer for each application, with a slash at its end; discovery moves to it; signs with the client's secret.
    "Authentik": Personality(
        path="/application/o/app",
        issuer="{op}/",
        redirected=True,
        algorithm="HS256",
        site={"id_token_signed_response_alg": "HS256"},
        header={"kid": None},
        claims={"uid": "opaque", "acr": "goauthentik.io/providers/oauth2/default", "amr": ["pwd"]},
        tokens={"scope": ["openid", "profile"]},
    ),
}  # fmt: skip


def site_params(op: BendableOp) -> dict[str, Any]:
    """Return the params of `register_site`: of a client to be registered, or of one that is brought along."""
    client = {} if op.personality.registers else {"client_id": op.personality.client_id, "client_secret": CLIENT_SECRET}
    return {
        "op_host": op.url,
        "authorization_redirect_uri": REDIRECT_URI,
        "post_logout_redirect_uri": LOGOUT_URI,
        "scope": ["openid", "profile"],
        "grant_types": ["authorization_code", "refresh_token"],
        **client,
        **op.personality.site,
    }


async def get_claims(server: ServerProcess, op: BendableOp, oxd_id: str, access_token: str) -> None:
    """Get the user's claims; an OP without the endpoint is named for it."""
    answer = await server.call("get_user_info", oxd_id=oxd_id, access_token=access_token)
    if op.personality.metadata.get("userinfo_endpoint", "there") is None:
        assert answer["data"]["details"] == {"missing": "userinfo_endpoint"}
    else:
        assert data_of(answer)["claims"]["sub"] == ["user-1"]


async def log_out(server: ServerProcess, op: BendableOp, oxd_id: str) -> None:
    """Make the logout URI; an OP without the endpoint has a code of its own."""
    answer = await server.call("get_logout_uri", oxd_id=oxd_id, **op.personality.logout)
    if not op.personality.metadata.get("end_session_endpoint", "there"):
        assert answer["data"]["error"] == "no_end_session_endpoint_at_op"
        return
    query = {name: values[0] for name, values in parse_qs(urlsplit(data_of(answer)["uri"]).query).items()}
    assert query["post_logout_redirect_uri"] == LOGOUT_URI
    assert "id_token_hint" in query or query["client_id"] == op.personality.client_id
    assert query.get("state") == op.personality.logout.get("state")
    for settings in op.personality.settings.get("op_settings", {}).values():
        assert query.keys() >= settings.get("logout_parameters", {}).keys()
    assert query.get("logout_uri", LOGOUT_URI) == LOGOUT_URI
