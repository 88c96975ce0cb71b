"""How commands come in. Pure."""

import msgspec

__all__ = ["Access"]


class Access(msgspec.Struct, frozen=True):
    """What an entrance makes of its callers.

    ``closed`` says whether they are strangers to each other, so that each has to show what is its own; ``framed``
    whether answers have to fit into a frame; ``local`` whether they can only be programs on this machine.
    ``registered_from`` is kept with a new site: the address, or the network, of a caller who showed no token.
    """

    closed: bool = False
    framed: bool = False
    local: bool = False
    registered_from: str | None = None
