"""How frames and claims are shown to people: pretty, explained, secrets shortened."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from oxd_protocol.client import Exchange
from oxd_server.sandbox.shown import shortened

__all__ = ["first_value", "pretty_frame", "readable_frames", "readable_value"]

_EXPLANATIONS = {
    "register_site": "The application introduces itself; the server registers it at the provider.",
    "get_authorization_url": "Where to send the browser to log in. State, nonce and PKCE are made by the server.",
    "get_tokens_by_code": "The code that the browser brought back becomes tokens; the id_token is checked on the way.",
    "get_user_info": "The access token is exchanged for what the provider knows about the user.",
    "get_access_token_by_refresh_token": "A new access token, without asking the user again.",
    "get_logout_uri": "Where to send the browser so that the session at the provider ends too.",
    "remove_site": "The application leaves; the server forgets it.",
}


def readable_frames(exchanges: Iterable[Exchange]) -> list[dict[str, Any]]:
    """What the template shows of each command and its answer."""
    return [
        {
            "command": exchange.command,
            "explanation": _EXPLANATIONS.get(exchange.command, ""),
            "failed": not exchange.ok,
            "sent": pretty_frame(exchange.sent),
            "sent_bytes": len(exchange.sent),
            "received": pretty_frame(exchange.received),
            "received_bytes": len(exchange.received),
        }
        for exchange in exchanges
    ]


def pretty_frame(frame: bytes) -> str:
    """The four digits and the JSON below them, indented, with secrets shortened."""
    header, body = frame[:4].decode("ascii", "replace"), frame[4:]
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return header + body.decode("utf-8", "replace")
    return f"{header}\n{json.dumps(shortened(value), indent=2, ensure_ascii=False)}"


def first_value(claims: Mapping[str, Any], name: str) -> str:
    """A claim's first value: the wire has lists of strings."""
    value = claims.get(name)
    value = value[0] if isinstance(value, list) and value else value
    return str(value) if value else ""


def readable_value(value: Any) -> str:
    """A claim's values for people: one after the other, the members of an object line by line."""
    items = value if isinstance(value, list) else [value]
    return ", ".join(_members(item) if isinstance(item, str) else json.dumps(item) for item in items)


def _members(text: str) -> str:
    """`name: value` lines of a text that is a JSON object; any other text as it is."""
    try:
        members = json.loads(text) if text.startswith("{") else None
    except (ValueError, RecursionError):
        return text
    if not isinstance(members, dict):
        return text
    return "\n".join(f"{name}: {value}" for name, value in members.items())
