"""Starts a server and the sandbox, logs one user in through the socket, and shows every frame on the way.

The frames are written as the PHP library writes them: one connection per command, the frame twice, one read.
``./scripts/run`` starts this; with ``--once`` it ends after the login, with a non-zero exit code if a step failed.
"""

import argparse
import signal
import sys
import tempfile
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from scripts.demo_kit import Oxd, Programs, StepFailed, Steps, browse, check, paint, read, say, shortened

OXD_PORT, OP_PORT, DEMO_PORT = 8099, 8100, 8101
"""Those that are taken are replaced by free ones."""
USER, PASSWORD = "alice", "wonderland"
SHOWN_FIGURES = ("oxd_commands_total", "oxd_op_requests_total", "oxd_command_seconds_sum", "oxd_op_request_seconds_sum")
REDIRECT_URI = "https://app.example.com/callback"
LOGOUT_URI = "https://app.example.com/goodbye"


def main() -> int:
    """Run the walk; return the exit code."""
    parser = argparse.ArgumentParser(prog="./scripts/run", description=__doc__)
    parser.add_argument("--once", action="store_true", help="exit after the login instead of staying up")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="oxd-run-") as folder, Programs(Path(folder)) as programs:
        try:
            say("Starting oxd-server and the sandbox OpenID provider ...")
            port = programs.start_server(OXD_PORT, metrics={"enabled": True, "port": 0})
            op_port, demo_port = programs.start_sandbox(port, (OP_PORT, DEMO_PORT))
            say(f"The server listens on port {port}, the sandbox on port {op_port}.")
            walk(port, f"http://127.0.0.1:{op_port}")
            show_what_an_operator_sees(programs)
            if not options.once:
                stay(port, demo_port)
        except StepFailed as error:
            print(paint("31", f"\nFAILED: {error}"), file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("\nStopped.")
    return 0


# The walk


def walk(port: int, op_host: str) -> None:
    """One application's life: register, log a user in and out, leave."""
    steps = Steps()
    oxd = Oxd(port, steps, copies=2)  # the PHP library writes every frame twice
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
    steps.next(f"The user's browser: {USER} fills in the login form and consents.")
    callback = log_in(login["authorization_url"])
    print(f"    -> the OP redirects to {shortened(callback)}")
    query = parameters_of(callback)
    check(query["state"] == parameters_of(login["authorization_url"])["state"], "the state is this browser's own")
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
        oxd_id=oxd_id, id_token_hint=tokens["id_token"], post_logout_redirect_uri=None, state="bye", session_state=None,
        protection_access_token=None,
    )  # fmt: skip
    steps.next("The user's browser follows the logout URL.")
    farewell = log_out(logout["uri"])
    print(f"    -> the OP redirects to {farewell}")
    check(farewell == f"{LOGOUT_URI}?state=bye", "the user is back at the application")
    oxd.call("The application is no longer needed and leaves.", "remove_site", oxd_id=oxd_id)
    say(paint("32", "\nAll steps done: one complete login through the socket."))


def show_what_an_operator_sees(programs: Programs) -> None:
    """Show the lines of the login in the log, and the figures (docs/reference/logging.md and metrics.md)."""
    figures = f"http://127.0.0.1:{programs.port_of('server', 'metrics_listening')}/metrics"
    say(f"\nWhat an operator sees: a line in the log for each command, and figures at {figures}")
    for line in programs.lines("server", '"event":"command"', '"command":"remove_site"'):
        print(f"    {line}")
    for line in read(figures).splitlines():
        if line.startswith(SHOWN_FIGURES):
            print(f"    {line}")


def parameters_of(url: str) -> dict[str, str]:
    """The parameters in a URL, each once."""
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def log_in(url: str) -> str:
    """Be the user's browser until the OP redirects to the application; return that URL."""
    return browse(url, REDIRECT_URI, {"username": USER, "password": PASSWORD})


def log_out(url: str) -> str:
    """Be the user's browser at the logout URL; return where it ends."""
    return browse(url, LOGOUT_URI, {})


def stay(port: int, demo_port: int) -> None:
    """Say what can be tried now, and wait for Ctrl-C."""
    demo, example = f"http://127.0.0.1:{demo_port}/", "'{\"list\": true}'"
    option = "" if port == OXD_PORT else f" --port {port}"
    say(f"\nServer and sandbox stay up. Try it yourself:\n  click  {demo}   (log in as {USER} / {PASSWORD})")
    say(f"  type   .venv/bin/oxd-server call get_rp {example}{option}\nCtrl-C stops both.")
    signal.pause()


if __name__ == "__main__":
    sys.exit(main())
