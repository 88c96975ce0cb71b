"""What everything in this package raises when as many wait as may."""

__all__ = ["TooBusy"]


class TooBusy(Exception):
    """Nothing was done: as many as may wait already. The text is a sentence for people.

    ``limit`` says in the log which limit it was, in a few words.
    """

    def __init__(self, text: str, limit: str) -> None:
        super().__init__(text)
        self.limit = limit
