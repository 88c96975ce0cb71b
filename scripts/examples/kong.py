"""What the gateway's plugins say to oxd 4.x, and what a demo application says: requests over HTTPS, shown."""

import json
import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from scripts.demo_kit import CALL_SECONDS, Steps, check, paint, say, shortened

OXD_SCOPES = ["oxd", "openid"]
Answer = tuple[int, dict[str, Any]]


class HttpsOxd:
    """Sends commands to the HTTPS front in dialect 4, and shows requests and answers; every command is a step."""

    def __init__(self, port: int, cert: Path, steps: Steps) -> None:
        self._url = f"https://localhost:{port}"
        self._context = ssl.create_default_context(cafile=cert)
        self._steps = steps

    def call(self, explanation: str, path: str, body: dict[str, Any], token: str | None = None) -> dict[str, Any]:
        """Send a command that must succeed; return the answer. Raises ``StepFailed``."""
        status, answer = self.send(explanation, path, body, token)
        check(status == 200, f"{path} answers 200")
        return answer

    def send(self, explanation: str, path: str, body: dict[str, Any], token: str | None = None) -> Answer:
        """Send a command; return status and answer, whatever they are."""
        self._steps.next(explanation)
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        print(f"    > {paint('36', shortened(f'POST {path} {json.dumps(body)}'))}")
        with httpx2.Client(verify=self._context, timeout=CALL_SECONDS, trust_env=False) as http:
            answer = http.post(self._url + path, json=body, headers=headers)
        print(f"    < {paint('33', shortened(f'{answer.status_code} {answer.text}'))}", flush=True)
        return answer.status_code, dict(answer.json())


@dataclass(frozen=True)
class Client:
    """A site and the client that it is at the OP: what ``register-site`` answers."""

    oxd: HttpsOxd
    op_host: str
    oxd_id: str
    client_id: str
    client_secret: str

    @classmethod
    def register(cls, oxd: HttpsOxd, explanation: str, name: str, op_host: str, **more: object) -> "Client":
        """Register as the gateway's user interface does: without a token."""
        body = {
            "op_host": op_host,
            "redirect_uris": ["https://client.example.com/cb"],
            "client_name": name,
            "scope": ["openid", "oxd", "uma_protection"],
            "grant_types": ["client_credentials"],
            **more,
        }
        site = oxd.call(explanation, "/register-site", body)
        return cls(oxd, op_host, site["oxd_id"], site["client_id"], site["client_secret"])

    def token(self, explanation: str) -> str:
        """Get an access token of the site's own client: it protects the commands about the site."""
        body = {
            "client_id": self.client_id,
            "client_secret": self.client_secret,
            "op_host": self.op_host,
            "scope": OXD_SCOPES,
        }
        return str(self.oxd.call(explanation, "/get-client-token", body)["access_token"])


class Gateway:
    """A service behind the gateway, as the UMA plugins guard it: paths are patterns, and oxd gets the pattern."""

    def __init__(self, client: Client, token: str, resources: list[dict[str, Any]], api: str) -> None:
        self._client = client
        self._token = token
        self._patterns = [str(resource["path"]) for resource in resources]
        self._api = api

    def get(self, path: str, rpt: str = "") -> tuple[int, str]:
        """Answer GET with status and body, or with the UMA header if the status is 401."""
        pattern = next((pattern for pattern in self._patterns if matches(pattern, path)), None)
        check(pattern is not None, f"a pattern of the plugin matches {path}")
        body: dict[str, Any] = {"oxd_id": self._client.oxd_id, "rpt": rpt}
        if rpt:
            told = self._call("The gateway asks whether the RPT is active.", "/introspect-rpt", body)
            check(told["active"] is True and "permissions" in told, "the RPT is active and tells its permissions")
        asked = {**body, "path": pattern, "http_method": "GET"}
        access = self._call("The gateway asks whether this is enough, with the pattern.", "/uma-rs-check-access", asked)
        if access["access"] != "granted":
            return 401, str(access["www-authenticate_header"])
        with httpx2.Client(timeout=CALL_SECONDS, trust_env=False) as http:
            answer = http.get(self._api + path)
        return answer.status_code, answer.text

    def _call(self, explanation: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return self._client.oxd.call(explanation, path, body, self._token)


def matches(pattern: str, path: str) -> bool:
    """Tell whether a pattern of the plugins matches a path.

    ``?`` is one segment, ``??`` at the end all that is left, ``{...}`` a regular expression for one segment.
    """
    return re.fullmatch("/".join(map(_segment, pattern.split("/"))), path) is not None


def _segment(part: str) -> str:
    if part in ("?", "??"):
        return "[^/]+" if part == "?" else ".*"
    return f"(?:{part[1:-1]})" if part.startswith("{") else re.escape(part)


def ticket_of(header: str) -> str:
    """Take the ticket as the tutorial's demo does: it is the fourth part of the header."""
    return header.split(",")[3].split("=")[1].replace('"', "")


def show(status: int, text: str) -> None:
    """Print what the gateway answers to the one who asked it."""
    say(f"    <- {paint('33', shortened(f'the gateway answers {status}: {text}'))}")
