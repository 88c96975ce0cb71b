"""A small UMA authorization server on a real socket, with faults that a test switches on step by step.

It knows the protocol from its specifications and shares nothing with the sandbox's server.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from inspect import isawaitable
from itertools import count
from typing import Any
from urllib.parse import parse_qs, unquote

import trio

from oxd_server.entrances.http1 import Limits, serve
from oxd_server.entrances.http1_messages import HttpRequest, HttpResponse

CLIENT_ID, CLIENT_SECRET = "photo-service", "a-secret-of-the-test"
DISCOVERY, PAT, REGISTER, UPDATE = "discovery", "PAT", "register", "update"
DELETE, LIST, READ, TICKET = "delete", "list", "read", "ticket"
INTROSPECT, RPT, OPENID_DISCOVERY = "introspect", "RPT", "OpenID discovery"

Fault = Callable[["UmaServer"], HttpResponse | Awaitable[None] | None]


def answer(status: int, value: Any) -> HttpResponse:
    """Return a JSON answer."""
    return HttpResponse(status, [("content-type", "application/json")], json.dumps(value).encode())


def error(status: int, code: str, **more: Any) -> HttpResponse:
    """Return an OAuth error answer."""
    return answer(status, {"error": code, **more})


def lose_pat(server: UmaServer) -> HttpResponse | None:
    """Forget every PAT, as a server that was restarted does; then go on."""
    server.pats.clear()
    return None


def fail(server: UmaServer) -> HttpResponse | None:
    """Answer 500."""
    return error(500, "server_error")


def html(server: UmaServer) -> HttpResponse | None:
    """Answer with a page for people."""
    return HttpResponse(200, [("content-type", "text/html")], b"<html>It works!</html>")


def forget_resources(server: UmaServer) -> HttpResponse | None:
    """Lose every registered resource; then go on."""
    server.resources.clear()
    return None


@dataclass
class UmaServer:
    """The server's whole state, open to the tests.

    `fault(step, ...)` queues what goes wrong at a step: a function that answers, or changes something (an async one may
    wait) before it goes on as usual; "hang" (no answer); "act and hang" (it does what was asked and does not answer).
    `requests` are the steps that were asked for.
    """

    base: str = ""
    pats: set[str] = field(default_factory=set)
    pat_lifetime: int = 300
    pat_scope: str | None = "uma_protection openid"
    resources: dict[str, dict[str, Any]] = field(default_factory=dict)
    tickets: dict[str, dict[str, Any]] = field(default_factory=dict)
    rpts: dict[str, dict[str, Any]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    forms: list[dict[str, str]] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
    openid_metadata: dict[str, Any] | None = None
    refuse_pat_at_introspection: bool = False
    unique_names: bool = False
    clients: list[bytes] = field(default_factory=list)
    rpt_reply: HttpResponse | None = None
    faults: dict[str, list[Fault | str | None]] = field(default_factory=dict)
    hanging: trio.Event = field(default_factory=trio.Event)
    _numbers: Any = field(default_factory=lambda: count(1))

    def fault(self, step: str, *faults: Fault | str | None) -> None:
        """Queue faults for the next requests of a step; None is a request that goes well."""
        self.faults.setdefault(step, []).extend(faults)

    def names(self) -> list[str]:
        """The names of the registered resources."""
        return sorted(str(resource["name"]) for resource in self.resources.values())

    def issue_rpt(self, *permissions: dict[str, Any], **members: Any) -> str:
        """Return a new RPT that is active and has these permissions."""
        rpt = f"rpt-{next(self._numbers)}"
        self.rpts[rpt] = {"active": True, "permissions": list(permissions), **members}
        return rpt

    async def handle(self, request: HttpRequest) -> HttpResponse:
        """Answer one request."""
        step, act = self._route(request)
        self.requests.append(step)
        queued = self.faults.get(step)
        fault = queued.pop(0) if queued else None
        if fault == "hang":
            self.hanging.set()
            await trio.sleep_forever()
        if callable(fault):
            reply = fault(self)
            if isawaitable(reply):
                await reply
            elif reply is not None:
                return reply
        result = act()
        if fault == "act and hang":
            self.hanging.set()
            await trio.sleep_forever()
        return result

    def _route(self, request: HttpRequest) -> tuple[str, Callable[[], HttpResponse]]:
        match request.method, request.path:
            case "GET", "/.well-known/uma2-configuration":
                return DISCOVERY, lambda: answer(200, self._metadata())
            case "GET", "/.well-known/openid-configuration" if self.openid_metadata is not None:
                openid_metadata = {"issuer": self.base, **self.openid_metadata}
                return OPENID_DISCOVERY, lambda: answer(200, openid_metadata)
            case "POST", "/clients":
                return "client registration", lambda: self._client(request)
            case "POST", "/token":
                form = _form(request)
                if form.get("grant_type") == "client_credentials":
                    return PAT, lambda: self._pat(request)
                return RPT, lambda: self._rpt(request, form)
            case "POST", "/resources":
                return REGISTER, lambda: self._protected(request, self._register)
            case "GET", "/resources":
                return LIST, lambda: self._protected(request, lambda _: answer(200, list(self.resources)))
            case "POST", "/permissions":
                return TICKET, lambda: self._protected(request, self._ticket)
            case "POST", "/introspect":
                return INTROSPECT, lambda: self._introspect(request)
        resource_id = unquote(request.path.removeprefix("/resources/"))
        steps = {"GET": READ, "PUT": UPDATE, "DELETE": DELETE}
        act = partial(self._one_resource, resource_id=resource_id)
        return steps.get(request.method, request.method), lambda: self._protected(request, act)

    def _metadata(self) -> dict[str, Any]:
        return {
            "issuer": self.base,
            "token_endpoint": f"{self.base}/token",
            "introspection_endpoint": f"{self.base}/introspect",
            "resource_registration_endpoint": f"{self.base}/resources",
            "permission_endpoint": f"{self.base}/permissions",
            "claims_interaction_endpoint": f"{self.base}/claims?theme=dark",
            **self.metadata,
        }

    def _client(self, request: HttpRequest) -> HttpResponse:
        self.clients.append(request.body)
        return answer(201, {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET})

    def _pat(self, request: HttpRequest) -> HttpResponse:
        if not _authenticated(request):
            return error(401, "invalid_client")
        pat = f"pat-{next(self._numbers)}"
        self.pats.add(pat)
        scope = {} if self.pat_scope is None else {"scope": self.pat_scope}
        return answer(200, {"access_token": pat, "token_type": "Bearer", "expires_in": self.pat_lifetime, **scope})

    def _protected(self, request: HttpRequest, act: Callable[[HttpRequest], HttpResponse]) -> HttpResponse:
        return act(request) if self._has_pat(request) else error(401, "invalid_token")

    def _has_pat(self, request: HttpRequest) -> bool:
        return (request.header("authorization") or "").removeprefix("Bearer ") in self.pats

    def _register(self, request: HttpRequest) -> HttpResponse:
        description = json.loads(request.body)
        if self.unique_names and description["name"] in self.names():
            return error(409, "invalid_request")
        resource_id = f"resource/{next(self._numbers)}"
        self.resources[resource_id] = description
        return answer(201, {"_id": resource_id})

    def _one_resource(self, request: HttpRequest, resource_id: str) -> HttpResponse:
        if resource_id not in self.resources:
            return error(404, "not_found")
        if request.method == "GET":
            return answer(200, {"_id": resource_id, **self.resources[resource_id]})
        if request.method == "PUT":
            self.resources[resource_id] = json.loads(request.body)
            return answer(200, {"_id": resource_id})
        del self.resources[resource_id]
        return HttpResponse(204)

    def _ticket(self, request: HttpRequest) -> HttpResponse:
        (permission,) = json.loads(request.body)
        known = self.resources.get(permission["resource_id"])
        if known is None:
            return error(400, "invalid_resource_id")
        if not set(permission["resource_scopes"]) <= set(known["resource_scopes"]):
            return error(400, "invalid_scope")
        ticket = f"ticket-{next(self._numbers)}"
        self.tickets[ticket] = permission
        return answer(201, {"ticket": ticket})

    def _introspect(self, request: HttpRequest) -> HttpResponse:
        if not (self._has_pat(request) and not self.refuse_pat_at_introspection) and not _authenticated(request):
            return error(401, "invalid_token")
        form = _form(request)
        self.forms.append(form)
        return answer(200, self.rpts.get(form["token"], {"active": False}))

    def _rpt(self, request: HttpRequest, form: dict[str, str]) -> HttpResponse:
        self.forms.append(form)
        if not _authenticated(request):
            return error(401, "invalid_client")
        if self.rpt_reply is not None:
            return self.rpt_reply
        permission = self.tickets.pop(form["ticket"], None)
        if permission is None:
            return error(400, "invalid_grant")
        rpt = self.issue_rpt(permission)
        return answer(200, {"access_token": rpt, "token_type": "Bearer", "pct": "pct-1", "upgraded": "rpt" in form})


def _form(request: HttpRequest) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(request.body.decode()).items()}


def _authenticated(request: HttpRequest) -> bool:
    return request.header("authorization") == "Basic " + b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()


@asynccontextmanager
async def running_as(**state: Any) -> AsyncIterator[UmaServer]:
    """Run the server on a free port of this machine; it stops at the end."""
    server = UmaServer(**state)
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    server.base = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve, listeners, server.handle, Limits()))
        yield server
        nursery.cancel_scope.cancel()
