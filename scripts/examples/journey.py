"""What the three journeys share: a running server with a sandbox, and requests to an API that are shown."""

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx2

from scripts.demo_kit import CALL_SECONDS, Oxd, Programs, StepFailed, Steps, check, free_port, paint, say, shortened

UMA_TICKET = "urn:ietf:params:oauth:grant-type:uma-ticket"


@dataclass(frozen=True)
class Stage:
    """Where a journey takes place."""

    folder: Path
    programs: Programs
    steps: Steps
    oxd: Oxd
    oxd_port: int
    op_host: str

    def register(self, explanation: str, name: str, **params: object) -> str:
        """Register a site; returns its oxd_id. It may have a PAT and show tickets unless ``params`` say otherwise."""
        given = {
            "op_host": self.op_host,
            "authorization_redirect_uri": "https://app.example.com/callback",
            "client_name": name,
            "grant_types": ["authorization_code", "client_credentials", UMA_TICKET],
            "scope": ["openid", "uma_protection"],
        }
        return str(self.oxd.call(explanation, "register_site", **{**given, **params})["oxd_id"])

    def start_api(self) -> str:
        """Start the tiny API; returns its address."""
        port = free_port()
        self.programs.start_module("scripts.examples.tiny_api", port)
        return f"http://127.0.0.1:{port}"

    def start_gateway(self, site: str, *arguments: str) -> str:
        """Start the tiny API, and the gateway for a site in front of it; returns the gateway's address."""
        api, port = self.start_api(), free_port()
        self.programs.start_module(
            "scripts.examples.uma_gateway", port, "--api", api,
            "--oxd-port", str(self.oxd_port), "--oxd-id", site, *arguments,
        )  # fmt: skip
        say(f"\n    The gateway listens on port {port}, the API behind it is {api}.")
        return f"http://127.0.0.1:{port}"

    def get(self, explanation: str, url: str, token: str | None = None) -> httpx2.Response:
        """Send a GET request as the requesting party would, and show request and answer."""
        self.steps.next(explanation)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        with httpx2.Client(timeout=CALL_SECONDS, trust_env=False) as http:
            answer = http.get(url, headers=headers)
        shown = f"GET {url}" + (f"   Authorization: Bearer {token}" if token else "")
        print(f"    > {paint('36', shortened(shown))}")
        challenge = answer.headers.get("www-authenticate", "")
        print(f"    < {paint('33', f'HTTP {answer.status_code} {challenge}'.rstrip())}")
        print(f"      {paint('33', shortened(answer.text.strip()))}", flush=True)
        return answer


def ticket_of(answer: httpx2.Response) -> str:
    """The ticket of a 401 answer: the last part of its challenge."""
    challenge = answer.headers.get("www-authenticate", "")
    check(answer.status_code == 401 and challenge.startswith("UMA "), "the answer is 401 with a UMA challenge")
    name, _, ticket = challenge.rpartition(",")[2].partition("=")
    check(name.strip() == "ticket", "the challenge ends with the ticket")
    return str(json.loads(ticket))


def run(name: str, walk: Callable[[Stage], None], config: Callable[[Path], dict[str, object]] | None = None) -> int:
    """Set the stage, run one walk on it and return the exit code.

    ``config`` makes what the server's configuration holds beside the port; it may put files into the folder it gets.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix=f"oxd-{name}-") as text, Programs(folder := Path(text)) as programs:
        try:
            say("Starting oxd-server and the sandbox, an OpenID provider that is a UMA authorization server too ...")
            settings = {"storage": "memory", **(config(folder) if config else {})}
            oxd_port = programs.start_server(0, **settings)
            op_port, _ = programs.start_sandbox(oxd_port)
            say(f"The server listens on port {oxd_port}, the sandbox on port {op_port}.")
            steps = Steps()
            walk(Stage(folder, programs, steps, Oxd(oxd_port, steps), oxd_port, f"http://127.0.0.1:{op_port}"))
        except StepFailed as error:
            print(paint("31", f"\nFAILED: {error}"), file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("\nStopped.")
            return 130
    return 0


def parser_for(name: str, description: str | None) -> argparse.ArgumentParser:
    """A parser whose usage names the script as a person starts it."""
    return argparse.ArgumentParser(
        prog=f"./scripts/examples/{name}", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
