"""A web application that logs in through oxd-server: `flask --app login run --port 8080`."""

import hmac
import os
import secrets

from flask import Flask, redirect, request, session
from markupsafe import escape
from oxd import access_token, keep, oxd, register

HERE, OP = os.environ.get("HERE", "http://localhost:8080"), os.environ.get("OP", "http://127.0.0.1:8100")
USERS = {}  # what is known of each logged-in user, by the name of the session
app = Flask(__name__)
app.config.update(SECRET_KEY=secrets.token_bytes(), SESSION_COOKIE_SAMESITE="Lax")

uris = {"authorization_redirect_uri": f"{HERE}/callback", "post_logout_redirect_uri": f"{HERE}/"}
uris["client_frontchannel_logout_uris"] = [f"{HERE}/ended"]
grants = ["authorization_code", "refresh_token"]
OXD_ID = register(op_host=OP, scope=["openid", "profile"], grant_types=grants, **uris)


@app.get("/")
def home():
    user = USERS.get(session.get("name"))
    if user is None:
        return '<a href="/login">Log in</a>'
    claims = oxd("get_user_info", oxd_id=OXD_ID, access_token=access_token(OXD_ID, user))["claims"]
    return f'Hello, {escape(claims["name"][0])}! <form method="post" action="/logout"><button>Log out</button></form>'


@app.get("/login")
def login():
    session["state"] = secrets.token_urlsafe()  # our own: it need not stand in the URL
    return redirect(oxd("get_authorization_url", oxd_id=OXD_ID, state=session["state"])["authorization_url"])


@app.get("/callback")
def callback():
    expected, state = session.pop("state", ""), request.args.get("state", "")
    if not expected or not hmac.compare_digest(expected.encode(), state.encode()):
        return "This login did not begin in this browser.", 403
    if "error" in request.args:  # the user said no, or the OP did
        return f'Not logged in: {escape(request.args["error"])}. <a href="/login">Try again</a>'
    tokens = oxd("get_tokens_by_code", oxd_id=OXD_ID, code=request.args["code"], state=state)
    session["name"] = secrets.token_urlsafe()  # a new name: whoever knew the old one knows nothing now
    USERS[session["name"]] = keep({"session": tokens["id_token_claims"].get("sid")}, tokens)
    return redirect("/")


@app.post("/logout")
def logout():
    user = USERS.pop(session.pop("name", ""), None)  # here first, then at the OP, with this user's own id_token
    return redirect(oxd("get_logout_uri", oxd_id=OXD_ID, id_token_hint=user["id_token"])["uri"] if user else "/")


@app.get("/ended")
def logged_out_elsewhere():  # the OP loads this in a frame: look for its session, not for a cookie
    for name in [name for name, user in USERS.items() if user["session"] == [request.args.get("sid")]]:
        del USERS[name]
    return ""


@app.errorhandler(RuntimeError)
def failed(error):
    return f'oxd-server: {escape(error)}. <a href="/login">Log in again</a>', 502
