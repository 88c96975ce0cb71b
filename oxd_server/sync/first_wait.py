"""Running a coroutine up to where it has to wait, and finishing it from there. Pure.

What a coroutine yields to trio when it has to wait is its trap. By then it has said in the name of its task what it
waits for. So it must be finished in the same task; but before that the task can arrange what others do meanwhile.
"""

import types
from collections.abc import Coroutine, Generator
from typing import Any, TypeVar

__all__ = ["finish", "run_to_first_wait"]

T = TypeVar("T")


def run_to_first_wait(coroutine: Coroutine[Any, Any, None]) -> object | None:
    """Start the coroutine; return its trap if it has to wait, None if it has come to its end."""
    try:
        trap: object = coroutine.send(None)
    except StopIteration:
        return None
    return trap


@types.coroutine
def finish(coroutine: Coroutine[Any, Any, T], trap: object) -> Generator[Any, Any, T]:
    """Go on with a coroutine after ``run_to_first_wait`` in the same task, as ``await`` does."""
    try:
        while True:
            trap = coroutine.send((yield trap))
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        coroutine.close()
