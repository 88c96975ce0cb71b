"""What the specifications leave to the client and OPs differ in: set by the operator for one OP, not at all by default.

Pure.
"""

from collections.abc import Callable
from typing import Final

import msgspec

TOKEN_ENDPOINT: Final = "token_endpoint"
ISSUER: Final = "issuer"
ASSERTION_AUDIENCES: Final = (TOKEN_ENDPOINT, ISSUER)

NO_NONCE: Final = "no_nonce"
NO_TOKEN_TYPE: Final = "no_token_type"
EXCEPTIONS: Final = {
    NO_NONCE: "id_tokens without a nonce are accepted, so that one which was stolen may be put into another login",
    NO_TOKEN_TYPE: "access tokens without a token_type are taken for Bearer tokens",
}
"""What an OP may be allowed to leave out, and what that means."""


class OpSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What is special about one OP.

    Attributes:
        issuer: another one than the URL that its metadata is under; `{tenantid}` in it stands for the `tid` of a token.
        assertion_audience: of client assertions, one of `ASSERTION_AUDIENCES`; default: see `assertion_audience`.
        fapi_enabled: the FAPI profile is asked for: the audience of assertions is always the issuer.
        trusted_audiences: what may stand beside the client in `aud`, or as `azp`.
        logout_parameters: further parameters of the logout request; `{client_id}` and `{post_logout_redirect_uri}` in
            the values are filled in.
        exceptions: from `EXCEPTIONS`.
    """

    issuer: str | None = None
    assertion_audience: str | None = None
    fapi_enabled: bool = False
    trusted_audiences: tuple[str, ...] = ()
    logout_parameters: dict[str, str] = {}
    exceptions: tuple[str, ...] = ()

    def allows(self, exception: str) -> bool:
        """Whether the operator allows the OP this exception."""
        return exception in self.exceptions


NOTHING_SPECIAL: Final = OpSettings()

SettingsOf = Callable[[str], OpSettings]
"""The settings of the OP whose metadata is under this URL, without the well-known name."""


def nothing_special(_: str) -> OpSettings:
    """No OP is special."""
    return NOTHING_SPECIAL
