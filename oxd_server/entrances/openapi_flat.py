"""The OpenAPI 3.1 descriptions of dialect 4 and of its variant 4-beta, made from the catalogue. Pure."""

from typing import Any, Final

from oxd_protocol.connect import RequestObjectResult
from oxd_protocol.params import AnyCommand
from oxd_server.entrances.dialects.base import Route
from oxd_server.entrances.dialects.beta import Beta
from oxd_server.entrances.dialects.flat import Flat, flat_routes
from oxd_server.entrances.openapi import notice_paths
from oxd_server.entrances.reference import SCHEMA_PREFIX, example_params, parameters, params_schemas, typed_schemas

__all__ = ["flat_document"]

_ABOUT: Final = """\
The HTTP API of oxd 4.x. An answer is the data itself; a refusal has its HTTP status, and `error` and
`error_description` in its body. Keys without a value are left out. A site's own client protects it: register it, get a
token of its client with the scope oxd, and send that.
"""
_ERROR: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"error": {}, "error_description": {}, "details": {"type": "object"}},
}
_STATUSES: Final = {
    "400": "A parameter is missing or wrong.",
    "403": "The token is missing or not good, or the authorization server needs more information.",
    "405": "Another method was used.",
    "4XX": "Another refusal; an OP's own answer keeps its status.",
    "5XX": "The OP failed, or the server did.",
}
_TEXTS: Final[dict[str, Any]] = {"type": "array", "items": {"type": "string"}}
_OTHERWISE: Final[dict[str, dict[str, Any]]] = {
    "ClaimsOfUser": {"properties": {}, "required": []},
    "AnyResult": {"properties": {"active": {"type": "boolean"}, "scope": _TEXTS}},
    "GetRpResult": {"required": []},
}
"""What ``Flat`` shapes: the OP's own object, a list of scopes, and an empty list that is left out."""
_NEVER_SENT: Final = ("protection_access_token", "authorization_oxd_id", "dialect")


def flat_document(version: str, dialect: str = Flat.name) -> dict[str, Any]:
    """Return the description of ``dialect`` as a JSON object; ``version`` is that of the server."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"oxd-server, dialect {dialect}",
            "version": version,
            "description": _ABOUT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "paths": {path: _path_item(path, route) for path, route in flat_routes().items()} | notice_paths(),
        "components": {
            "schemas": {name: _without_headers(schema) for name, schema in params_schemas().items()}
            | (_answers() | (_answers_of_beta() if dialect == Beta.name else {})),
            "securitySchemes": {
                "site_token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token with the scope oxd, from get-client-token.",
                }
            },
        },
    }


def _without_headers(schema: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in schema.get("properties", {}).items() if name not in _NEVER_SENT}
    return schema | {"properties": kept}


def _answers() -> dict[str, Any]:
    return {name: _without_nulls(schema) | _OTHERWISE.get(name, {}) for name, schema in typed_schemas().items()}


def _answers_of_beta() -> dict[str, Any]:
    """What ``Beta`` shapes: claims as lists of texts, those of a user under a key."""
    tokens = _answers()["IssuedTokens"]
    claims = {"type": "object", "additionalProperties": _TEXTS}
    return {
        "ClaimsOfUser": {"type": "object", "properties": {"claims": claims}, "required": ["claims"]},
        "IssuedTokens": tokens | {"properties": tokens["properties"] | {"id_token_claims": claims}},
    }


def _without_nulls(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of an object where keys that would be null are left out."""
    properties = schema.get("properties", {})
    nullable = {name for name, value in properties.items() if isinstance(value.get("type"), list)}
    plain = {name: _not_null(value) if name in nullable else value for name, value in properties.items()}
    return schema | {
        "properties": plain | dict.fromkeys(plain.keys() & {"scope"}, _TEXTS),
        "required": [name for name in schema.get("required", ()) if name not in nullable],
    }


def _not_null(schema: dict[str, Any]) -> dict[str, Any]:
    (kind,) = (each for each in schema["type"] if each != "null")
    return schema | {"type": kind}


def _path_item(path: str, route: Route) -> dict[str, Any]:
    command = route.command
    operation: dict[str, Any] = {
        "operationId": path.partition("{")[0].strip("/").replace("-", "_"),
        "summary": command.summary,
        "security": [{"site_token": []}] if command.protected and command.name != "register_site" else [],
        "responses": {"200": _data(command)} | {status: _answer(text, _ERROR) for status, text in _STATUSES.items()},
    }
    if route.method == "GET":
        return {"get": operation | {"parameters": _read_parameters(path, command)}}
    judge = {
        "name": "AuthorizationOxdId",
        "in": "header",
        "description": "The site whose client the token belongs to, if that is another site.",
        "schema": {"type": "string"},
    }
    operation |= {"parameters": [judge]} if command.protected else {}
    return {"post": operation | {"requestBody": _body(command)} | _gone(command)}


def _read_parameters(path: str, command: AnyCommand) -> list[dict[str, Any]]:
    return [
        {
            "name": row.name,
            "in": "path" if f"{{{row.name}}}" in path else "query",
            "required": row.required,
            "description": row.description,
            "schema": {"type": "string"},
        }
        for row in parameters(command)
        if row.name not in _NEVER_SENT
    ]


def _gone(command: AnyCommand) -> dict[str, Any]:
    return {"deprecated": True} if command.unsupported else {}


def _body(command: AnyCommand) -> dict[str, Any]:
    schema = {"$ref": SCHEMA_PREFIX + command.params.__name__}
    return {"content": {"application/json": {"schema": schema, "example": example_params(command)}}}


def _data(command: AnyCommand) -> dict[str, Any]:
    if command.result is RequestObjectResult:
        return {"description": "The JWT.", "content": {"text/plain": {"schema": {"type": "string"}}}}
    return _answer("The data.", {"$ref": SCHEMA_PREFIX + (command.typed_result or command.result).__name__})


def _answer(text: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": schema}}}
