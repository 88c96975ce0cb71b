"""What tokens are to be for: resource indicators (RFC 8707) and authorization details (RFC 9396)."""

from typing import Any

import msgspec

from oxd_protocol.errors import CommandError
from oxd_protocol.oxd_id import TargetedParams
from oxd_server.op.context import Form
from oxd_server.op.urls import is_absolute_url

__all__ = ["authorization_details", "resources", "targets"]


def targets(params: TargetedParams) -> Form:
    """Return what a token request says of them. Raises ``CommandError`` for what is neither."""
    details = authorization_details(params)
    named = {"resource": resources(params)} if params.resource else {}
    return {**named, **({} if details is None else {"authorization_details": details})}


def resources(params: TargetedParams) -> tuple[str, ...]:
    """Return the resource indicators. Raises ``CommandError`` invalid_request."""
    for uri in params.resource:
        # RFC 8707, section 2: "Its value MUST be an absolute URI [...] The URI MUST NOT include a fragment component."
        if not is_absolute_url(uri) or "#" in uri:
            raise CommandError("invalid_request", f"'resource': {uri[:200]!r} is no absolute URI without a fragment.")
    return params.resource


def authorization_details(params: TargetedParams) -> str | None:
    """Return the authorization details as JSON. Raises ``CommandError`` invalid_request."""
    details: Any = params.authorization_details
    if isinstance(details, str):
        try:
            details = msgspec.json.decode(details)
        except (msgspec.MsgspecError, RecursionError):
            raise CommandError("invalid_request", "'authorization_details' is no JSON.") from None
    if details is None:
        return None
    # RFC 9396, section 2: "an array of JSON objects"; section 2.1: type is "REQUIRED".
    is_list = isinstance(details, list)
    if not is_list or not all(isinstance(each, dict) and isinstance(each.get("type"), str) for each in details):
        raise CommandError("invalid_request", "'authorization_details' must be a list of objects with a type.")
    return msgspec.json.encode(details).decode()
