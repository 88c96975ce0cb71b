"""Dialect 4.0-beta, of Gluu Gateway 1.0: dialect 4, but claims are lists of texts, and codes are as before. Pure."""

from typing import Any

from oxd_protocol.messages import claims_as_lists
from oxd_server.entrances.dialects.flat import Flat

__all__ = ["Beta"]


class Beta(Flat):
    """Dialect 4 with claims as in oxd 3.1 and its names of the protection codes."""

    name = "4-beta"

    def shape(self, name: str, data: dict[str, Any]) -> Any:
        """Return the data with claims as lists."""
        if name == "get_user_info":
            return {"claims": claims_as_lists(data["claims"])}
        if name == "get_tokens_by_code":
            return data | {"id_token_claims": claims_as_lists(data["id_token_claims"])}
        return super().shape(name, data)

    def code(self, code: str) -> str:
        """Return the code as it is."""
        return code
