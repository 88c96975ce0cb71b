"""The checks that a certified relying party passes: one row per module of the certification suite, and some of our own.

Every row runs against a real server process, over its socket, with an OP that misbehaves in exactly that way. A row
says what must come back: `ok`, or which error code and, in the error's details, which check.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.conformance import checks, flows
from tests.conformance.flows import HYBRID, HYBRID_WITH_TOKEN, Command, Rig
from tests.integration.logins import SCOPES
from tests.integration.oxd_process import ServerProcess
from tests.integration.sandbox_provider import running_sandbox
from tests.integration.stored import stored_rows

FRONT = {"url": "https://localhost:8443"}
"""What the configuration says of the front: OPs are told to send logout tokens there."""
OK = ("ok", None)
BAD_SIGNATURE = "invalid_id_token_bad_signature"
BAD_AT_HASH = "invalid_access_token_bad_hash"
BAD_C_HASH = "invalid_authorization_code_bad_hash"
DEVICE = {"grant_types": ["authorization_code", "urn:ietf:params:oauth:grant-type:device_code"]}
DPOP = {"dpop_bound_access_tokens": True}
LOGOUT = {"backchannel_logout": True, "backchannel_logout_session_required": True}
ALL_SCOPES = [*SCOPES, "address", "phone"]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One row: what is special about OP and site, the flow, and what must come back.

    Attributes:
        must: what the relying party must do.
        outcome: `OK`, or the error code and the check in its details.
        site: further params of `register_site`.
        op: attributes of the OP's state: what it demands.
        login: how logins at the site get to their tokens; by the code alone if absent.
        after_flow: the OP misbehaves at the one command only, and not on the way to it.
        accepted: looks closer at an ok answer.
    """

    name: str
    must: str
    outcome: tuple[str, str | None] = OK
    flow: Callable[[Rig], Awaitable[Command]] = flows.by_code
    faults: tuple[str, ...] = ()
    site: Mapping[str, Any] = field(default_factory=dict)
    op: Mapping[str, Any] = field(default_factory=dict)
    login: Callable[[Rig], Awaitable[Command]] | None = None
    after_flow: bool = False
    accepted: Callable[[Rig, dict[str, Any]], Awaitable[None]] | None = None


async def run_case(case: Case, server: ServerProcess, folder: Path) -> None:
    """Run one row; `folder` has the server's files. Raises `AssertionError` if it fails."""
    async with running_sandbox() as op:
        rig = Rig(server, folder, op, case.site, login=case.login)
        for name, value in case.op.items():
            setattr(op.state, name, value)
        op.state.faults = set() if case.after_flow else set(case.faults)
        command, params = await case.flow(rig)
        op.state.faults = set(case.faults)
        before = _kept(folder)
        site = {"oxd_id": rig.rp.oxd_id} if rig.rp is not None else {}
        answer = await server.call(command, **site, **params)
        data = answer["data"]
        if answer["status"] == "ok":
            assert case.outcome == OK, f"accepted: {sorted(data)}"
            if case.accepted is not None:
                await case.accepted(rig, data)
            return
        got = (data["error"], (data["details"] or {}).get("check"))
        assert got == case.outcome, f"{got}: {data['error_description']}"
        assert _kept(folder) == before, "something was stored after the refusal"
        op.state.faults.clear()
        await rig.log_in()  # the server serves, and the next login succeeds


def _kept(folder: Path) -> Any:
    """What is known of all sites and of their logins; a state that was used up may be remembered as such."""
    rows = stored_rows(folder)
    return rows["site"], rows["site_session"]


def _authentication(method: str, **site: Any) -> Case:
    return Case(
        name=method if method != "none" else "none-with-pkce",
        must="authenticate that way",
        site={"client_token_endpoint_auth_method": method, **site},
        accepted=checks.authenticated_as_registered,
    )


def _signed(alg: str) -> Case:
    return Case(
        name=f"idtoken-sig-{alg.lower()}",
        must="accept",
        site={"id_token_signed_response_alg": alg},
        accepted=checks.signed_as_registered,
    )


def _badly_signed(alg: str) -> Case:
    return Case(
        name=f"invalid-sig-{alg.lower()}",
        must="refuse the id_token",
        site={"id_token_signed_response_alg": alg},
        faults=("id_token_bad_signature",),
        outcome=(BAD_SIGNATURE, "bad_signature"),
    )


def _bad_id_token(name: str, fault: str, code: str, check: str | None) -> Case:
    return Case(name=name, must="refuse the id_token", faults=(fault,), outcome=(code, check))


def _bad_logout(name: str, fault: str, check: str) -> Case:
    return Case(name=f"backchannel-logout-{name}", must="refuse the logout token", flow=flows.backchannel_logout,
                site=LOGOUT, faults=(fault,), outcome=("invalid_logout_token", check))  # fmt: skip


def _bad_refreshed(name: str, fault: str, code: str, check: str) -> Case:
    return Case(name=name, must="refuse the refreshed id_token", flow=flows.refresh, faults=(fault,),
                after_flow=True, outcome=(code, check))  # fmt: skip


# The client plans of FAPI 2.0: the Security Profile, and Message Signing with request objects and signed responses.

FAPI2 = {
    "client_token_endpoint_auth_method": "private_key_jwt",
    "client_token_endpoint_auth_signing_alg": "ES256",
    "id_token_signed_response_alg": "ES256",
    "authorization_response_iss_required": True,
    **DPOP,
}
MESSAGE_SIGNING = {
    **FAPI2,
    "require_signed_request_object": True,
    "request_object_signing_alg": "ES256",
    "response_mode": "jwt",
    "authorization_signed_response_alg": "ES256",
}
BAD_RESPONSE = "invalid_authorization_response"


def _fapi2(name: str, fault: str | None = None, outcome: tuple[str, str | None] = OK, **more: Any) -> Case:
    must = "accept" if outcome == OK else "refuse"
    return Case(
        name=f"fapi2-{name}",
        **{
            "must": must,
            "outcome": outcome,
            "site": FAPI2,
            "op": {"requires_pushed_requests": True},
            "flow": flows.by_all_that_came,
            "login": flows.by_all_that_came,
            "faults": () if fault is None else (fault,),
            "accepted": checks.userinfo_too,
            **more,
        },
    )


def _jarm(name: str, fault: str | None = None, check: str | None = None, **more: Any) -> Case:
    outcome = OK if check is None else (BAD_RESPONSE, check)
    op = {"requires_pushed_requests": True, "requires_signed_requests": True}
    flow = {"flow": flows.by_signed_response, "login": flows.by_signed_response}
    return _fapi2(name, fault, outcome, **{"site": MESSAGE_SIGNING, "op": op, **flow, **more})


def _fapi2_id_token(name: str, fault: str, code: str, check: str) -> Case:
    return _fapi2(f"{name}", fault, (code, check), must="refuse the id_token")


FAPI2_CASES = (
    _fapi2("happy-path", must="push, log in, get userinfo"),
    _fapi2("discovery-issuer-mismatch", "discovery_bad_issuer", ("no_connect_discovery_response", "issuer"),
           flow=flows.registration, must="refuse the OP"),
    _fapi2_id_token("invalid-iss", "id_token_bad_iss", "invalid_id_token_bad_issuer", "bad_issuer"),
    _fapi2_id_token("invalid-missing-iss", "id_token_missing_iss", "invalid_id_token_bad_issuer", "missing_issuer"),
    _fapi2_id_token("invalid-aud", "id_token_bad_aud", "invalid_id_token_bad_audience", "bad_audience"),
    _fapi2_id_token("invalid-missing-aud", "id_token_missing_aud", "invalid_id_token_bad_audience",
                    "missing_audience"),
    _fapi2_id_token("invalid-secondary-aud", "id_token_other_audience_too", "invalid_id_token_bad_audience",
                    "untrusted_audience"),
    _fapi2("valid-aud-as-array", "id_token_aud_as_list"),
    _fapi2_id_token("invalid-null-alg", "id_token_alg_none", BAD_SIGNATURE, "algorithm_not_allowed"),
    _fapi2_id_token("invalid-alternate-alg", "id_token_other_alg", BAD_SIGNATURE, "algorithm_not_allowed"),
    _fapi2_id_token("invalid-unknown-kid", "id_token_unknown_kid", BAD_SIGNATURE, "key_not_found"),
    _fapi2_id_token("invalid-signature", "id_token_bad_signature", BAD_SIGNATURE, "bad_signature"),
    _fapi2_id_token("invalid-expired-exp", "id_token_expired", "invalid_id_token_expired", "expired"),
    _fapi2_id_token("invalid-missing-exp", "id_token_missing_exp", "invalid_id_token", "missing_expiry"),
    _fapi2_id_token("invalid-nonce", "id_token_bad_nonce", "invalid_id_token_bad_nonce", "bad_nonce"),
    _fapi2_id_token("invalid-missing-nonce", "id_token_missing_nonce", "invalid_id_token_bad_nonce",
                    "missing_nonce"),
    _fapi2("invalid-authorization-response-iss", "authorization_bad_iss", ("invalid_id_token_bad_issuer", "iss"),
           must="refuse before the code is sent"),
    _fapi2("remove-authorization-response-iss", "authorization_missing_iss",
           ("invalid_id_token_bad_issuer", "missing_iss"), must="refuse before the code is sent"),
    _fapi2("authorization-response-with-invalid-state", "authorization_bad_state", ("bad_request", "state_unknown"),
           must="refuse before the code is sent"),
    _fapi2("authorization-response-with-missing-state", "authorization_missing_state",
           ("bad_request", "missing_parameter"), must="refuse before the code is sent"),
    _fapi2("dpop-nonce", "dpop_nonce_at_token_endpoint", must="answer the challenge once"),
    _fapi2("token-endpoint-response-without-expires-in", "token_without_expires_in"),
    _fapi2("token-type-case-insensitivity", "token_type_in_other_case"),
    _jarm("ms-happy-path", must="push a signed request, take a signed response"),
    _jarm("ms-jarm-without-iss", "response_missing_iss", "missing_issuer"),
    _jarm("ms-jarm-with-invalid-iss", "response_bad_iss", "bad_issuer"),
    _jarm("ms-jarm-without-aud", "response_missing_aud", "missing_audience"),
    _jarm("ms-jarm-with-invalid-aud", "response_bad_aud", "bad_audience"),
    _jarm("ms-jarm-without-exp", "response_missing_exp", "missing_expiry"),
    _jarm("ms-jarm-with-expired-exp", "response_expired", "expired"),
    _jarm("ms-jarm-with-invalid-sig", "response_bad_signature", "bad_signature"),
    _jarm("ms-jarm-signature-alg-is-none", "response_alg_none", "algorithm_not_allowed"),
    _jarm("ms-plain-response-in-its-place", None, "not_signed", flow=flows.by_code_of_signed_response),
)  # fmt: skip

CASES = (
    Case(name="happy-path-code-flow", must="log in, get userinfo", accepted=checks.userinfo_too),
    Case(name="happy-path-hybrid-flow", must="accept both id_tokens", flow=flows.front_channel, site=HYBRID,
         accepted=checks.code_works_too),
    _authentication("client_secret_basic"),
    _authentication("client_secret_post"),
    _authentication("client_secret_jwt", client_token_endpoint_auth_signing_alg="HS256"),
    _authentication("private_key_jwt", client_token_endpoint_auth_signing_alg="ES256"),
    _authentication("none"),
    _bad_id_token("invalid-iss", "id_token_bad_iss", "invalid_id_token_bad_issuer", "bad_issuer"),
    _bad_id_token("missing-sub", "id_token_missing_sub", "invalid_id_token", "missing_subject"),
    _bad_id_token("invalid-aud", "id_token_bad_aud", "invalid_id_token_bad_audience", "bad_audience"),
    _bad_id_token("additional-aud", "id_token_other_audience_too", "invalid_id_token_bad_audience",
                  "untrusted_audience"),
    _bad_id_token("invalid-azp", "id_token_bad_azp", "invalid_id_token_bad_audience", "bad_authorized_party"),
    _bad_id_token("missing-iat", "id_token_missing_iat", "invalid_id_token", "missing_issued_at"),
    _bad_id_token("future-iat", "id_token_from_the_future", "invalid_id_token_expired", "issued_in_the_future"),
    _bad_id_token("missing-exp", "id_token_missing_exp", "invalid_id_token", "missing_expiry"),
    _bad_id_token("expired", "id_token_expired", "invalid_id_token_expired", "expired"),
    _bad_id_token("nonce-invalid", "id_token_bad_nonce", "invalid_id_token_bad_nonce", "bad_nonce"),
    _bad_id_token("nonce-missing", "id_token_missing_nonce", "invalid_id_token_bad_nonce", "missing_nonce"),
    *(_badly_signed(alg) for alg in ("RS256", "PS256", "ES256", "EdDSA", "HS256")),
    _bad_id_token("idtoken-sig-none", "id_token_alg_none", BAD_SIGNATURE, "algorithm_not_allowed"),
    _bad_id_token("idtoken-sig-hmac-with-public-key", "id_token_hmac_with_public_key", BAD_SIGNATURE,
                  "algorithm_not_allowed"),
    _bad_id_token("idtoken-too-long-for-a-frame", "id_token_many_groups", "response_too_long", None),
    Case(name="kid-absent-single-jwks", must="accept", faults=("id_token_without_kid", "key_set_single_key"),
         accepted=checks.userinfo_too),
    Case(name="kid-absent-multiple-jwks", must="refuse: several keys match",
         faults=("id_token_without_kid", "key_set_several_keys"), outcome=(BAD_SIGNATURE, "key_ambiguous")),
    *(_signed(alg) for alg in ("RS256", "PS256", "ES256", "EdDSA", "HS256")),
    Case(name="signing-key-rotation", must="fetch the new key and accept", flow=flows.after_rotation,
         accepted=checks.userinfo_too),
    Case(name="signing-key-rotation-just-before-signing", must="fetch the new key and accept",
         flow=flows.rotation_before_signing, accepted=checks.userinfo_too),
    Case(name="userinfo-invalid-sub", must="refuse the userinfo", flow=flows.userinfo, faults=("userinfo_bad_sub",),
         outcome=("op_invalid_response", "bad_subject")),
    Case(name="userinfo-signed", must="verify and accept", flow=flows.userinfo, accepted=checks.claims_of_all_scopes,
         site={"userinfo_signed_response_alg": "RS256", "scope": ALL_SCOPES}),
    Case(name="userinfo-signed-invalid-sig", must="refuse the userinfo", flow=flows.userinfo,
         site={"userinfo_signed_response_alg": "ES256"}, faults=("userinfo_bad_signature",),
         outcome=("op_invalid_response", "bad_signature")),
    Case(name="userinfo-signed-but-plain", must="refuse the userinfo", flow=flows.userinfo,
         site={"userinfo_signed_response_alg": "RS256"}, faults=("userinfo_not_signed",),
         outcome=("op_invalid_response", "not_signed")),
    Case(name="refresh-token", must="accept the new tokens", flow=flows.refresh, accepted=checks.userinfo_of_refreshed),
    _bad_refreshed("refresh-token-invalid-issuer", "id_token_bad_iss", "invalid_id_token_bad_issuer", "bad_issuer"),
    _bad_refreshed("refresh-token-invalid-sub", "id_token_bad_sub", "invalid_id_token", "bad_subject"),
    _bad_refreshed("refresh-token-invalid-aud", "id_token_bad_aud", "invalid_id_token_bad_audience", "bad_audience"),
    _bad_refreshed("refresh-token-missing-iat", "id_token_missing_iat", "invalid_id_token", "missing_issued_at"),
    _bad_refreshed("refresh-token-other-nonce", "id_token_bad_nonce", "invalid_id_token_bad_nonce", "bad_nonce"),
    _bad_refreshed("refresh-token-new-azp", "id_token_azp", "invalid_id_token_bad_audience", "bad_authorized_party"),
    _bad_refreshed("refresh-token-invalid-sig", "id_token_bad_signature", BAD_SIGNATURE, "bad_signature"),
    Case(name="scope-userinfo-claims", must="return them", flow=flows.userinfo, site={"scope": ALL_SCOPES},
         accepted=checks.claims_of_all_scopes),
    Case(name="discovery-openid-config", must="use it", flow=flows.authorization_url,
         accepted=checks.discovered_endpoint),
    Case(name="discovery-jwks-uri-keys", must="use them", site={"id_token_signed_response_alg": "ES256"},
         accepted=checks.signed_as_registered),
    Case(name="discovery-jwks-uri-without-the-key", must="refuse the id_token",
         site={"id_token_signed_response_alg": "ES256"}, faults=("key_set_single_key",),
         outcome=(BAD_SIGNATURE, "key_not_found")),
    Case(name="discovery-issuer-mismatch", must="refuse the OP", flow=flows.registration,
         faults=("discovery_bad_issuer",), outcome=("no_connect_discovery_response", "issuer")),
    Case(name="dynamic-registration", must="register", flow=flows.registration, accepted=checks.is_registered,
         site={"client_name": "Conformance", "contacts": ["ops@example.org"]}),
    _bad_id_token("invalid-at-hash", "id_token_bad_at_hash", BAD_AT_HASH, "bad_at_hash"),
    Case(name="invalid-at-hash-front-channel", must="refuse the id_token", flow=flows.front_channel_with_token,
         site=HYBRID_WITH_TOKEN, faults=("id_token_bad_at_hash",), outcome=(BAD_AT_HASH, "bad_at_hash")),
    Case(name="missing-at-hash", must="refuse where the flow requires it", flow=flows.front_channel_with_token,
         site=HYBRID_WITH_TOKEN, faults=("id_token_missing_at_hash",), outcome=(BAD_AT_HASH, "missing_at_hash")),
    Case(name="missing-at-hash-code-flow", must="accept: it is optional there", faults=("id_token_missing_at_hash",),
         accepted=checks.userinfo_too),
    Case(name="at-hash-status", must="tell that they belong together", flow=flows.token_and_id_token,
         accepted=checks.belongs_together),
    Case(name="missing-at-hash-status", must="know it from the login", flow=flows.token_and_id_token,
         faults=("id_token_missing_at_hash",), accepted=checks.belongs_together),
    Case(name="missing-at-hash-status-of-an-old-login", must="refuse: it cannot be told",
         flow=flows.token_and_id_token_of_an_old_login, faults=("id_token_missing_at_hash",),
         outcome=(BAD_AT_HASH, "missing_at_hash")),
    Case(name="invalid-c-hash", must="refuse the id_token", flow=flows.front_channel, site=HYBRID,
         faults=("id_token_bad_c_hash",), outcome=(BAD_C_HASH, "bad_c_hash")),
    Case(name="missing-c-hash", must="refuse the id_token", flow=flows.front_channel, site=HYBRID,
         faults=("id_token_missing_c_hash",), outcome=(BAD_C_HASH, "missing_c_hash")),
    Case(name="authorization-response-iss", must="accept", flow=flows.by_code_with_iss, accepted=checks.userinfo_too),
    Case(name="authorization-response-iss-mismatch", must="refuse before the code is sent",
         flow=flows.by_code_with_iss, faults=("authorization_bad_iss",),
         outcome=("invalid_id_token_bad_issuer", "iss")),
    Case(name="rp-init-logout", must="build the request", flow=flows.logout, accepted=checks.state_comes_back),
    Case(name="rp-init-logout-other-state", must="let the application see it", flow=flows.logout,
         faults=("logout_other_state",), accepted=checks.another_state_is_seen),
    Case(name="rp-init-logout-no-state", must="build the request", flow=flows.logout_without_state,
         accepted=checks.no_state_comes_back),
    Case(name="device-login", must="wait while the user has not decided", flow=flows.device_login, site=DEVICE,
         accepted=checks.waits(5)),
    Case(name="device-login-slow-down", must="wait five seconds longer", flow=flows.device_login, site=DEVICE,
         faults=("device_slow_down",), accepted=checks.waits(10)),
    Case(name="dpop", must="bind the tokens and prove it", site=DPOP, accepted=checks.bound),
    Case(name="dpop-refresh", must="bind the new tokens", site=DPOP, flow=flows.refresh, accepted=checks.bound_too),
    Case(name="dpop-nonce-at-token-endpoint", must="answer the challenge once", site=DPOP,
         faults=("dpop_nonce_at_token_endpoint",), accepted=checks.bound),
    Case(name="dpop-nonce-at-userinfo", must="answer the challenge once", site=DPOP, flow=flows.userinfo,
         faults=("dpop_nonce_at_userinfo",), accepted=checks.claims_of_alice),
    Case(name="dpop-nonce-without-end", must="give up after one answer", site=DPOP,
         faults=("dpop_never_content",), outcome=("http_status_400", None)),
    Case(name="dpop-nonce-not-told", must="give up: there is nothing to answer with", site=DPOP,
         faults=("dpop_nonce_not_told",), outcome=("http_status_400", None)),
    Case(name="dpop-token-type-bearer", must="refuse the tokens: they are bound to nothing", site=DPOP,
         faults=("dpop_token_is_bearer",), outcome=("op_invalid_response", "token_type")),
    Case(name="backchannel-logout", must="end the session", flow=flows.backchannel_logout, site=LOGOUT,
         accepted=checks.session_has_ended),
    Case(name="backchannel-logout-again", must="refuse the logout token", flow=flows.backchannel_logout_again,
         site=LOGOUT, outcome=("invalid_logout_token", "used")),
    _bad_logout("invalid-iss", "logout_bad_iss", "bad_issuer"),
    _bad_logout("invalid-aud", "logout_bad_aud", "bad_audience"),
    _bad_logout("missing-iat", "logout_missing_iat", "missing_issued_at"),
    _bad_logout("missing-exp", "logout_missing_exp", "missing_expiry"),
    _bad_logout("expired", "logout_expired", "expired"),
    _bad_logout("long-ago", "logout_long_ago", "too_old"),
    _bad_logout("missing-jti", "logout_missing_jti", "missing_jti"),
    _bad_logout("missing-event", "logout_missing_event", "missing_event"),
    _bad_logout("missing-sub-and-sid", "logout_without_user_and_session", "missing_sub_and_sid"),
    _bad_logout("with-nonce", "logout_with_nonce", "forbidden_nonce"),
    _bad_logout("alg-none", "logout_alg_none", "algorithm_not_allowed"),
    _bad_logout("invalid-sig", "logout_bad_signature", "bad_signature"),
    _bad_logout("other-typ", "logout_bad_typ", "bad_type"),
    *FAPI2_CASES,
)  # fmt: skip
