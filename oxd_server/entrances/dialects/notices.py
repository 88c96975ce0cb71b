"""What OPs themselves send: the same in every dialect, for its specification has laid it down. Pure.

Specification: OpenID Connect Back-Channel Logout 1.0, sections 2.5 and 2.8.
"""

from typing import Any, Final
from urllib.parse import parse_qs

from oxd_protocol.json_text import encode_json
from oxd_protocol.logout import BACKCHANNEL_LOGOUT
from oxd_protocol.messages import Response
from oxd_protocol.params import AnyCommand
from oxd_server.entrances.dialects.base import Answer, Refused, Route
from oxd_server.entrances.http1_messages import HttpRequest

__all__ = ["LOGOUT_PATH", "Notices"]

LOGOUT_PATH: Final = "/backchannel-logout"
_FORM: Final = "application/x-www-form-urlencoded"
_MOST_FIELDS: Final = 20


class Notices:
    """A form comes in; an empty answer says that all is well, and 400 that it is not."""

    name = "notices"

    def find(self, path: str) -> Route | None:
        """Return where the path leads: its last part names the site."""
        stem, _, oxd_id = path.rpartition("/")
        return Route(BACKCHANNEL_LOGOUT, params={"oxd_id": oxd_id}) if stem == LOGOUT_PATH and oxd_id else None

    def read(self, route: Route, request: HttpRequest) -> dict[str, Any]:
        """Return the logout token and the site."""
        # Section 2.5: "The POST body uses the application/x-www-form-urlencoded encoding and must include a
        # logout_token parameter".
        if (request.header("content-type") or "").partition(";")[0].strip().lower() != _FORM:
            raise Refused(400, f"The body is not {_FORM}.")
        try:
            fields = parse_qs(request.body.decode("ascii"), max_num_fields=_MOST_FIELDS)
        except ValueError:
            raise Refused(400, "The body is no form.") from None
        tokens = fields.get("logout_token", [])
        if len(tokens) != 1:
            raise Refused(400, "There is not exactly one logout_token.")
        return {**route.params, "logout_token": tokens[0]}

    def encode(self, command: AnyCommand, response: Response) -> Answer:
        """Return the answer of section 2.8."""
        del command
        if response.status == "ok":
            return Answer(200, b"")
        # "If the logout request was invalid or the logout failed, the RP MUST respond with HTTP 400 Bad Request."
        return self.error(400, response.data["error_description"])

    def error(self, status: int, description: str) -> Answer:
        """Return an error of the front itself, in the shape of RFC 6749, section 5.2."""
        return Answer(status, encode_json({"error": "invalid_request", "error_description": description}))
