"""Who gets which scope: the policies of the sandbox's authorization server. Change them as you like.

A policy is a function that looks at what is known about the requesting party. It says yes or no, or raises
`MissingClaims` when it would have to know more; then the client gets `need_info`.
"""

from collections.abc import Callable, Iterable

from oxd_server.sandbox.uma.model import Claims

__all__ = ["DEFAULT", "HINTS", "POLICIES", "MissingClaims", "allow", "deny", "friendly_name", "policy_for", "requires"]

Policy = Callable[[Claims], bool]
FRIENDLY_NAMES = {"country": "Country", "city": "City", "email": "E-mail address"}
HINTS = {"country": "Two letters, for example US", "city": "For example NY", "email": "For example bob@example.org"}


class MissingClaims(Exception):
    """The policy cannot decide without these claims."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(names)
        super().__init__(", ".join(self.names))


def friendly_name(claim: str) -> str:
    """How to name a claim to a person."""
    return FRIENDLY_NAMES.get(claim, claim.replace("_", " ").capitalize())


def allow(claims: Claims) -> bool:
    """Everybody may."""
    del claims
    return True


def deny(claims: Claims) -> bool:
    """Nobody may."""
    del claims
    return False


def requires(**wanted: tuple[str, ...]) -> Policy:
    """Those may whose claims have one of the wanted values each, letter case aside."""
    values = (f"{friendly_name(name).lower()} {' or '.join(wanted[name])}" for name in wanted)

    def policy(claims: Claims) -> bool:
        if missing := [name for name in wanted if name not in claims]:
            raise MissingClaims(missing)
        return all(claims[name].casefold() in {value.casefold() for value in wanted[name]} for name in wanted)

    policy.__doc__ = f"Those may with {', '.join(values)}."
    return policy


POLICIES: dict[str, Policy] = {
    "nobody": deny,
    "new-yorkers": requires(country=("US",), city=("NY", "New York")),
    "friends": requires(email=("bob@example.org", "zoe@example.org")),
}
"""By the name of the scope, or by the last part of its path: `https://photos.example/scopes/friends` is `friends`."""

DEFAULT: Policy = allow
"""For every scope that is not in the table."""


def policy_for(scope: str) -> Policy:
    """The policy that guards a scope."""
    return POLICIES.get(scope.rstrip("/").rpartition("/")[2], DEFAULT)
