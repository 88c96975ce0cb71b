"""What an application says to oxd-server, without a word about the web."""

import json
import os
import socket
import time
from pathlib import Path

SECONDS = 90  # the server itself gives up after 80


def oxd(command, **params):
    """Send one command: a frame out, a frame back."""
    body = json.dumps({"command": command, "params": params}).encode()
    port = int(os.environ.get("OXD_PORT", "8099"))
    with socket.create_connection(("127.0.0.1", port), SECONDS) as connection, connection.makefile("rwb") as stream:
        stream.write(b"%04d%s" % (len(body), body))
        stream.flush()
        answer = json.loads(stream.read(int(stream.read(4))))
    if answer["data"].get("error") == "server_busy":  # nothing has happened: the one error to repeat at once
        time.sleep(1)
        return oxd(command, **params)
    if answer["status"] != "ok":
        raise RuntimeError(answer["data"]["error"])
    return answer["data"]


def register(**metadata):
    """Register once, and keep the oxd_id where nobody else can read it."""
    path = Path("oxd_id")
    if not path.exists():
        oxd_id = oxd("register_site", **metadata)["oxd_id"]
        path.touch(0o600)
        path.write_text(oxd_id)
    return path.read_text()


def keep(user, tokens):
    """Keep what the OP sent. A new refresh token takes the place of the old one."""
    user.update({name: value for name, value in tokens.items() if value})
    user["until"] = time.time() + tokens["expires_in"] if tokens["expires_in"] > 0 else float("inf")
    return user


def access_token(oxd_id, user):
    """Return an access token that has not expired."""
    if time.time() > user["until"]:
        tokens = oxd("get_access_token_by_refresh_token", oxd_id=oxd_id, refresh_token=user["refresh_token"])
        keep(user, tokens)
    return user["access_token"]
