"""Dialect 4, of oxd 4.0 to 4.2: the data itself at the top level, real HTTP statuses, JSON types as they are. Pure.

A site's own client protects it, so that registering one takes no token. A key whose value would be null is left out:
the Lua consumers of this dialect take null for a value.
"""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec

from oxd_protocol.catalog import COMMANDS
from oxd_protocol.connect import RequestObjectResult
from oxd_protocol.errors import CommandError
from oxd_protocol.json_text import decode_object, encode_json
from oxd_protocol.messages import Response, error_response
from oxd_protocol.params import AnyCommand
from oxd_server.entrances.dialects.base import Answer, NeedsToken, Route, bearer_token, op_status
from oxd_server.entrances.dialects.statuses import flat_code, status_of
from oxd_server.entrances.http1_messages import HttpRequest
from oxd_server.entrances.reference import http_path

__all__ = ["Flat", "flat_routes"]

_NOT_IN_4: Final = {
    *("setup_client", "validate", "id_token_status", "access_token_status"),
    *("implicit_flow", "license_status", "uma_rp_authorize_rpt", "uma_rp_get_gat"),
}
_OTHER_PATHS: Final = {"/check-id-token": "id_token_status", "/check-access-token": "access_token_status"}
_READ: Final = {"/get-rp-jwks": "get_rp_jwks"}
_READ_BY_NAME: Final = {
    "/get-request-object": ("get_request_object", "request_object_id"),
    "/initiate-third-party-login": ("initiate_third_party_login", "oxd_id"),
}
"""Paths that end with a param."""
_BY_NAME: Final = {
    command.name: command for command in COMMANDS if command.name in {name for name, _ in _READ_BY_NAME.values()}
}
_AS_ITSELF: Final = {"need_info", "invalid_ticket"}
"""Errors whose body is the authorization server's own object."""
_WELL_KNOWN: Final = "/.well-known/openid-configuration"
_FROM_THE_FRONT: Final = ("protection_access_token", "authorization_oxd_id", "dialect")
"""Params that are not read from the body: headers and the dialect itself decide them."""
_NESTED: Final = (dict, list, tuple)
_WITH_A_SCOPE_LIST: Final = ("get_client_token", "get_access_token_by_refresh_token", "introspect_access_token")


def flat_routes() -> Mapping[str, Route]:
    """Return where the paths of the dialect lead; one that ends with a param has its name there, in braces."""
    commands = {command.name: command for command in COMMANDS if command.name not in _BY_NAME}
    routes = {http_path(command): Route(command) for name, command in commands.items() if name not in _NOT_IN_4}
    routes |= {path: Route(commands[name]) for path, name in _OTHER_PATHS.items()}
    routes |= {path: Route(commands[name], "GET") for path, name in _READ.items()}
    return routes | {
        f"{stem}/{{{param}}}": Route(_BY_NAME[name], "GET") for stem, (name, param) in _READ_BY_NAME.items()
    }


_ROUTES: Final = flat_routes()


class Flat:
    """The data, or ``{"error", "error_description"}``. ``needs_token`` says which commands need a token."""

    name = "4"

    def __init__(self, needs_token: NeedsToken = lambda command: command.protected) -> None:
        self._needs_token = needs_token

    def find(self, path: str) -> Route | None:
        """Return the command of this path."""
        stem, _, last = path.rpartition("/")
        if stem in _READ_BY_NAME and last:
            name, param = _READ_BY_NAME[stem]
            return Route(_BY_NAME[name], "GET", {param: last})
        return _ROUTES.get(path)

    def read(self, route: Route, request: HttpRequest) -> dict[str, Any]:
        """Return the params: an empty body counts as an empty object, numbers and truth values may stand for text."""
        command, token, judge = route.command, bearer_token(request), request.header("authorizationoxdid")
        registers = command.name == "register_site"
        if self._needs_token(command) and token is None and not registers and not judge:
            raise CommandError("blank_protection_access_token")
        sent = _sent(route, request)
        params = command.fields.lenient({name: sent[name] for name in sent if name not in _FROM_THE_FRONT})
        params.update(route.params)
        params = _with_main_uris(_with_op_host(command, params))
        if command.name == "get_client_token" and "openid" not in (wanted := params.get("scope") or []):
            params["scope"] = ["openid", *wanted] if isinstance(wanted, list) else f"openid {wanted}"
        if registers:
            return params | {"dialect": self.name}
        return params | {"protection_access_token": token, "authorization_oxd_id": judge}

    def encode(self, command: AnyCommand, response: Response) -> Answer:
        """Return the data of a success, or the error with its status."""
        if response.status == "error":
            return self._refusal(response)
        try:
            if isinstance(response.data, RequestObjectResult):
                return Answer(200, response.data.request_object.encode(), "text/plain; charset=utf-8")
            shaped = self.shape(command.name, msgspec.to_builtins(response.data))
            return Answer(200, encode_json(without_nulls(shaped)))
        except CommandError as error:
            return self._refusal(error_response(error))

    def shape(self, name: str, data: dict[str, Any]) -> Any:
        """Return the data of a command's success as this dialect shows it."""
        if name in _WITH_A_SCOPE_LIST:
            return _with_scope_list(data)
        if name == "get_rp":
            return _without_empty(data)
        return data["claims"] if name == "get_user_info" else data

    def _refusal(self, response: Response) -> Answer:
        code, details = response.data["error"], response.data["details"]
        said_by_op = op_status(code)
        told = {"error": self.code(code), "error_description": response.data["error_description"]}
        if said_by_op is not None or code in _AS_ITSELF:
            body = told | (details or {})
            if code in _AS_ITSELF:
                body["error"] = code
        else:
            body = told | {"details": details}
        status = 400 if response.malformed and code == "invalid_request" else said_by_op or status_of(code)
        return Answer(status, encode_json(without_nulls(body)))

    def code(self, code: str) -> str:
        """Return an error code of the socket as this dialect spells it."""
        return flat_code(code)

    def error(self, status: int, description: str) -> Answer:
        """Return an error of the front itself."""
        return Answer(status, encode_json({"error": str(status), "error_description": description}))


def _sent(route: Route, request: HttpRequest) -> dict[str, Any]:
    """Return what was sent: with GET in the query, where the first of several values counts, else in the body."""
    if route.method == "GET":
        return dict(reversed(parse_qsl(request.query)))
    return decode_object(request.body) if request.body.strip() else {}


def _with_op_host(command: AnyCommand, params: dict[str, Any]) -> dict[str, Any]:
    """The URL of the discovery document names the OP as well, for commands that do not know it by its own name."""
    endpoint = params.get("op_configuration_endpoint")
    if not isinstance(endpoint, str) or not endpoint.strip() or "op_configuration_endpoint" in command.fields.readers:
        return params
    if not endpoint.endswith(_WELL_KNOWN):
        raise CommandError("invalid_op_configuration_endpoint")
    return params | {"op_host": endpoint.removesuffix(_WELL_KNOWN), "op_discovery_path": None}


def _with_main_uris(params: dict[str, Any]) -> dict[str, Any]:
    """The first redirect URI is the main one, and the first one after logout the default."""
    mains = {
        main: uris[0]
        for main, plural in (
            ("authorization_redirect_uri", "redirect_uris"),
            ("post_logout_redirect_uri", "post_logout_redirect_uris"),
        )
        if isinstance(uris := params.get(plural), list) and uris and uris[0] and not params.get(main)
    }
    return params | mains


def without_nulls(value: Any) -> Any:
    """Return the JSON value without the keys that are null, at any depth."""
    if isinstance(value, dict):
        return {
            name: without_nulls(item) if isinstance(item, _NESTED) else item
            for name, item in value.items()
            if item is not None
        }
    return [without_nulls(item) for item in value] if isinstance(value, list | tuple) else value


def _without_empty(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {name: _without_empty(item) for name, item in value.items()}
        return {name: item for name, item in kept.items() if item is not None and item not in ("", [], {})}
    return [_without_empty(item) for item in value] if isinstance(value, list | tuple) else value


def _with_scope_list(data: dict[str, Any]) -> dict[str, Any]:
    shown = {name: value for name, value in data.items() if name not in ("scopes", "scope")}
    scope = data.get("scope")
    if scope is not None:
        shown["scope"] = scope.split() if isinstance(scope, str) else scope
    acr_values = shown.get("acr_values")
    return shown | ({"acr_values": acr_values.split()} if isinstance(acr_values, str) else {})
