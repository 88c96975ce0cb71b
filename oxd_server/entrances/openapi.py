"""The OpenAPI 3.1 description of the HTTPS front, made from the catalogue. Pure."""

from typing import Any, Final

from oxd_protocol.catalog import find_command
from oxd_protocol.logout import BACKCHANNEL_LOGOUT
from oxd_protocol.params import AnyCommand
from oxd_server.entrances.dialects.notices import LOGOUT_PATH
from oxd_server.entrances.reference import GROUPS, HTTP_ALIASES, SCHEMA_PREFIX, example_params, http_path, schemas

__all__ = ["notice_paths", "openapi_document"]

_ABOUT: Final = """\
OpenID Connect and UMA 2.0 for the application beside it. Every command is a POST of its parameters as one JSON object.
The answer is an envelope: `status` is `ok` or `error`, `data` is the result or tells what went wrong. Refused commands
are answered with status 200, too: look at the envelope's `status`. An error answer of the OpenID provider keeps its
HTTP status.
"""

_GENERATION: Final = 3
"""Newer commands have no envelope."""

_ERROR_SCHEMA: Final[dict[str, Any]] = {
    "description": "What went wrong: a code for programs, a sentence for people, and more where there is more.",
    "type": "object",
    "properties": {
        "status": {"const": "error"},
        "data": {
            "type": "object",
            "properties": {
                "error": {"type": "string"},
                "error_description": {"type": "string"},
                "details": {"type": ["object", "null"]},
            },
            "required": ["error", "error_description", "details"],
            "additionalProperties": False,
        },
    },
    "required": ["status", "data"],
    "additionalProperties": False,
}
_ERROR_ANSWERS: Final = {
    "400": "The body is no JSON object, or a parameter has the wrong type.",
    "403": "There is no Authorization: Bearer header with a token in it, or a web page of another site asked.",
    "404": "The OpenID provider answered with this status.",
    "405": "Another method was used.",
    "408": "The request came too slowly.",
    "413": "The body is too large.",
    "4XX": "The OpenID provider answered with this status, or the request is not proper HTTP.",
    "5XX": "The OpenID provider answered with this status, or the server has too many connections.",
}


def openapi_document(version: str) -> dict[str, Any]:
    """Return the description as a JSON object; ``version`` is that of the server."""
    components = schemas() | {"Error": _ERROR_SCHEMA}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "oxd-server",
            "version": version,
            "description": _ABOUT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": title} for title, _ in GROUPS],
        "paths": _paths(),
        "components": {
            "schemas": components,
            "responses": {f"Error{status}": _error_answer(text) for status, text in _ERROR_ANSWERS.items()},
            "securitySchemes": {
                "protection_access_token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An access token with the scope oxd, from get_client_token.",
                }
            },
        },
    }


_JWK_SET: Final = {"type": "object", "properties": {"keys": {"type": "array"}}, "required": ["keys"]}


def _paths() -> dict[str, Any]:
    paths: dict[str, Any] = {
        http_path(command): {"post": _operation(command, title, command.name)}
        for title, commands in GROUPS
        for command in commands
        if command.generation <= _GENERATION
    }
    for path, name in HTTP_ALIASES.items():
        command = find_command(name)
        assert command is not None
        operation = _operation(command, "Other names", path.removeprefix("/").replace("-", "_"))
        paths[path] = {"post": operation | {"summary": f"The same as {http_path(command)}."}}
    return (
        paths
        | notice_paths()
        | {
            "/jwks": {"get": _page("This server's public keys, for OPs.", "application/jwk-set+json", _JWK_SET)},
            "/health-check": {"get": _page("Tells that the server runs.", "text/plain", {"const": "running"})},
            "/ready": {"get": readiness()},
            "/openapi.json": {"get": _page("This description.", "application/json", {"type": "object"})},
            "/": {"get": _page("A page for people.", "text/html", {"type": "string"})},
        }
    )


def readiness() -> dict[str, Any]:
    """Return the operation that tells whether the server is ready: the same in every dialect."""
    states = {"200": ("It can work.", "ready"), "503": ("It cannot: `reason` says why.", "not ready")}
    responses = {
        status: {"description": text, "content": {"application/json": {"schema": _readiness_schema(state)}}}
        for status, (text, state) in states.items()
    }
    responses |= {status: {"description": "No proper HTTP, or too much of it."} for status in ("4XX", "5XX")}
    return {"summary": "Tells whether the server can do its work.", "security": [], "responses": responses}


def _readiness_schema(state: str) -> dict[str, Any]:
    properties = {"status": {"const": state}, "reason": {"type": "string"}}
    return {"type": "object", "properties": properties, "required": ["status"]}


def notice_paths() -> dict[str, Any]:
    """Return the paths that OPs call themselves: the same in every dialect."""
    told = {"type": "object", "properties": {"error": {"const": "invalid_request"}, "error_description": {}}}
    refused = {"description": "The logout token was refused.", "content": {"application/json": {"schema": told}}}
    form = {"type": "object", "properties": {"logout_token": {"type": "string"}}, "required": ["logout_token"]}
    operation = {
        "operationId": "receive_logout_token",
        "summary": BACKCHANNEL_LOGOUT.summary,
        "security": [],
        "parameters": [{"name": "oxd_id", "in": "path", "required": True, "schema": {"type": "string"}}],
        "requestBody": {"required": True, "content": {"application/x-www-form-urlencoded": {"schema": form}}},
        "responses": {"200": {"description": "The user is logged out; the body is empty."}, "400": refused}
        | {status: {"description": "No proper HTTP, or too much of it."} for status in ("4XX", "5XX")},
    }
    return {f"{LOGOUT_PATH}/{{oxd_id}}": {"post": operation}}


def _operation(command: AnyCommand, tag: str, operation_id: str) -> dict[str, Any]:
    operation = {
        "operationId": operation_id,
        "summary": command.summary,
        "tags": [tag],
        "security": [{"protection_access_token": []}] if command.protected else [],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"$ref": SCHEMA_PREFIX + command.params.__name__},
                    "example": example_params(command),
                }
            },
        },
        "responses": {"200": _ok_answer(command)}
        | {status: {"$ref": f"#/components/responses/Error{status}"} for status in _ERROR_ANSWERS},
    }
    return operation | {"deprecated": True} if command.unsupported else operation


def _ok_answer(command: AnyCommand) -> dict[str, Any]:
    error = {"$ref": f"{SCHEMA_PREFIX}Error"}
    if command.unsupported:
        return _answer("The envelope of an error: the command is no more.", error)
    ok = {
        "type": "object",
        "properties": {
            "status": {"const": "ok"},
            "data": {"$ref": SCHEMA_PREFIX + command.result.__name__},
        },
        "required": ["status", "data"],
        "additionalProperties": False,
    }
    return _answer("The envelope: ok with the result, or the error for which the command was refused.", ok, error)


def _error_answer(text: str) -> dict[str, Any]:
    return _answer(text, {"$ref": f"{SCHEMA_PREFIX}Error"})


def _answer(text: str, *schemas_of_answer: dict[str, Any]) -> dict[str, Any]:
    schema = schemas_of_answer[0] if len(schemas_of_answer) == 1 else {"oneOf": list(schemas_of_answer)}
    return {"description": text, "content": {"application/json": {"schema": schema}}}


def _page(summary: str, media_type: str, schema: dict[str, Any]) -> dict[str, Any]:
    answers = {"200": {"description": summary, "content": {media_type: {"schema": schema}}}}
    errors = {status: {"$ref": f"#/components/responses/Error{status}"} for status in ("405", "408", "4XX", "5XX")}
    return {"summary": summary, "security": [], "responses": answers | errors}
