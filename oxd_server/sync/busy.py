"""What everything in this package raises when as many wait as may."""

__all__ = ["TooBusy"]


class TooBusy(Exception):
    """Nothing was done: as many as may wait already. The text is a sentence for people."""
