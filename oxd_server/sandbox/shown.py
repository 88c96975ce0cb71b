"""How JSON is shown to people: what is secret shortened."""

import re
from typing import Any

__all__ = ["shortened"]

_SECRETS = {
    "access_token", "refresh_token", "id_token", "id_token_hint", "client_secret", "code", "code_verifier",
    "client_assertion", "registration_access_token", "client_registration_access_token", "rpt", "pct", "token", "dpop",
    "subject_token", "logout_token",
}  # fmt: skip
_SECRETS_IN_URLS = re.compile(r"(id_token_hint|code_challenge|request)=([^&]{12})[^&]+")
_SHOWN = 12


def shortened(value: Any, name: str = "") -> Any:
    """The value with every secret in it cut after a few characters."""
    if isinstance(value, dict):
        return {key: shortened(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [shortened(item, name) for item in value]
    if isinstance(value, str) and name in _SECRETS and len(value) > _SHOWN:
        return f"{value[:_SHOWN]}… ({len(value)} characters)"
    if isinstance(value, str):
        return _SECRETS_IN_URLS.sub(r"\1=\2…", value)
    return value
