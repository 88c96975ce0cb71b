"""The HTML of the claims-gathering page, and of the list of policies."""

from collections.abc import Mapping
from html import escape

from oxd_server.sandbox.provider.pages import hidden, layout
from oxd_server.sandbox.uma.policies import DEFAULT, HINTS, POLICIES, Policy, friendly_name


def claims_page(
    client_name: str, redirect_host: str, fields: Mapping[str, str], hidden_fields: Mapping[str, str], error: str
) -> str:
    """Ask for the claims in `fields` (name to what was typed before); `error` is shown above them."""
    next_one = next((name for name, value in fields.items() if not value), None)
    inputs = "".join(_field(name, value, focused=name == next_one) for name, value in fields.items())
    alert = f'<p class="alert" role="alert">{escape(error)}</p>' if error else ""
    return layout(
        "A few questions",
        f"""<section class="card">
<h1>A few questions</h1>
<p class="lead"><b>{escape(client_name)}</b> asks for access to something protected, on your behalf. The decision
depends on your answers. You are taken to <code>{escape(redirect_host)}</code> afterwards.</p>
{alert}
<form method="post" action="/uma/claims">
{hidden(hidden_fields)}
{inputs}
<div class="actions">
<button type="submit" name="decision" value="send">Send answers</button>
<button class="quiet" type="submit" name="decision" value="decline" formnovalidate>Rather not say</button>
</div>
</form>
</section>""",
        subtitle="Authorization server",
    )


def _field(name: str, value: str, *, focused: bool) -> str:
    focus = " autofocus" if focused else ""
    hint = f'<small class="hint" id="{escape(name)}-hint">{escape(HINTS[name])}</small>' if name in HINTS else ""
    described = f' aria-describedby="{escape(name)}-hint"' if hint else ""
    return (
        f'<label for="{escape(name)}">{escape(friendly_name(name))}</label>'
        f'<input type="text" id="{escape(name)}" name="{escape(name)}" value="{escape(value)}" maxlength="100"'
        f' autocomplete="off" spellcheck="false" required{described}{focus}>{hint}'
    )


def policies_card() -> str:
    """The scopes that have a policy, for the start page."""
    rows = "".join(_row(f"<code>{escape(scope)}</code>", policy) for scope, policy in POLICIES.items())
    return (
        '<section class="card" aria-labelledby="policies"><h2 id="policies">Who gets which UMA scope</h2>'
        f"<table>{rows}{_row('any other', DEFAULT)}</table></section>"
    )


def _row(scope: str, policy: Policy) -> str:
    return f"<tr><th scope='row'>{scope}</th><td>{escape(policy.__doc__ or '')}</td></tr>"
