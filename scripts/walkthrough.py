"""Starts a server and the sandbox, logs one user in through the socket, and shows every frame on the way.

The frames are written as the PHP library writes them: one connection per command, the frame twice, one read.
``./scripts/run`` starts this; with ``--once`` it ends after the login, with a non-zero exit code if a step failed.
"""

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx2

SERVER = str(Path(sys.executable).with_name("oxd-server"))
START_SECONDS = 30
CALL_SECONDS = 30
USER, PASSWORD = "alice", "wonderland"
REDIRECT_URI = "https://app.example.com/callback"
LOGOUT_URI = "https://app.example.com/goodbye"


class StepFailed(Exception):
    """A step did not come out as it must; the text says which and how."""


def main() -> int:
    """Run the walk; return the exit code."""
    parser = argparse.ArgumentParser(prog="./scripts/run", description=__doc__)
    parser.add_argument("--once", action="store_true", help="exit after the login instead of staying up")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="oxd-run-") as folder, contextlib.ExitStack() as processes:
        try:
            ports = {name: free_port(wanted) for name, wanted in (("oxd", 8099), ("op", 8100), ("demo", 8101))}
            start(processes, Path(folder), ports)
            walk(ports["oxd"], f"http://127.0.0.1:{ports['op']}")
            if not options.once:
                stay(ports)
        except StepFailed as error:
            print(paint("31", f"\nFAILED: {error}"), file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("\nStopped.")
    return 0


# Starting things


def free_port(wanted: int) -> int:
    """Return ``wanted`` if nobody listens there, else any free port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(processes: contextlib.ExitStack, folder: Path, ports: dict[str, int]) -> None:
    """Start server and sandbox, their logs in ``folder``; return when both answer."""
    say(f"Starting oxd-server on port {ports['oxd']} and the sandbox OpenID provider on port {ports['op']} ...")
    config = folder / "oxd-conf.json"
    config.write_text(json.dumps({"port": ports["oxd"]}))
    commands = {
        "server": [SERVER, "serve", "--config", str(config)],
        "sandbox": [
            SERVER, "sandbox", "--port", str(ports["op"]), "--demo-port", str(ports["demo"]),
            "--oxd-port", str(ports["oxd"]),
        ],
    }  # fmt: skip
    for name, command in commands.items():
        log = processes.enter_context((folder / f"{name}.log").open("wb"))
        process = subprocess.Popen(command, stdout=log, stderr=log)
        processes.callback(stop, process)
    for name, port in (("server", ports["oxd"]), ("sandbox", ports["op"]), ("sandbox", ports["demo"])):
        wait_for_port(name, port, folder)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to end, and see that it does."""
    process.terminate()
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        process.kill()


def wait_for_port(name: str, port: int, folder: Path) -> None:
    """Return when something listens on ``port``."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise StepFailed(f"the {name} did not start. Its log:\n{(folder / f'{name}.log').read_text()[-2000:]}")


# The walk


def walk(port: int, op_host: str) -> None:
    """One application's life: register, log a user in and out, leave."""
    number = iter(range(1, 100))
    oxd = Oxd(port, number)
    site = oxd.call(
        "The application registers; the server registers it as a client at the OpenID provider.",
        "register_site",
        op_host=op_host, authorization_redirect_uri=REDIRECT_URI, post_logout_redirect_uri=LOGOUT_URI,
        application_type="web", response_types=["code"], grant_types=["authorization_code", "refresh_token"],
        scope=["openid", "profile", "email"], acr_values=[""], client_name="Walk-through", client_jwks_uri="",
        client_token_endpoint_auth_method="", client_request_uris=None, client_id=None, client_secret=None,
        oxd_rp_programming_language="php",
    )  # fmt: skip
    oxd_id = site["oxd_id"]
    login = oxd.call(
        "Where is the user to be sent? State, nonce and PKCE are in the URL.",
        "get_authorization_url",
        oxd_id=oxd_id, scope=None, acr_values=None, prompt=None, hd=None, custom_parameters=[],
        protection_access_token=None,
    )  # fmt: skip
    heading(next(number), f"The user's browser: {USER} fills in the login form and consents.")
    callback = log_in(login["authorization_url"])
    print(f"    -> the OP redirects to {shortened(callback)}")
    query = {name: values[0] for name, values in parse_qs(urlsplit(callback).query).items()}
    tokens = oxd.call(
        "The application got code and state back and asks for the tokens; the server checks the id_token.",
        "get_tokens_by_code",
        oxd_id=oxd_id, code=query["code"], state=query["state"], protection_access_token=None,
    )  # fmt: skip
    check(tokens["id_token_claims"]["sub"], "the id_token names the user")
    user = oxd.call(
        "Who is it? The claims come from the OP's userinfo endpoint.",
        "get_user_info",
        oxd_id=oxd_id, access_token=tokens["access_token"], protection_access_token=None,
    )  # fmt: skip
    check(user["claims"]["sub"] == tokens["id_token_claims"]["sub"], "userinfo speaks of the same user")
    refreshed = oxd.call(
        "Later: the access token has expired, the refresh token gets a new one.",
        "get_access_token_by_refresh_token",
        oxd_id=oxd_id, refresh_token=tokens["refresh_token"], scope=None, protection_access_token=None,
    )  # fmt: skip
    check(refreshed["access_token"] != tokens["access_token"], "the access token is a new one")
    logout = oxd.call(
        "The user logs out: where is the browser to be sent?",
        "get_logout_uri",
        oxd_id=oxd_id, id_token_hint=None, post_logout_redirect_uri=None, state="bye", session_state=None,
        protection_access_token=None,
    )  # fmt: skip
    heading(next(number), "The user's browser follows the logout URL.")
    farewell = log_out(logout["uri"])
    print(f"    -> the OP redirects to {farewell}")
    check(farewell == f"{LOGOUT_URI}?state=bye", "the user is back at the application")
    oxd.call("The application is no longer needed and leaves.", "remove_site", oxd_id=oxd_id)
    say(paint("32", "\nAll steps done: one complete login through the socket."))


class Oxd:
    """Sends commands as the PHP library does, and shows the frames."""

    def __init__(self, port: int, number: Iterator[int]) -> None:
        self._port = port
        self._number = number

    def call(self, explanation: str, command: str, **params: object) -> dict:
        """Run one command, show both frames, return the answer's data. Raises ``StepFailed``."""
        heading(next(self._number), explanation)
        body = json.dumps({"command": command, "params": params}, separators=(",", ":"))
        frame = f"{len(body):04d}{body}"
        print(f"    > {paint('36', shortened(frame))}")
        with socket.create_connection(("127.0.0.1", self._port), timeout=CALL_SECONDS) as connection:
            connection.sendall(frame.encode())
            connection.sendall(frame.encode())  # the PHP library writes every frame twice
            answer = connection.recv(8192).decode()
        print(f"    < {paint('33', shortened(answer))}")
        envelope = json.loads(answer[4:])
        check(envelope["status"] == "ok", f"{command} answers ok")
        return envelope["data"]


class FormParser(HTMLParser):
    """Finds the page's form, its fields with their values, and its submit buttons."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.action: str | None = None
        self.fields: dict[str, str] = {}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note forms and what is in them; of several buttons the first is pressed."""
        values = {name: value or "" for name, value in attrs}
        if tag == "form" and self.action is None:
            self.action = values.get("action", "")
        elif tag in ("input", "button") and self.action is not None and "name" in values:
            self.fields.setdefault(values["name"], values.get("value", ""))


def log_in(url: str) -> str:
    """Be the user's browser until the OP redirects to the application; return that URL."""
    return browse(url, REDIRECT_URI, {"username": USER, "password": PASSWORD})


def log_out(url: str) -> str:
    """Be the user's browser at the logout URL; return where it ends."""
    return browse(url, LOGOUT_URI, {})


def browse(url: str, until: str, filled_in: dict[str, str]) -> str:
    """Follow redirects and submit forms until the URL starts with ``until``."""
    with httpx2.Client(timeout=CALL_SECONDS) as browser:
        request = browser.build_request("GET", url)
        for _ in range(12):
            response = browser.send(request)
            if response.is_redirect:
                location = urljoin(str(request.url), response.headers["location"])
                if location.startswith(until):
                    return location
                request = browser.build_request("GET", location)
                continue
            form = FormParser(response.text)
            if form.action is None:
                raise StepFailed(f"the OP shows a page without a form (HTTP {response.status_code})")
            fields = form.fields | {name: value for name, value in filled_in.items() if name in form.fields}
            print(f"    -> a page with a form: {', '.join(fields)}")
            request = browser.build_request("POST", urljoin(str(request.url), form.action), data=fields)
    raise StepFailed("the OP's pages led nowhere")


# Saying things


def check(passed: object, what: str) -> None:
    """Raise ``StepFailed`` unless it is as it must be."""
    if not passed:
        raise StepFailed(f"expected that {what}")


def stay(ports: dict[str, int]) -> None:
    """Say what can be tried now, and wait for Ctrl-C."""
    demo, example = f"http://127.0.0.1:{ports['demo']}/", "'{\"list\": true}'"
    port = "" if ports["oxd"] == 8099 else f" --port {ports['oxd']}"
    say(f"\nServer and sandbox stay up. Try it yourself:\n  click  {demo}   (log in as {USER} / {PASSWORD})")
    say(f"  type   .venv/bin/oxd-server call get_rp {example}{port}\nCtrl-C stops both.")
    signal.pause()


def heading(number: int, text: str) -> None:
    """Print a step's number and explanation."""
    print(paint("1", f"\n{number:2}. {text}"))


def say(text: str) -> None:
    """Print at once, even into a pipe."""
    print(text, flush=True)


def shortened(text: str, limit: int = 600) -> str:
    """Cut what would fill the screen."""
    return text if len(text) <= limit else f"{text[:limit]} ... ({len(text)} characters)"


def paint(colour: str, text: str) -> str:
    """Colour text on a terminal."""
    return f"\x1b[{colour}m{text}\x1b[0m" if sys.stdout.isatty() and "NO_COLOR" not in os.environ else text


if __name__ == "__main__":
    sys.exit(main())
