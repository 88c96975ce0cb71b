"""Why a state is refused: in a sentence, and for programs as ``details.check``."""

from oxd_protocol.errors import CommandError
from oxd_server.rp.login_state import Purpose
from oxd_server.rp.services import Services

__all__ = ["refused_state", "used_state"]

_ISSUED_BY = {
    Purpose.LOGIN: "get_authorization_url",
    Purpose.CLAIMS_GATHERING: "uma_rp_get_claims_gathering_url",
}


def refused_state(
    services: Services, state: str, oxd_id: str, code: str, purpose: Purpose = Purpose.LOGIN
) -> CommandError:
    """Return the error for a state that does not open: it has expired, or it was never issued for this site."""
    if services.logins.issued(state, oxd_id, purpose):
        why = "it has expired: it came back later than state_expiration_in_minutes allows"
        return _error(code, "state_expired", why, purpose)
    return _error(code, "state_unknown", f"it was not issued by {_ISSUED_BY[purpose]} for this site", purpose)


def used_state(code: str, purpose: Purpose = Purpose.LOGIN) -> CommandError:
    """Return the error for a state that came back before, as when somebody reloads the page of the callback."""
    return _error(code, "state_used", "it was used already, as when the callback's page is reloaded", purpose)


def _error(code: str, check: str, why: str, purpose: Purpose) -> CommandError:
    description = f"'state' is not registered: {why}. Send the user to a new URL from {_ISSUED_BY[purpose]}."
    return CommandError(code, description, {"check": check})
