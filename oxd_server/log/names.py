"""The names that secrets go by. Pure."""

import re
from typing import Final

__all__ = ["ENDING", "WORD", "is_secret_name"]

# Names that end like this (access_token, client-secret, X-Api-Key, trust_store_password ...) hold secrets, and so do
# the short ones, but only as whole names.
ENDING: Final = (
    r"(?:tokens?|secrets?|passwords?|passwd|passphrase|authorization|cookies?|assertion|"
    r"api[_-]?key|private[_-]?key|code[_-]?verifier|credentials?|jwt)"
)
WORD: Final = (
    r"(?:(?:auth(?:orization)?[_-]|device[_-]|user[_-])?code|dpop(?:[_-]key)?|(?:session[_-])?state|c?[_-]?nonce|"
    r"tickets?|rpt|pat|pct|aat|id[_-]token[_-]hint)"
)
_SECRET_NAME = re.compile(rf"(?:[\w.-]*{ENDING}|{WORD})", re.IGNORECASE)
_CAMEL_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def is_secret_name(name: str) -> bool:
    """Return whether what goes by this name (of a key, parameter or header) is to be hidden."""
    return _SECRET_NAME.fullmatch(_CAMEL_HUMP.sub("_", name.strip())) is not None
