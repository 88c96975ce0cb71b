"""The HTML of the demo relying party, and how frames are shown: pretty, explained, secrets shortened."""

import json
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from oxd_server.oxd_client import Exchange
from oxd_server.sandbox.provider.pages import hidden, layout

_EXPLANATIONS = {
    "register_site": "The application introduces itself; the server registers it at the provider.",
    "get_authorization_url": "Where to send the browser to log in. State, nonce and PKCE are made by the server.",
    "get_tokens_by_code": "The code that the browser brought back becomes tokens; the id_token is checked on the way.",
    "get_user_info": "The access token is exchanged for what the provider knows about the user.",
    "get_access_token_by_refresh_token": "A new access token, without asking the user again.",
    "get_logout_uri": "Where to send the browser so that the session at the provider ends too.",
    "remove_site": "The application leaves; the server forgets it.",
}
_SECRETS = {"access_token", "refresh_token", "id_token", "id_token_hint", "client_secret", "code"}
_SECRETS_IN_URLS = re.compile(r"(id_token_hint|code_challenge)=([^&]{12})[^&]+")
_SHOWN = 12


def _layout(title: str, body: str, *, narrow: bool = False) -> str:
    return layout(
        title,
        body,
        place="Demo application",
        subtitle="a relying party that speaks to oxd",
        footer="Everything above went through the oxd socket; this application holds no OpenID code.",
        narrow=narrow,
    )


def _button(action: str, csrf: str, text: str, *, quiet: bool = False) -> str:
    style = ' class="quiet"' if quiet else ""
    return (
        f'<form method="post" action="{action}">{hidden({"csrf": csrf})}'
        f'<button{style} type="submit">{escape(text)}</button></form>'
    )


def welcome_page(csrf: str, op_host: str, oxd: str, oxd_id: str | None, frames: Sequence[Exchange]) -> str:
    """Nobody is logged in."""
    site = f"registered as <code>{escape(oxd_id)}</code>" if oxd_id else "registered at the first login"
    leave = _button("/leave", csrf, "Remove the site", quiet=True) if oxd_id else ""
    return _layout(
        "Welcome",
        f"""<section class="card">
<h1>Welcome</h1>
<p class="lead">This application lets you log in without knowing how. It asks the oxd server beside it,
and shows you every frame that passes between the two.</p>
<table>
<tr><th scope="row">oxd server</th><td><code>{escape(oxd)}</code></td></tr>
<tr><th scope="row">OpenID provider</th><td><a href="{escape(op_host)}">{escape(op_host)}</a></td></tr>
<tr><th scope="row">This site</th><td>{site}</td></tr>
</table>
<div class="actions">{_button("/login", csrf, "Log in")}{leave}</div>
</section>{_frames(frames)}""",
    )


def account_page(csrf: str, claims: Mapping[str, Any], tokens: Mapping[str, Any], frames: Sequence[Exchange]) -> str:
    """Somebody is logged in: who, with which claims, and what can be done."""
    name = _first(claims, "name") or _first(claims, "sub")
    rows = "".join(
        f'<tr><th scope="row">{escape(claim)}</th><td>{escape(_plain(value))}</td></tr>'
        for claim, value in claims.items()
    )
    refresh = _button("/refresh", csrf, "Refresh the access token", quiet=True) if tokens.get("refresh_token") else ""
    return _layout(
        f"Hello, {name}",
        f"""<section class="card">
<div class="person"><span class="badge" aria-hidden="true">{escape(name[:1].upper())}</span>
<div><h1>Hello, {escape(name)}</h1><span class="soft">You are logged in.</span></div></div>
<table aria-label="Claims">{rows}</table>
<div class="actions">{_button("/logout", csrf, "Log out")}{refresh}</div>
</section>{_frames(frames)}""",
    )


def goodbye_page(frames: Sequence[Exchange]) -> str:
    """The provider sent the browser back after the logout."""
    return _layout(
        "Logged out",
        '<section class="card"><h1>You are logged out</h1><p class="lead">Here and at the provider.</p>'
        f'<p><a class="button" href="/">Back to the start</a></p></section>{_frames(frames)}',
    )


def error_page(title: str, explanation: str, frames: Sequence[Exchange]) -> str:
    """Something went wrong; say what, and show what was said on the wire."""
    return _layout(
        title,
        f'<section class="card"><h1>{escape(title)}</h1><p>{escape(explanation)}</p>'
        f'<p><a class="button" href="/">Back to the start</a></p></section>{_frames(frames)}',
    )


def command_failed_page(exchange: Exchange, frames: Sequence[Exchange]) -> str:
    """The server answered a command with an error."""
    error, text = str(exchange.data.get("error", "")), str(exchange.data.get("error_description", ""))
    return _layout(
        "The server answered with an error",
        f"""<section class="card"><h1>The server answered with an error</h1>
<p class="alert" role="alert"><code>{escape(error)}</code> {escape(text)}</p>
<p>The command was <code>{escape(exchange.command)}</code>.</p>
<p><a class="button" href="/">Back to the start</a></p></section>{_frames(frames)}""",
    )


def _first(claims: Mapping[str, Any], name: str) -> str:
    """A claim's first value: the wire has lists of strings."""
    value = claims.get(name)
    value = value[0] if isinstance(value, list) and value else value
    return str(value) if value else ""


def _plain(value: Any) -> str:
    """A claim's values for people: one after the other, the members of an object line by line."""
    items = value if isinstance(value, list) else [value]
    return ", ".join(_members(item) if isinstance(item, str) else json.dumps(item) for item in items)


def _members(text: str) -> str:
    """`name: value` lines of a text that is a JSON object; any other text as it is."""
    try:
        members = json.loads(text) if text.startswith("{") else None
    except (ValueError, RecursionError):
        return text
    if not isinstance(members, dict):
        return text
    return "\n".join(f"{name}: {value}" for name, value in members.items())


# --- frames ----------------------------------------------------------------------------------


def _frames(frames: Sequence[Exchange]) -> str:
    if not frames:
        return ""
    items = "".join(_frame(exchange) for exchange in frames)
    return f'<h2 id="frames">What was said on the socket</h2><ol class="frames" aria-labelledby="frames">{items}</ol>'


def _frame(exchange: Exchange) -> str:
    failed = "" if exchange.ok else ' class="failed"'
    return f"""<li{failed}><h3><code>{escape(exchange.command)}</code></h3>
<p>{escape(_EXPLANATIONS.get(exchange.command, ""))}</p>
<div class="pair">
<div><h4>Command, {len(exchange.sent)} bytes</h4><pre>{escape(pretty_frame(exchange.sent))}</pre></div>
<div><h4>Answer, {len(exchange.received)} bytes</h4><pre>{escape(pretty_frame(exchange.received))}</pre></div>
</div></li>"""


def pretty_frame(frame: bytes) -> str:
    """The four digits and the JSON below them, indented, with secrets shortened."""
    header, body = frame[:4].decode("ascii", "replace"), frame[4:]
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return header + body.decode("utf-8", "replace")
    return f"{header}\n{json.dumps(_shortened(value), indent=2, ensure_ascii=False)}"


def _shortened(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _shortened(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [_shortened(item, name) for item in value]
    if isinstance(value, str) and name in _SECRETS and len(value) > _SHOWN:
        return f"{value[:_SHOWN]}… ({len(value)} characters)"
    if isinstance(value, str):
        return _SECRETS_IN_URLS.sub(r"\1=\2…", value)
    return value
