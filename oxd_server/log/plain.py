"""Text for people's eyes: nothing in it moves the cursor, changes colours or makes up lines. Pure."""

from collections.abc import Mapping

__all__ = ["colours_wanted", "plain_json", "plain_text"]


def colours_wanted(on_terminal: bool, environment: Mapping[str, str]) -> bool:
    """Return whether to write in colours: on a terminal that has them, unless NO_COLOR is set to anything at all."""
    return on_terminal and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"


def plain_text(text: str) -> str:
    """Return the text with every character that a terminal might obey, or that cannot be seen, written out."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def plain_json(text: str) -> str:
    """Return the same for a JSON text of many lines, which stays the same JSON."""
    return "\n".join(line if line.isprintable() else "".join(map(_json_escaped, line)) for line in text.split("\n"))


def _json_escaped(char: str) -> str:
    # RFC 8259, section 7: a character beyond the basic plane is written as its UTF-16 surrogates.
    if char.isprintable():
        return char
    units = char.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[start : start + 4]}" for start in range(0, len(units), 4))
