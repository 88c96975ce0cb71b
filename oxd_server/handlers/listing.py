"""Stored sites as answers: in a frame, which has no room for every name, the names give way and not the sites."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from oxd_protocol.errors import CommandError
from oxd_protocol.messages import Response, check_fits
from oxd_protocol.site import GetRpResult

__all__ = ["list_of", "node_of"]

_NAME_LENGTHS: Final = (200, 100, 50, 20, 0)
"""What names are cut to, in characters, one after the other until the answer fits."""

_TOO_MANY: Final = (
    "{} sites do not fit into one frame. `oxd-server sites list` lists them on the server's machine; over HTTPS an "
    "answer has no such limit."
)


def list_of(names: Sequence[tuple[str, str]], *, framed: bool) -> GetRpResult:
    """Return the sites by oxd_id and name; in a frame the names are cut as far as need be.

    Raises ``CommandError`` response_too_long if there are more sites than a frame has room for.
    """

    def cut(length: int | None) -> GetRpResult:
        return GetRpResult(node=[{"oxd_id": oxd_id, "client_name": name[:length]} for oxd_id, name in names])

    result = _first_that_fits(map(cut, (None, *_NAME_LENGTHS))) if framed else cut(None)
    if framed and not _fits(result):
        raise CommandError("response_too_long", _TOO_MANY.format(len(names)))
    return result


def node_of(node: dict[str, Any], *, framed: bool) -> GetRpResult:
    """Return one site; in a frame without the OP's view of it, and with a shorter name, as far as need be."""
    return (
        _first_that_fits(GetRpResult(node=shorter) for shorter in _shorter(node)) if framed else GetRpResult(node=node)
    )


def _shorter(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    node = {**node, "registered_metadata": None}
    for length in (None, *_NAME_LENGTHS):
        yield {**node, "client_name": (node.get("client_name") or "")[:length]}


def _first_that_fits(results: Iterable[GetRpResult]) -> GetRpResult:
    """Return the first that a frame can carry, else the last, which is too long."""
    for result in results:
        if _fits(result):
            break
    return result


def _fits(result: GetRpResult) -> bool:
    try:
        check_fits(Response("ok", result))
    except CommandError:
        return False
    return True
