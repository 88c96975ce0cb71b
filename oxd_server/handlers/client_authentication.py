"""How a client is to authenticate at its OP, where the command's caller says so."""

from oxd_protocol.errors import CommandError
from oxd_server.op.client_auth import ClientAuthMethod
from oxd_server.op.jose import ALGORITHMS

__all__ = ["method_that_counts"]


def method_that_counts(named: str | None, registered: str | None, algorithm: str | None) -> str | None:
    """Return the method that the caller names, else the registered one; None: see ``op.client_auth.usual_method``.

    Args:
        named: the caller's ``authentication_method``.
        registered: the client's, as far as it is known.
        algorithm: what an assertion is to be signed with; private_key_jwt needs it where the caller names it.

    Raises:
        CommandError: there is no such method, or the algorithm does not fit it.
    """
    method = named or registered
    if method is not None and method not in tuple(ClientAuthMethod):
        raise CommandError("invalid_request", f"authentication_method must be one of {', '.join(ClientAuthMethod)}.")
    if method not in (ClientAuthMethod.PRIVATE_KEY_JWT, ClientAuthMethod.CLIENT_SECRET_JWT):
        return method
    if algorithm is None and named != ClientAuthMethod.PRIVATE_KEY_JWT:
        return method
    symmetric = method == ClientAuthMethod.CLIENT_SECRET_JWT
    fitting = [name for name, known in ALGORITHMS.items() if known.symmetric == symmetric]
    if algorithm not in fitting:
        raise CommandError("invalid_algorithm", f"With {method}, algorithm must be one of {', '.join(fitting)}.")
    return method
