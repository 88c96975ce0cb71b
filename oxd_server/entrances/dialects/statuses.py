"""The error codes of oxd 4.x and their HTTP statuses. Pure."""

from collections.abc import Mapping
from typing import Final

__all__ = ["flat_code", "status_of"]

_BAD_REQUEST: Final = (
    "bad_request", "bad_request_no_issuer", "bad_request_invalid_target_uri", "bad_request_no_resource",
    "bad_request_no_oxd_host", "invalid_oxd_id", "invalid_request", "invalid_nonce", "invalid_state",
    "invalid_client_id", "invalid_client_secret", "invalid_op_host", "invalid_op_configuration_endpoint",
    "invalid_op_host_and_configuration_endpoint", "invalid_allowed_op_host_url", "restricted_op_host",
    "invalid_redirect_uri", "redirect_uri_has_fragment_component", "redirect_uri_is_not_registered", "invalid_scope",
    "invalid_acr_values", "invalid_algorithm", "invalid_subject_type", "invalid_uma_request", "invalid_http_method",
    "invalid_uma_scope_parameter", "invalid_path_parameter", "invalid_ticket_parameter",
    "invalid_claims_redirect_uri_parameter", "invalid_rpt_parameter", "invalid_claim_token_or_claim_token_form",
    "http_method_not_unique", "invalid_scope_expression", "uma_protection_exists", "parameter_out_of_bound",
    "id_token_without_signature_not_allowed", "invalid_authorization_oxd_id", "authorization_oxd_id_not_found",
    "invalid_ticket", "invalid_authorization_response", "authorization_refused",
)  # fmt: skip
_FORBIDDEN: Final = (
    "blank_access_token", "inactive_access_token", "invalid_access_token", "access_token_insufficient_scope",
    "need_info", "oxd_access_denied", "invalid_client_certificate", "rpt_not_authorized", "no_setup_client_for_oxd_id",
)  # fmt: skip
_OTHERS: Final = {
    "request_object_not_found": 404,
    "request_too_long": 413,
    "op_unreachable": 502,
    "op_invalid_response": 502,
    "server_busy": 503,
    "storage_unavailable": 503,
}
_STATUSES: Final[Mapping[str, int]] = dict.fromkeys(_BAD_REQUEST, 400) | dict.fromkeys(_FORBIDDEN, 403) | _OTHERS
_INTERNAL: Final = 500

_NEW_NAMES: Final[Mapping[str, str]] = {
    "blank_protection_access_token": "blank_access_token",
    "inactive_protection_access_token": "inactive_access_token",
    "invalid_protection_access_token": "invalid_access_token",
    "protection_access_token_insufficient_scope": "access_token_insufficient_scope",
    "invalid_authorization_redirect_uri": "invalid_redirect_uri",
}


def flat_code(code: str) -> str:
    """Return the name that oxd 4.x has for a code of the socket."""
    return _NEW_NAMES.get(code, code)


def status_of(code: str) -> int:
    """Return the HTTP status of an error code, in the spelling of either generation."""
    return _STATUSES.get(flat_code(code), _INTERNAL)
