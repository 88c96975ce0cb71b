"""The commands for a login on another device: one without a browser, or where nobody wants to type (RFC 8628)."""

from typing import Annotated

from msgspec import Meta

from oxd_protocol.oxd_id import OxdIdParams, TargetedParams
from oxd_protocol.params import Command, Result, Token, WordList

__all__ = [
    "POLL_DEVICE_LOGIN",
    "START_DEVICE_LOGIN",
    "PollDeviceLoginParams",
    "PollDeviceLoginResult",
    "StartDeviceLoginParams",
    "StartDeviceLoginResult",
]


class StartDeviceLoginParams(TargetedParams, frozen=True, kw_only=True):
    """What the login is to be good for."""

    scope: Annotated[WordList, Meta(description="Default: the site's registered scopes.")] = ()
    acr_values: Annotated[WordList, Meta(description="Default: the site's acr_values.")] = ()


class StartDeviceLoginResult(Result, frozen=True, kw_only=True):
    """What to show to the user, and what to poll with; times in seconds."""

    device_code: str
    user_code: str
    verification_uri: str
    verification_uri_complete: str | None
    expires_in: int
    interval: int


class PollDeviceLoginParams(OxdIdParams, frozen=True, kw_only=True):
    """Which login."""

    device_code: Annotated[Token, Meta(description="The device_code from start_device_login.")]


class PollDeviceLoginResult(Result, frozen=True, kw_only=True):
    """``pending`` and how many seconds to wait before the next poll, or ``complete`` and the tokens."""

    status: str
    interval: int = 0
    access_token: str | None = None
    expires_in: int = 0
    id_token: str | None = None
    refresh_token: str | None = None


START_DEVICE_LOGIN = Command(
    "start_device_login",
    StartDeviceLoginParams,
    StartDeviceLoginResult,
    "Starts a login on another device: the user goes to a URL there and enters a code.",
    changes=True,
)
POLL_DEVICE_LOGIN = Command(
    "poll_device_login",
    PollDeviceLoginParams,
    PollDeviceLoginResult,
    "Asks whether the user has logged in on the other device, and gets the tokens.",
    changes=True,
)
