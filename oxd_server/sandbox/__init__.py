"""An OpenID provider on loopback, and a demo relying party, for trying things out and for tests.

The server never imports this package; only the command line does, when asked to. Nothing here is
meant for production: users and their passwords are printed on the login page, everything lives in
memory, and `run_sandbox` refuses any address that is not loopback.

- `server`: settings, binding, running; `web`, `table`: what all parts share
- `pages`, `templates/`, `static/`: what people see
- `provider/`: the OpenID provider, with `faults` to switch on
- `uma/`: the authorization server: protected resources, tickets, RPTs, policies, claims gathering
- `demo/`: the relying party that uses the oxd socket
- `browser`: a person who fills in the forms
"""

from oxd_server.sandbox.server import RunningSandbox, SandboxError, SandboxSettings, run_sandbox

__all__ = ["RunningSandbox", "SandboxError", "SandboxSettings", "run_sandbox"]
