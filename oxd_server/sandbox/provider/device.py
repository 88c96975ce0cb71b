"""A login on another device (RFC 8628): authlib's endpoint and grant over our tables, and the page for the user."""

from typing import Any

from authlib.oauth2.rfc8628 import DeviceAuthorizationEndpoint, DeviceCodeGrant

from oxd_server.entrances.http1_messages import HttpRequest, HttpResponse
from oxd_server.sandbox.pages import page
from oxd_server.sandbox.provider.model import DeviceLogin, Grant, ProviderState
from oxd_server.sandbox.provider.users import User
from oxd_server.sandbox.web import form, query, redirect, same_secret

__all__ = ["DEVICE_GRANT", "DeviceEndpoint", "DeviceGrant", "device"]

DEVICE_GRANT: str = DeviceCodeGrant.GRANT_TYPE
_SECONDS = 600


class DeviceEndpoint(DeviceAuthorizationEndpoint):
    """The start, for an authenticated client (section 3.1)."""

    EXPIRES_IN = _SECONDS
    INTERVAL = 1  # nobody has to be spared here

    def get_verification_uri(self) -> str:
        return f"{self.server.state.issuer}/device"

    def save_device_credential(self, client_id: str, scope: str, data: dict[str, Any]) -> None:
        state: ProviderState = self.server.state
        client = state.clients.get(client_id)
        allowed = client.get_allowed_scope(scope) if client else None
        login = DeviceLogin(client_id, allowed or "", data["user_code"], int(data["interval"]), state.seconds())
        state.device_logins.put(data["device_code"], login, _SECONDS)


class DeviceGrant(DeviceCodeGrant):
    """The polling (sections 3.4 and 3.5)."""

    TOKEN_ENDPOINT_AUTH_METHODS = DeviceCodeGrant.TOKEN_ENDPOINT_AUTH_METHODS

    def query_device_credential(self, device_code: str) -> DeviceLogin | None:
        login: DeviceLogin | None = self.server.state.device_logins.get(device_code)
        if login is not None and login.allowed is not None:
            grant = Grant(login.client_id, login.user, login.scope, login.decided_at)
            self.request.authorization_code = login.as_source(grant)
        return login

    def query_user_grant(self, user_code: str) -> tuple[User | None, bool] | None:
        login = _by_user_code(self.server.state, user_code)
        return None if login is None or login.allowed is None else (login.user, login.allowed)

    def should_slow_down(self, credential: DeviceLogin) -> bool:
        state: ProviderState = self.server.state
        early = state.now() < credential.asked_at + credential.interval or "device_slow_down" in state.faults
        credential.asked_at = state.seconds()
        return early


def _by_user_code(state: ProviderState, user_code: str) -> DeviceLogin | None:
    return next((login for login in state.device_logins.values() if login.user_code == user_code), None)


async def device(state: ProviderState, request: HttpRequest) -> HttpResponse:
    """GET and POST /device: the user enters the code, and says who they are (section 3.3)."""
    if request.method == "GET":
        if "done" in query(request):
            return page("provider/message.html", title="Done", text="Go on at the other device.")
        return page("provider/device.html", user_code=query(request).get("user_code", ""), error="")
    params = form(request)
    login = _by_user_code(state, params.get("user_code", ""))
    user = state.users.get(params.get("username", ""))
    if login is None or user is None or not same_secret(params.get("password"), user.password):
        error = "The code, the user name or the password is wrong."
        return page("provider/device.html", 401, user_code=params.get("user_code", ""), error=error)
    login.user, login.allowed, login.decided_at = user, params.get("decision") == "allow", state.seconds()
    return redirect("/device?done=1")
