"""The HTTPS front's page for people: what this is, and a reference of every command. Pure; no script in it."""

import json
from html import escape
from importlib.resources import files
from string import Template
from typing import Final

from oxd_protocol.errors import ERROR_CODES
from oxd_protocol.params import AnyCommand
from oxd_server.entrances.reference import GROUPS, Parameter, example_params, http_path, parameters

__all__ = ["POLICY", "front_page", "style_sheet"]

POLICY: Final = (
    "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The page's Content-Security-Policy."""

_PAGE: Final = Template("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>oxd-server $version</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/style.css">
</head>
<body>
<header>
<h1>oxd-server</h1>
<p class="lead">OpenID Connect and UMA 2.0 for the application beside it.</p>
<p class="facts"><span class="up">running</span> <span>version $version</span>
<a href="/openapi.json">OpenAPI description</a> <a href="/health-check">health check</a></p>
</header>
<div class="columns">
<nav aria-label="Commands">$contents</nav>
<main>
<section id="how">
<h2>How it is used</h2>
<p>Every command is a <code>POST</code> of its parameters as one JSON object. The answer is an envelope: look at its
<code>status</code>, for a command that was refused is answered with HTTP status 200, too.</p>
<pre class="shape">{"status": "ok", "data": {…}}
{"status": "error", "data": {"error": "…", "error_description": "…", "details": null}}</pre>
<p>All commands but <a href="#setup_client">setup_client</a> and <a href="#get_client_token">get_client_token</a> need
a protection token in the header <code>Authorization: Bearer …</code>. Those two are how you get one: set up once, then
ask for a token with the client_id and client_secret that you were answered.</p>
<p>The examples are for a shell. Set these two first:</p>
<pre>OXD=https://localhost:$port
TOKEN=…</pre>
<p class="hint">If the server made its certificate itself, curl has to be told to trust it:
<code>--cacert oxd-data/https-localhost.crt</code></p>
<table class="statuses">
<caption>HTTP statuses</caption>
<tr><th scope="row">200</th><td>the envelope, ok or error</td></tr>
<tr><th scope="row">400</th><td>the body is no JSON object, or a parameter has the wrong type</td></tr>
<tr><th scope="row">403</th><td>no Authorization: Bearer header with a token in it</td></tr>
<tr><th scope="row">404, 405</th><td>no such path; another method than POST</td></tr>
<tr><th scope="row">408, 413</th><td>the request came too slowly; its body is too large</td></tr>
<tr><th scope="row">others</th><td>what the OpenID provider answered; the code is http_status_ and its number</td></tr>
</table>
</section>
$groups
<section id="errors">
<h2>Error codes</h2>
<dl class="codes">$codes</dl>
</section>
</main>
</div>
</body>
</html>
""")


def front_page(version: str, port: int) -> str:
    """Return the page as HTML; ``port`` is the one that the examples name."""
    return _PAGE.substitute(
        version=escape(version),
        port=port,
        contents="".join(_contents(title, commands) for title, commands in GROUPS),
        groups="".join(_group(title, commands) for title, commands in GROUPS),
        codes="".join(f"<dt><code>{code}</code></dt><dd>{escape(text)}</dd>" for code, text in ERROR_CODES.items()),
    )


def style_sheet() -> bytes:
    """Return the page's style sheet (it is read from the package: call it once, at the start)."""
    return files("oxd_server.entrances").joinpath("static/front.css").read_bytes()


def _contents(title: str, commands: tuple[AnyCommand, ...]) -> str:
    links = "".join(f'<li><a href="#{command.name}">{command.name}</a></li>' for command in commands)
    return f"<h2>{escape(title)}</h2><ul>{links}</ul>"


def _group(title: str, commands: tuple[AnyCommand, ...]) -> str:
    articles = "".join(map(_gone if commands[0].unsupported else _article, commands))
    return f"<section><h2>{escape(title)}</h2>{articles}</section>"


def _gone(command: AnyCommand) -> str:
    return (
        f'<article id="{command.name}" class="gone"><h3><code>{command.name}</code></h3>'
        f"<p>{escape(command.unsupported or '')}</p></article>"
    )


def _article(command: AnyCommand) -> str:
    badge = "" if command.protected else '<span class="badge">no token needed</span>'
    rows = "".join(map(_row, parameters(command)))
    fields = ", ".join(f"<code>{escape(name)}</code>" for name in command.result.__struct_encode_fields__)
    return (
        f'<article id="{command.name}"><h3><code>{command.name}</code>{badge}</h3>'
        f"<p>{escape(command.summary)}</p>"
        f"<pre>{escape(_curl(command))}</pre>"
        f"<details><summary>Parameters</summary><table>{rows}</table></details>"
        f'<p class="answer">Answers {fields or "an empty object"}.</p></article>'
    )


def _row(row: Parameter) -> str:
    required = ' <span class="required">required</span>' if row.required else ""
    return (
        f'<tr><th scope="row"><code>{escape(row.name)}</code>{required}</th>'
        f'<td><span class="kind">{row.kind}</span> {escape(row.description)}</td></tr>'
    )


def _curl(command: AnyCommand) -> str:
    body = json.dumps(example_params(command))
    header = '-H "Authorization: Bearer $TOKEN" ' if command.protected else ""
    return f"curl \"$OXD{http_path(command)}\" {header}-d '{body}'"
