"""Finding out what a source is by looking at it, and reading the sites in it.

A source is a JSON file with one site or a list of them, a folder of such files, the old server's H2 database, the
script that H2 makes of it, a dump of the old server's Redis values, its Redis itself (``redis://host:6379/0``), or a
running old server (``tcp://host:8099``).
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from oxd_protocol.discreet import Discreet
from oxd_server.store.base import Site, SiteSession, StoreError
from oxd_server.store.exchange import import_site
from oxd_server.store.importers.errors import SourceError

__all__ = ["MAX_BYTES", "MAX_SITE_BYTES", "FoundSite", "Source", "read_source", "sites_in"]

MAX_BYTES: Final = 2 << 30
MAX_SITE_BYTES: Final = 16 << 20
_DATABASE: Final = ".mv.db"
_NOT_SITES: Final = frozenset({"oxd-conf.json", "oxd-default-site-config.json"})


class FoundSite(Discreet, frozen=True):
    """A site, its session, and where in the source it stands."""

    shows = ("where",)

    site: Site
    session: SiteSession
    where: str


class Source(msgspec.Struct, frozen=True):
    """All the sites of a source. ``kind`` says what it was found to be; ``not_taken`` names what it withheld."""

    kind: str
    sites: tuple[FoundSite, ...]
    not_taken: tuple[str, ...] = ()


def read_source(path: Path) -> Source:
    """Return all the sites in the file or folder at ``path``. It blocks: call it in a worker thread.

    Args:
        path: the file or folder; of an H2 database also without its ending ``.mv.db``, as the old configuration
            names it.

    Raises:
        SourceError: it cannot be read, is none of the known kinds, is damaged (the text names the place), or holds two
            sites with the same oxd_id (the text names both places).
    """
    try:
        if path.is_dir():
            return _read_folder(path)
        database = Path(f"{path}{_DATABASE}")
        return _read_file(database if not path.exists() and database.exists() else path)
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from None


def sites_in(texts: Iterable[tuple[str, str | bytes]]) -> tuple[FoundSite, ...]:
    """Return the sites whose JSON stands in these texts, each beside the place where it was found.

    Raises:
        SourceError: a text is no site, or two are the same site.
    """
    return _distinct((where, _decoded(text, where)) for where, text in texts)


def _read_folder(folder: Path) -> Source:
    databases = sorted(folder.glob(f"*{_DATABASE}"))
    files = [path for path in sorted(folder.glob("*.json")) if path.name not in _NOT_SITES]
    if databases and not files:
        if len(databases) > 1:
            raise SourceError(f"{folder} holds several databases; name one of them")
        return _read_file(databases[0])
    return Source("folder of JSON files", _distinct(_nodes_of_files(files)))


def _nodes_of_files(files: list[Path]) -> Iterator[tuple[str, Any]]:
    for path in files:
        yield from _nodes(_content(path), path.name)


def _read_file(path: Path) -> Source:
    # Here, so that a server that takes nothing over does not learn how old databases are built.
    from oxd_server.store.importers.h2_file import looks_like_h2, read_h2
    from oxd_server.store.importers.h2_script import looks_like_script, read_script
    from oxd_server.store.importers.redis_values import looks_like_values, read_values

    content = _content(path)
    if looks_like_h2(content):
        return _named(path, "H2 database", lambda: sites_in(read_h2(content)))
    if content.lstrip()[:1] in (b"{", b"[") or content.startswith(b"\xef\xbb\xbf"):
        return Source("JSON file", _distinct(_nodes(content, path.name)))
    text = _text(content, path.name)
    if looks_like_values(text):
        return _named(path, "dump of Redis values", lambda: sites_in(read_values(text)))
    if looks_like_script(text):
        return _named(path, "H2 script", lambda: sites_in(read_script(text)))
    raise SourceError(
        f"{path} is none of the sources that can be read: JSON, an H2 database, its script, or a dump of Redis values"
    )


def _named(path: Path, kind: str, read: Callable[[], tuple[FoundSite, ...]]) -> Source:
    try:
        return Source(kind, read())
    except StoreError as error:
        raise SourceError(f"{path}: {error}") from None


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise SourceError(f"{path} is larger than {MAX_BYTES >> 30} GiB")
    return content


def _text(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(f"{name} is no text: byte {error.start} is not UTF-8") from None


def _nodes(content: bytes, name: str) -> Iterator[tuple[str, Any]]:
    """Yield the sites of a JSON file: it holds one, or a list of them."""
    value = _json(content.removeprefix(b"\xef\xbb\xbf"), name)
    if not isinstance(value, list):
        yield name, value
        return
    for number, node in enumerate(value, 1):
        yield f"{name}, site {number}", node


def _decoded(text: str | bytes, where: str) -> Any:
    if len(text) > MAX_SITE_BYTES:
        raise SourceError(f"{where} is larger than {MAX_SITE_BYTES >> 20} MiB")
    return _json(text, where)


def _json(text: str | bytes, where: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):  # the error's text may quote a secret
        raise SourceError(f"{where} is not valid JSON") from None


def _distinct(nodes: Iterable[tuple[str, Any]]) -> tuple[FoundSite, ...]:
    found: dict[str, FoundSite] = {}
    for where, node in nodes:
        if not isinstance(node, dict):
            raise SourceError(f"{where} is no site: a site is a JSON object")
        try:
            site, session = import_site(node)
        except StoreError as error:
            raise SourceError(f"{where}: {error}") from None
        if site.oxd_id in found:
            raise SourceError(f"the site {site.oxd_id!r} stands in it twice: {found[site.oxd_id].where}, and {where}")
        found[site.oxd_id] = FoundSite(site, session, where)
    return tuple(found.values())
