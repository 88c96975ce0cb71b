"""What can go wrong on the wire, and the codes that say so.

Two families, and they are handled differently:

* ``FramingError``: the byte stream itself broke. One error frame is sent and the connection closes, because
  nobody can say where the next frame would begin.
* ``CommandError``: one command cannot be done. Its error frame is sent and the connection stays open.

The codes are the contract that client libraries compare; the descriptions are for people.
"""

from collections.abc import Mapping

__all__ = ["ERROR_CODES", "HTTP_STATUS_PREFIX", "CommandError", "FramingError", "ParamsError"]

HTTP_STATUS_PREFIX = "http_status_"
"""An OP's error answer keeps its HTTP status in the code: ``http_status_401``."""

ERROR_CODES: Mapping[str, str] = {
    "internal_error": "oxd server failed to handle command. Please check logs for details.",
    "unsupported_operation": "This server does not support the command.",
    "invalid_request": "The request is not valid. Check the command's parameters.",
    "bad_request": "A required parameter is missing or blank.",
    "request_too_long": "The request is longer than this server accepts.",
    "response_too_long": "The answer does not fit into one frame. Ask for it over HTTPS, which has no such limit.",
    "server_busy": "The server has as many commands or connections as it may. Try again shortly.",
    "storage_unavailable": (
        "Where this server keeps its sites cannot be reached, or takes nothing, just now. Try again shortly."
    ),
    "invalid_oxd_id": "No site has this oxd_id. Register the site first with register_site.",
    "invalid_op_host": "The op_host is missing or is not the URL of an OpenID Provider.",
    "restricted_op_host": "This server's configuration does not allow that op_host (see allowed_op_hosts).",
    "op_unreachable": "The OpenID Provider cannot be reached or did not answer in time.",
    "op_invalid_response": "The OpenID Provider's answer makes no sense.",
    "invalid_authorization_redirect_uri": "authorization_redirect_uri must be an absolute URL.",
    "invalid_scope": "No scope is given, neither in the command nor in the default site configuration.",
    "invalid_acr_values": "The acr_values are not valid.",
    "invalid_algorithm": "The algorithm is not supported.",
    "invalid_registration_client_url": (
        "The site has no client_registration_client_uri, so its registration at the OP cannot be changed."
    ),
    "no_connect_discovery_response": "The OP's OpenID Connect discovery document cannot be had.",
    "no_uma_discovery_response": "The authorization server's UMA 2.0 discovery document cannot be had.",
    "no_end_session_endpoint_at_op": "The OP's metadata names no end_session_endpoint.",
    "no_revocation_endpoint_at_op": "The OP's metadata names no revocation_endpoint.",
    "no_id_token": "The OP's token response has no id_token. Is openid among the scopes?",
    "no_access_token": "The OP's token response has no access_token.",
    "invalid_nonce": "The nonce is not valid.",
    "invalid_state": "The state is not valid.",
    "invalid_id_token": "The id_token is not valid.",
    "invalid_id_token_bad_nonce": "The id_token's nonce is not the one that was issued with the state.",
    "invalid_id_token_bad_audience": "The id_token is not meant for this client.",
    "invalid_id_token_expired": "The id_token has expired or was not issued at a plausible time.",
    "invalid_id_token_bad_issuer": "The id_token's issuer is not the OP's issuer.",
    "invalid_id_token_bad_signature": "The id_token's signature cannot be verified with the OP's keys.",
    "invalid_id_token_unknown": "The id_token cannot be accepted.",
    "invalid_dpop_proof": "The DPoP proof is not valid, or the token needs one.",
    "invalid_logout_token": "The logout token is not valid.",
    "invalid_access_token_bad_hash": "The id_token's at_hash does not belong to the access token.",
    "invalid_authorization_code_bad_hash": "The id_token's c_hash does not belong to the authorization code.",
    "invalid_state_bad_hash": "The id_token's s_hash does not belong to the state.",
    "invalid_authorization_response": "The authorization response is not valid.",
    "authorization_refused": "The OP, or the user there, refused the login.",
    "invalid_client_certificate": "The access token is bound to another certificate than the one that came with it.",
    "remove_site_failed": "The site could not be removed.",
    "blank_protection_access_token": "protection_access_token is missing or blank; this command needs one.",
    "no_setup_client_for_oxd_id": "No setup client belongs to this site. Call setup_client first.",
    "inactive_protection_access_token": "The protection_access_token is not active. Get a new one.",
    "invalid_introspection_response": "The introspection answer for the protection_access_token has no client_id.",
    "protection_access_token_insufficient_scope": "The protection_access_token does not have the scope oxd.",
    "invalid_protection_access_token": (
        "The protection_access_token belongs to another client than the site's setup client."
    ),
    "redirect_uri_is_not_registered": "The redirect_uri is none of the site's registered ones.",
    "invalid_op_configuration_endpoint": (
        "op_configuration_endpoint must be a URL that ends with /.well-known/openid-configuration."
    ),
    "bad_request_no_resource": "resource is missing or blank.",
    "bad_request_no_oxd_host": "oxd_host_url is missing, and the configuration has no https.url either.",
    "request_object_not_found": "There is no such request object, or it has expired.",
    "bad_request_no_issuer": "iss is missing or blank.",
    "bad_request_invalid_target_uri": "The target_link_uri is none of the site's registered redirect URIs.",
    "failed_to_get_issuer": "The issuer could not be found out with WebFinger.",
    "invalid_issuer_discovered": "The issuer that WebFinger names is not that of the OP.",
    "authorization_oxd_id_not_found": "No site has the authorization_oxd_id (the header AuthorizationOxdId).",
    "invalid_authorization_oxd_id": (
        "The site of authorization_oxd_id (the header AuthorizationOxdId) may not act for this one."
    ),
    "invalid_uma_request": "There is nothing to protect: resources is empty.",
    "invalid_http_method": "http_method is missing or blank.",
    "invalid_path_parameter": "path is missing or blank.",
    "invalid_ticket_parameter": "ticket is missing or blank.",
    "invalid_claims_redirect_uri_parameter": "claims_redirect_uri is missing or blank.",
    "invalid_rpt_parameter": "rpt is missing or blank.",
    "http_method_not_unique": "An HTTP method may occur only once within one path.",
    "invalid_scope_expression": "The scope_expression is not valid.",
    "uma_protection_exists": "Resources are protected already. Send overwrite: true to replace them.",
    "need_info": (
        "The authorization server needs additional information in order to determine whether the client is "
        "authorized to have these permissions."
    ),
    "invalid_ticket": "Ticket is not valid (outdated or not present on Authorization Server).",
    "rpt_not_authorized": "The RPT is not authorized.",
}
"""Every code but the ``http_status_<N>`` family, with the description used where nothing better is known."""


class FramingError(Exception):
    """The byte stream is not a sequence of frames; after one error frame the connection closes.

    ``code`` is ``invalid_request`` or ``request_too_long``; ``str(error)`` says what was wrong.
    """

    def __init__(self, description: str, *, code: str = "invalid_request") -> None:
        super().__init__(description)
        self.code = code


class CommandError(Exception):
    """A command cannot be done: a wire code, a sentence for a person, and details for a program.

    Raises ``ValueError`` for a code that is not in the table, so that a misspelt one cannot reach a client.
    """

    def __init__(self, code: str, description: str | None = None, details: Mapping[str, object] | None = None) -> None:
        if code not in ERROR_CODES and not _is_http_status(code):
            raise ValueError(f"{code!r} is not an error code of the protocol")
        self.code = code
        self.description = description or ERROR_CODES.get(code, "The OP answered with this HTTP status.")
        self.details = details
        super().__init__(f"{code}: {self.description}")


class ParamsError(CommandError):
    """The params have the wrong shape or a wrong type: HTTP's "bad request" rather than a refused command."""

    def __init__(self, description: str) -> None:
        super().__init__("invalid_request", description)


def _is_http_status(code: str) -> bool:
    number = code.removeprefix(HTTP_STATUS_PREFIX)
    return number != code and len(number) == 3 and number.isascii() and number.isdecimal()
