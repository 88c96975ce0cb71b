"""Structs that keep their secrets to themselves when somebody prints them."""

from typing import Any, ClassVar

import msgspec

__all__ = ["Discreet"]


class Discreet(msgspec.Struct, frozen=True):
    """A struct that shows the fields which its class names in ``shows``. A field that nobody names stays hidden."""

    shows: ClassVar[tuple[str, ...]] = ()

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"{type(self).__name__}({shown or '...'})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:  # msgspec's own would show every field
        return [(name, getattr(self, name)) for name in self.shows]
