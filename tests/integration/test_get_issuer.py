"""`get_issuer`: who a person's OP is, asked with WebFinger (RFC 7033) over real sockets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.integration.background import background
from tests.integration.faulty_op import Exchange, faulty_op
from tests.integration.logins import error_of
from tests.integration.sandbox_provider import running_sandbox

WEBFINGER = "/.well-known/webfinger"
REL = "http://openid.net/specs/connect/1.0/issuer"


async def test_get_issuer(tmp_path: Path) -> None:
    """The answer is handed on when it names the OP's issuer; another issuer, and a refusal, have codes of their own."""
    answers: list[tuple[int, dict[str, Any]]] = []
    asked: list[str] = []

    async def answer(exchange: Exchange) -> None:
        asked.append(exchange.head.target.decode())
        status, document = answers.pop()
        await exchange.reply((status, [(b"Content-Type", b"application/jrd+json")], json.dumps(document).encode()))

    with background(tmp_path) as running:
        async with running_sandbox() as sandbox, faulty_op(sandbox) as op:
            op.faults[WEBFINGER] = answer
            params = {"op_host": op.issuer, "resource": f"{op.issuer}/alice"}
            links = [{"rel": REL, "href": op.issuer}, {"rel": "other", "href": "https://b.example"}]
            answers.append((200, {"subject": params["resource"], "links": [*links, {"rel": REL}]}))
            told = await running.server.call("get_issuer", **params)
            assert told["data"] == {"subject": params["resource"], "links": links}
            assert "resource=http%3A%2F%2F127.0.0.1" in asked[0]
            answers.append((200, {"links": [{"rel": REL, "href": "https://b.example"}]}))
            assert error_of(await running.server.call("get_issuer", **params)) == "invalid_issuer_discovered"
            answers.append((404, {}))
            assert error_of(await running.server.call("get_issuer", **params)) == "failed_to_get_issuer"
