"""The HTML of the provider. Every value passes `escape` on its way in; there is no script."""

from collections.abc import Iterable, Mapping
from html import escape
from string import Template

from oxd_server.sandbox.provider.users import User

_LAYOUT = Template("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title · $place</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/style.css">
</head>
<body>
<div class="notice" role="note">For trying things out only: people, passwords and data here are made up
and forgotten at the next start.</div>
<header class="top $width"><strong>$place</strong><span>$subtitle</span></header>
<main class="$width">
$body
</main>
<footer>$footer</footer>
</body>
</html>
""")

SCOPE_TEXTS = {
    "openid": ("Who you are", "a stable identifier, so that it knows you when you come back"),
    "profile": ("Your profile", "name, language, birthday and similar"),
    "email": ("Your e-mail address", "and whether it was verified"),
    "address": ("Your postal address", "as far as it is known"),
    "phone": ("Your phone number", "and whether it was verified"),
    "offline_access": ("Access while you are away", "it may renew its access without you"),
    "oxd": ("Protected commands", "it may use the commands of the server"),
    "uma_protection": ("Protecting resources", "it may put resources under protection here"),
}


def layout(
    title: str,
    body: str,
    *,
    place: str = "Sandbox OpenID provider",
    subtitle: str = "",
    footer: str = "oxd-server sandbox, on this machine only",
    narrow: bool = True,
) -> str:
    """A whole page; `title`, `place`, `subtitle` and `footer` are text, `body` is HTML."""
    return _LAYOUT.substitute(
        title=escape(title),
        place=escape(place),
        subtitle=escape(subtitle),
        footer=escape(footer),
        width="narrow" if narrow else "",
        body=body,
    )


def hidden(fields: Mapping[str, str]) -> str:
    """Hidden inputs."""
    return "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">' for name, value in fields.items()
    )


def _alert(text: str) -> str:
    return f'<p class="alert" role="alert">{escape(text)}</p>' if text else ""


def login_page(
    client_name: str, interaction: str, csrf: str, users: Iterable[User], filled: tuple[str, str], error: str
) -> str:
    """The login form, and the people who can be logged in as; `filled` is the user name and password to show."""
    username, password = (escape(value) for value in filled)
    people = "".join(_person(user, interaction) for user in users)
    return layout(
        "Log in",
        f"""<section class="card">
<h1>Log in</h1>
<p class="lead"><b>{escape(client_name)}</b> wants to know who you are.</p>
{_alert(error)}
<form method="post" action="/login">
{hidden({"interaction": interaction, "csrf": csrf})}
<label for="username">User name</label>
<input type="text" id="username" name="username" value="{username}" autocomplete="off" autocapitalize="none"
 spellcheck="false" required>
<label for="password">Password</label>
<input type="password" id="password" name="password" value="{password}" autocomplete="off" required>
<button class="wide" type="submit">Log in</button>
</form>
</section>
<section class="card" aria-labelledby="people">
<h2 id="people">Somebody to be</h2>
<ul class="people">{people}</ul>
</section>""",
    )


def _person(user: User, interaction: str) -> str:
    name = escape(str(user.claims["name"]))
    link = escape(f"/interaction?id={interaction}&user={user.username}")
    return (
        f'<li><span><b>{name}</b><br><span class="soft"><code>{escape(user.username)}</code> '
        f"<code>{escape(user.password)}</code></span></span>"
        f'<a class="button quiet" href="{link}" aria-label="Fill in {name}">Fill in</a></li>'
    )


def consent_page(client_name: str, interaction: str, csrf: str, user: User, scope: str, redirect_host: str) -> str:
    """Ask the user whether the client may have these scopes."""
    scopes = "".join(_scope(word) for word in scope.split())
    return layout(
        "Allow access",
        f"""<section class="card">
<h1>Allow access?</h1>
<p class="lead"><b>{escape(client_name)}</b> would like to have the following from
<b>{escape(str(user.claims["name"]))}</b>, and takes you to <code>{escape(redirect_host)}</code> afterwards.</p>
<ul class="scopes">{scopes}</ul>
<form method="post" action="/consent">
{hidden({"interaction": interaction, "csrf": csrf})}
<div class="actions">
<button type="submit" name="decision" value="allow">Allow</button>
<button class="quiet" type="submit" name="decision" value="deny">Deny</button>
</div>
</form>
</section>""",
    )


def _scope(word: str) -> str:
    title, text = SCOPE_TEXTS.get(word, (word, ""))
    return f"<li><b>{escape(title)}</b><span>{escape(text)} (<code>{escape(word)}</code>)</span></li>"


def error_page(title: str, explanation: str) -> str:
    """Tell a person what went wrong, where no redirect is possible."""
    return layout(
        title,
        f'<section class="card"><h1>{escape(title)}</h1><p>{escape(explanation)}</p>'
        '<p class="soft">Nothing was changed. Go back to the application and try again.</p></section>',
    )


def logout_page(user: User, csrf: str, fields: Mapping[str, str]) -> str:
    """Ask whether to log out, because the request did not prove that it came from the user's application."""
    return layout(
        "Log out",
        f"""<section class="card">
<h1>Log out?</h1>
<p class="lead">You are logged in as <b>{escape(str(user.claims["name"]))}</b>.</p>
<form method="post" action="/end_session">
{hidden({**fields, "csrf": csrf})}
<div class="actions">
<button type="submit" name="decision" value="logout">Log out</button>
<button class="quiet" type="submit" name="decision" value="stay">Stay logged in</button>
</div>
</form>
</section>""",
    )


def message_page(title: str, text: str) -> str:
    """A title and a sentence."""
    return layout(title, f'<section class="card"><h1>{escape(title)}</h1><p>{escape(text)}</p></section>')


def home_page(
    issuer: str, users: Iterable[User], endpoints: Mapping[str, str], user: User | None, more: str = ""
) -> str:
    """What this provider is and where its endpoints are; `more` is HTML of further cards."""
    people = "".join(
        f"<tr><th scope='row'>{escape(str(u.claims['name']))}</th>"
        f"<td><code>{escape(u.username)}</code> <code>{escape(u.password)}</code></td></tr>"
        for u in users
    )
    rows = "".join(
        f"<tr><th scope='row'>{escape(name)}</th><td><code>{escape(url)}</code></td></tr>"
        for name, url in endpoints.items()
    )
    who = f"You are logged in as {user.claims['name']}." if user else "Nobody is logged in with this browser."
    leave = '<p><a class="button quiet" href="/end_session">Log out</a></p>' if user else ""
    return layout(
        "Start",
        f"""<section class="card">
<h1>An OpenID provider to try things out with</h1>
<p class="lead">It registers any application, logs three made-up people in, decides as a UMA authorization server, and
forgets everything when it stops. Use <code>{escape(issuer)}</code> as <code>op_host</code>.</p>
<p>{escape(who)}</p>{leave}
</section>
<section class="card" aria-labelledby="people"><h2 id="people">People</h2><table>{people}</table></section>
{more}
<section class="card" aria-labelledby="endpoints"><h2 id="endpoints">Endpoints</h2>
<table>{rows}</table>
<p>The discovery documents: <a href="/.well-known/openid-configuration">OpenID Connect</a>,
<a href="/.well-known/uma2-configuration">UMA 2.0</a></p></section>""",
        narrow=False,
    )
