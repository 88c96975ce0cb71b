"""A tiny API to stand behind the gateway: a few JSON documents, and no access control of its own."""

import argparse
import json

import trio

from oxd_server.entrances import http1
from oxd_server.entrances.http1_messages import HttpRequest, HttpResponse

DOCUMENTS: dict[str, object] = {
    "/posts": [
        {"id": 1, "title": "Where the herons nest", "author": "Alice"},
        {"id": 2, "title": "A bridge in three days", "author": "Bob"},
    ],
    "/posts/1": {"id": 1, "title": "Where the herons nest", "author": "Alice"},
    "/scim/groups": [
        {"displayName": "Managers", "status": "ACTIVE", "members": ["alice"]},
        {"displayName": "Builders", "status": "ACTIVE", "members": ["bob", "zoe"]},
    ],
}


async def handle(request: HttpRequest) -> HttpResponse:
    """Answer GET with the document of a path."""
    found = request.path in DOCUMENTS and request.method == "GET"
    body = DOCUMENTS[request.path] if found else {"error": "not found"}
    headers = [("Content-Type", "application/json")]
    return HttpResponse(200 if found else 404, headers, json.dumps(body).encode())


async def run(port: int) -> None:
    """Run the API until cancelled."""
    listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
    await http1.serve(listeners, handle, http1.Limits(max_connections=200))


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="where the API listens, on 127.0.0.1")
    trio.run(run, parser.parse_args().port)


if __name__ == "__main__":
    main()
