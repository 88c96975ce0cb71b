"""The style sheet of all pages, those of the front and those of the sandbox."""

from importlib.resources import files

__all__ = ["style_sheet"]


def style_sheet() -> bytes:
    """Return the style sheet. It is read from the package: call it once, at the start."""
    return files("oxd_server.entrances").joinpath("static/style.css").read_bytes()
