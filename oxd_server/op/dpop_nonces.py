"""The nonces that servers ask for in DPoP proofs. Pure. Specification: RFC 9449 sections 8 and 9."""

import re
from collections import OrderedDict

from oxd_server.op.answer import Answer
from oxd_server.op.reach import origin_of

__all__ = ["DpopNonces"]

_NONCE = re.compile(r"[!#-\[\]-~]{1,512}")
_CHALLENGE = re.compile(r'(?i)\bDPoP\b.*\berror\s*=\s*"?use_dpop_nonce\b')
_ERROR = "use_dpop_nonce"


class DpopNonces:
    """The last nonce of each server, by origin: of so many servers at most, the least recent gives way."""

    def __init__(self, capacity: int = 1000) -> None:
        self._capacity = capacity
        self._nonces: OrderedDict[str, str] = OrderedDict()

    def __len__(self) -> int:
        return len(self._nonces)

    def of(self, url: str) -> str | None:
        """The nonce for a proof that goes there; None if the server has not asked for one."""
        return self._nonces.get(origin_of(url))

    def learn(self, url: str, answer: Answer) -> bool:
        """Remember the nonce that an answer brings; return whether the request is to be made again with it.

        Section 8.2: a server may give a new nonce with any answer.
        """
        nonce = answer.headers.get("dpop-nonce", "")
        if not _NONCE.fullmatch(nonce):
            return False
        self._nonces[origin_of(url)] = nonce
        self._nonces.move_to_end(origin_of(url))
        if len(self._nonces) > self._capacity:
            self._nonces.popitem(last=False)
        return _asks_for_nonce(answer)


def _asks_for_nonce(answer: Answer) -> bool:
    # Section 8: an authorization server answers "HTTP 400 [...] with use_dpop_nonce as the error code value"; section
    # 9: a resource server answers 401 "with a WWW-Authenticate field value [...] of use_dpop_nonce".
    if answer.status == 401:
        return _CHALLENGE.search(answer.headers.get("www-authenticate", "")) is not None
    return answer.status == 400 and answer.error_response().oauth_error == _ERROR
