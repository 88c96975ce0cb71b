"""What the specifications leave to the client and OPs differ in: set by the operator for one OP, by default not at all.

Pure.
"""

from collections.abc import Callable, Mapping
from typing import Final, Literal

import msgspec

__all__ = [
    "EXCEPTIONS",
    "ISSUER",
    "NOTHING_SPECIAL",
    "NO_NONCE",
    "NO_TOKEN_TYPE",
    "TOKEN_ENDPOINT",
    "OpException",
    "OpSettings",
    "SettingsOf",
    "nothing_special",
    "settings_of",
]

TOKEN_ENDPOINT: Final = "token_endpoint"
ISSUER: Final = "issuer"
NO_NONCE: Final = "no_nonce"
NO_TOKEN_TYPE: Final = "no_token_type"
EXCEPTIONS: Final = {
    NO_NONCE: "id_tokens without a nonce are accepted, so that a stolen one can be put into somebody else's login",
    NO_TOKEN_TYPE: "access tokens without a token_type are taken for Bearer tokens",
}
"""What an OP may be allowed to leave out, and what that means."""

OpException = Literal["no_nonce", "no_token_type"]


class OpSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is special about one OP.

    Attributes:
        issuer: another one than the URL that its metadata is under; `{tenantid}` in it stands for the `tid` of a token.
        assertion_audience: of client assertions; None: see `client_auth.assertion_audience`.
        fapi_enabled: the FAPI profile is asked for: the audience of assertions is always the issuer.
        trusted_audiences: what may stand beside the client in `aud`, or as `azp`.
        logout_parameters: further parameters of the logout request; `{client_id}` and `{post_logout_redirect_uri}` in
            the values are filled in.
        exceptions: what the OP may leave out.
    """

    issuer: str | None = None
    assertion_audience: Literal["token_endpoint", "issuer"] | None = None
    fapi_enabled: bool = False
    trusted_audiences: tuple[str, ...] = ()
    logout_parameters: dict[str, str] = {}
    exceptions: tuple[OpException, ...] = ()

    def allows(self, exception: str) -> bool:
        """Whether the operator allows the OP this exception."""
        return exception in self.exceptions


NOTHING_SPECIAL: Final = OpSettings()

SettingsOf = Callable[[str], OpSettings]
"""The settings of the OP whose metadata is under this URL, without the well-known name."""


def nothing_special(_: str) -> OpSettings:
    """No OP is special."""
    return NOTHING_SPECIAL


def settings_of(
    settings: Mapping[str, OpSettings],
    issuers: Mapping[str, str],
    exceptions: Mapping[str, tuple[OpException, ...]],
    url_of: Callable[[str], str],
) -> SettingsOf:
    """What the three keys of the configuration say, by the URL that an OP's metadata is under.

    Args:
        settings: for each OP, how to talk to it.
        issuers: for each OP, the issuer that it calls itself.
        exceptions: for each OP, the rules that it may break.
        url_of: makes that URL of what the configuration names an OP by.
    """
    table = {url_of(op): special for op, special in settings.items()}
    for op, issuer in issuers.items():
        url = url_of(op)
        table[url] = msgspec.structs.replace(table.get(url, NOTHING_SPECIAL), issuer=issuer)
    for op, names in exceptions.items():
        url = url_of(op)
        before = table.get(url, NOTHING_SPECIAL)
        table[url] = msgspec.structs.replace(before, exceptions=(*before.exceptions, *names))
    return lambda url: table.get(url, NOTHING_SPECIAL)
