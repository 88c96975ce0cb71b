"""A bar on standard error for what takes long. Where that is no terminal, nothing."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Shown", "progress"]

Shown = Callable[[str, int, int], None]
"""Is told what is being done, how much of it is, and of how much."""


@contextmanager
def progress(what: str) -> Iterator[Shown]:
    """Show that the block works, and how far it is once it says so; the bar is gone at the end."""
    if not sys.stderr.isatty():
        yield _show_nothing
        return
    from rich.console import Console  # late: few commands take long
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda text, done, total: bar.update(task, description=text, completed=done, total=total)


def _show_nothing(_text: str, _done: int, _total: int) -> None:
    pass
