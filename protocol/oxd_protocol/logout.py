"""The commands about the end of a session that begins elsewhere: at the OP, or in another application."""

from typing import Annotated

from msgspec import Meta

from oxd_protocol.connect import EmptyResult
from oxd_protocol.oxd_id import OxdIdParams
from oxd_protocol.params import Command, Params, Result, Token

__all__ = [
    "BACKCHANNEL_LOGOUT",
    "GET_FRONTCHANNEL_LOGOUT_PAGE",
    "LONGEST_WAIT",
    "SESSION_STATUS",
    "WAIT_FOR_LOGOUT",
    "BackchannelLogoutParams",
    "FrontchannelLogoutPageParams",
    "FrontchannelLogoutPageResult",
    "SessionStatusParams",
    "SessionStatusResult",
    "WaitForLogoutParams",
]

LONGEST_WAIT = 60
"""How many seconds ``wait_for_logout`` waits at most."""


class BackchannelLogoutParams(Params, frozen=True, kw_only=True):
    """What an OP sends to the site's backchannel_logout_uri."""

    oxd_id: Annotated[str, Meta(description="The site, as the last part of the path names it.")]
    logout_token: Annotated[Token, Meta(description="A logout token of the site's OP.")]


class SessionStatusParams(OxdIdParams, frozen=True, kw_only=True):
    """Which session: at least one of sid, sub and id_token says it."""

    sid: Annotated[str, Meta(description="The sid of the user's id_token: one session at the OP.")] | None = None
    sub: Annotated[str, Meta(description="The sub of the user's id_token: any session of this user.")] | None = None
    id_token: Annotated[Token, Meta(description="The user's id_token: its sid, sub and iat count.")] | None = None
    since: (
        Annotated[int, Meta(description="Seconds since 1970: of the user's logouts, earlier ones do not count.")] | None
    ) = None


class SessionStatusResult(Result, frozen=True, kw_only=True):
    """Whether no logout has been heard of; the time of one in seconds since 1970, 0 if there was none."""

    active: bool
    logged_out_at: int = 0


class WaitForLogoutParams(SessionStatusParams, frozen=True, kw_only=True):
    """Which session, and how long to wait."""

    timeout: Annotated[int, Meta(description=f"Seconds to wait at most: 0 to {LONGEST_WAIT}; 30 if absent.")] | None = (
        None
    )


class FrontchannelLogoutPageParams(OxdIdParams, frozen=True, kw_only=True):
    """What came with the browser to the site's frontchannel_logout_uri."""

    iss: Annotated[str, Meta(description="The iss parameter of that request.")] | None = None
    sid: Annotated[str, Meta(description="The sid parameter of that request.")] | None = None
    id_token: (
        Annotated[Token, Meta(description="That of the user whose browser it is: its session must be the one.")] | None
    ) = None


class FrontchannelLogoutPageResult(Result, frozen=True, kw_only=True):
    """What to answer the browser with: the body, and the headers that belong to it."""

    page: str
    headers: dict[str, str]


BACKCHANNEL_LOGOUT = Command(
    "backchannel_logout",
    BackchannelLogoutParams,
    EmptyResult,
    "Takes a logout token, as the OP sends it.",
    protected=False,
    changes=True,
)
SESSION_STATUS = Command(
    "session_status",
    SessionStatusParams,
    SessionStatusResult,
    "Tells whether the OP has sent a logout for a session.",
)
WAIT_FOR_LOGOUT = Command(
    "wait_for_logout",
    WaitForLogoutParams,
    SessionStatusResult,
    "Waits until the OP sends a logout for a session, or until the time is up.",
)
GET_FRONTCHANNEL_LOGOUT_PAGE = Command(
    "get_frontchannel_logout_page",
    FrontchannelLogoutPageParams,
    FrontchannelLogoutPageResult,
    "Checks a front-channel logout, and makes the page that logs the user out of all parts of the application.",
)
