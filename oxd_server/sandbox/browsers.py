"""The browsers that use an application of the sandbox: each is known by a cookie, and has a session."""

from collections.abc import Callable
from typing import Generic, TypeVar

from oxd_server.entrances.http1_messages import HttpRequest, HttpResponse
from oxd_server.sandbox.provider.model import SESSION_SECONDS
from oxd_server.sandbox.table import Table
from oxd_server.sandbox.web import cookie, set_cookie

__all__ = ["Browsers"]

S = TypeVar("S")
_MOST = 1000


class Browsers(Generic[S]):
    """The sessions of one application. `begin` makes one, from the token that its forms are to bring back."""

    def __init__(
        self, cookie_name: str, begin: Callable[[str], S], now: Callable[[], float], new_token: Callable[[], str]
    ) -> None:
        self._cookie_name = cookie_name
        self._begin = begin
        self._new_token = new_token
        self._sessions: Table[S] = Table(_MOST, now)

    def session(self, request: HttpRequest) -> tuple[str, S]:
        """The browser's session and the name that its cookie has for it; a new one if it has none."""
        name = cookie(request, self._cookie_name)
        session = self._sessions.get(name)
        if name is None or session is None:
            name, session = self._new_token(), self._begin(self._new_token())
            self._sessions.put(name, session, SESSION_SECONDS)
        return name, session

    def with_cookie(self, answer: HttpResponse, name: str) -> HttpResponse:
        """The answer, with the cookie by which the browser is known again."""
        return HttpResponse(answer.status, [*answer.headers, set_cookie(self._cookie_name, name)], answer.body)
