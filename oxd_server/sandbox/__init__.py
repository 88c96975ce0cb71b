"""An OpenID provider on loopback, and a demo relying party, for trying things out and for tests.

The server never imports this package; only the command line does, when asked to. Nothing here is
meant for production: users and their passwords are printed on the login page, everything lives in
memory, and `run_sandbox` refuses any address that is not loopback.

- `server`: settings, binding, running
- `provider`: discovery and the route table; `authorization`, `token_endpoint`, `registration`, `userinfo`, `logout`
- `model`: users, clients, grants, sessions in bounded tables; `faults`: misbehaviour to switch on
- `keys`, `id_token`, `client_auth`: what is signed, and how clients prove who they are
- `pages`, `web`: HTML and HTTP helpers; `static/`: the stylesheet
- `demo`, `demo_pages`: the relying party that uses the oxd socket; `browser`: a person who fills in the forms
"""

from oxd_server.sandbox.server import RunningSandbox, SandboxError, SandboxSettings, run_sandbox

__all__ = ["RunningSandbox", "SandboxError", "SandboxSettings", "run_sandbox"]
