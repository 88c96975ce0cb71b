"""The store in Redis, for several machines.

Theory of operation. A value that a node has read stays in its memory. Redis tells the node of every key that anybody
writes, over the connection that the node reads by. That message may be on its way still when the writer already has its
answer. So before a node believes its memory, it asks Redis something on the same connection (the fence), and believes
it when the answer is there: Redis sends what it has to tell of a write before it answers the writer, so whatever was
acknowledged before we asked stands before our answer in the stream, and a message takes effect at the moment at which
it is read. One fence serves all who came before it was sent. It asks for the server's role, so a master that was
replaced and knows it is not believed either.

A change is compare and set: a script puts the new text in the old one's place if the old one is still there, or else
returns the newer one, and the change is applied to that. What the store says when it fails, and does not know whether
the write was kept, is the same as when it was not kept: nothing was acknowledged.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import msgspec
import trio

from oxd_server.store import redis_scripts as scripts
from oxd_server.store.base import (
    DONE,
    GRACE_SECONDS,
    MAX_KEPT,
    ChangeSession,
    ChangeSite,
    ClockSetBack,
    K,
    Kept,
    Site,
    SiteExists,
    SiteNames,
    SiteNotFound,
    Sites,
    SiteSession,
    StoreError,
    StoreUnavailable,
    changed_site,
    with_count,
)
from oxd_server.store.cache import ValueCache
from oxd_server.store.redis_link import RedisLink
from oxd_server.store.redis_locks import NO_LOCK, RedisLocks, held_lock
from oxd_server.store.redis_settings import RedisSettings
from oxd_server.sync.locks import KeyedLocks
from oxd_server.sync.single_flight import SingleFlight

__all__ = ["RedisStore", "open_redis_store"]

_PAGE: Final = 500
_SETUP_CLIENTS_FIRST: Final = 1 << 50
_MOST_TRIES: Final = 100
_SITES_PER_SECOND: Final = 2000

T = TypeVar("T")
_site_decoder = msgspec.json.Decoder(Site)
_session_decoder = msgspec.json.Decoder(SiteSession)
_kept_decoder = msgspec.json.Decoder(tuple[float, msgspec.Raw])


@asynccontextmanager
async def open_redis_store(settings: RedisSettings, *, cache_size: int = 10_000) -> AsyncIterator["RedisStore"]:
    """The store under the prefix of this Redis, begun if there is none. Raises `StoreError` if it cannot be used."""
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        store = RedisStore(settings, cache_size, nursery)
        failure = await nursery.start(_keep_connected, store.link)
        if failure is None:
            try:
                yield store
            except Exception as error:  # raised in here, it would come out of the nursery in a group
                failure = error
            finally:
                nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def _keep_connected(link: RedisLink, task_status: "trio.TaskStatus[StoreError | None]") -> None:
    """Hand back why it cannot connect the first time: raised, it would come out of the nursery in a group."""
    try:
        await link.run(task_status)
    except StoreError as error:
        task_status.started(error)


class RedisStore:
    """A `Store` in Redis."""

    def __init__(self, settings: RedisSettings, cache_size: int, nursery: trio.Nursery) -> None:
        """Use `open_redis_store`."""
        self.commits = 0
        self._sites = ValueCache[Site](cache_size)
        self._sessions = ValueCache[SiteSession](cache_size)
        self.link = RedisLink(settings, self._take_back, self._forget)
        self._fences: SingleFlight[int, None] = SingleFlight()
        self._waits: SingleFlight[int, None] = SingleFlight()
        self._fence_turn = self._wait_turn = 0
        self.locks = RedisLocks(self.link, nursery)
        self._changes = KeyedLocks(max_waiting=10_000)  # changes of one site by this node need not race each other
        self._site_prefix = settings.base + b"site:"
        self._session_prefix = settings.base + b"session:"

    # what Redis tells

    def _take_back(self, key: bytes) -> None:
        for prefix, cache in ((self._site_prefix, self._sites), (self._session_prefix, self._sessions)):
            if key.startswith(prefix):
                cache.publish(key[len(prefix) :].decode(errors="replace"), None)

    def _forget(self) -> None:
        self._sites.clear()
        self._sessions.clear()

    async def _fence(self) -> None:
        await self._fences.run(self._fence_turn, self._send_fence)

    async def _send_fence(self) -> None:
        await trio.lowlevel.checkpoint()  # those who come in this turn of the loop share the fence
        self._fence_turn += 1  # those who come later need the next one
        await self.link.fence()

    # reading

    async def _cached(
        self, cache: ValueCache[T], prefix: bytes, decode: Callable[[bytes, str], T], oxd_id: str
    ) -> T | None:
        if cache.get(oxd_id) is not None:
            await self._fence()
            value = cache.get(oxd_id)
            if value is not None:
                return value
        stamp = cache.stamp(oxd_id)
        text = await self.link.read(b"GET", prefix + _encoded(oxd_id))
        if text is None:
            return None
        value = decode(text, oxd_id)
        cache.fill(oxd_id, value, stamp)
        return value

    @property
    def cache_bytes(self) -> Mapping[str, int]:
        return {"sites": self._sites.bytes, "sessions": self._sessions.bytes}

    def cached(self, oxd_id: str) -> Site | None:
        return None  # only Redis knows whether what is at hand may be believed

    async def get(self, oxd_id: str) -> Site | None:
        return await self._cached(self._sites, self._site_prefix, _decode_site, oxd_id)

    async def session(self, oxd_id: str) -> SiteSession:
        found = await self._cached(self._sessions, self._session_prefix, _decode_session, oxd_id)
        return SiteSession() if found is None else found

    async def kept(self, under: bytes, now: float, kind: type[K]) -> K | None:
        text = await self.link.read(b"GET", self.link.settings.base + b"login:" + under)
        if text is None:
            return None
        try:
            expires_at, what = _kept_decoder.decode(text)
            found = msgspec.json.decode(what, type=kind)
        except msgspec.MsgspecError:
            raise StoreError("what is kept under a hash is damaged") from None
        return found if expires_at > now else None

    async def setup_clients(self, op_host: str, limit: int) -> Sites:
        return await self._newest(_setup_index(op_host), limit)

    async def sites_of_client(self, op_host: str, client_id: str, limit: int) -> Sites:
        return await self._newest(_client_index(op_host, client_id), limit)

    async def _newest(self, index: bytes, limit: int) -> Sites:
        _, *texts = await self.link.run_script(scripts.NEWEST, *NO_LOCK, index, limit, write=False)
        return [_decode_site(text, "") for text in texts]

    async def count_registered(self, registered_from: str | None, limit: int) -> int:
        key = self.link.settings.base + _strangers_index(registered_from)
        return min(limit, int(await self.link.read(b"ZCARD", key)))

    async def count(self) -> int:
        return int(await self.link.read(b"ZCARD", self.link.settings.base + b"ids"))

    async def list(self) -> SiteNames:
        names: SiteNames = []
        start = b"-"
        while True:
            _, ids, page = await self.link.run_script(scripts.LIST, *NO_LOCK, start, _PAGE, write=False)
            names += [(oxd_id.decode(), (name or b"").decode()) for oxd_id, name in zip(ids, page, strict=True)]
            if len(ids) < _PAGE:
                return names
            start = b"(" + ids[-1]

    # writing

    async def _write(self, script: str, *arguments: bytes | int | str, timeout: float | None = None) -> Any:
        """Run a script that writes; return when what it wrote is kept. Raises `StoreError`."""
        answer = await self.link.run_script(script, *held_lock(), *arguments, timeout=timeout)
        if answer[0] == b"lost":
            raise StoreUnavailable("the lock of this change has run out, and another may have it; nothing was changed")
        self.commits += 1
        if self.link.settings.wait_for_replicas:
            await self._waits.run(self._wait_turn, self._wait_for_replicas)
        return answer

    async def _wait_for_replicas(self) -> None:
        await trio.lowlevel.checkpoint()
        self._wait_turn += 1
        await self.link.wait_for_replicas()

    async def add(self, site: Site) -> None:
        if await self.add_all([(site, None)]):
            raise SiteExists(site.oxd_id)

    async def add_all(
        self, sites: Sequence[tuple[Site, SiteSession | None]], once: str | None = None
    ) -> Sequence[str] | None:
        arguments: list[bytes | int | str] = [_encoded(once or ""), len(sites), DONE]
        for site, session in sites:
            arguments += [_encoded(site.oxd_id), msgspec.json.encode(site)]
            arguments += [b"" if session is None else msgspec.json.encode(session), _name(site)]
            arguments += _indexed(_indexes(site))
        timeout = self.link.settings.timeout + len(sites) / _SITES_PER_SECOND
        answer = await self._write(scripts.ADD, *arguments, timeout=timeout)
        return None if answer[0] == b"done" else [oxd_id.decode() for oxd_id in answer[1:]]

    async def change(self, oxd_id: str, change: ChangeSite) -> Site:
        async def put(text: bytes) -> tuple[Any, Site]:
            site = _decode_site(text, oxd_id)
            changed = changed_site(site, change)
            old, new = _indexes(site), _indexes(changed)
            gone = [name for name in old if name not in new]
            answer = await self._write(
                scripts.CHANGE, _encoded(oxd_id), text, msgspec.json.encode(changed), _name(changed),
                len(gone), *gone, *_indexed(new),
            )  # fmt: skip
            return answer, changed

        return await self._compare_and_set(oxd_id, self._site_prefix, put)

    async def change_session(
        self, oxd_id: str, change: ChangeSession, *, keep: Sequence[Kept] = (), now: float = 0.0
    ) -> SiteSession:
        kept: list[bytes | int] = []
        for one in keep:
            lifetime = max(1, int(1000 * (one.expires_at - now + GRACE_SECONDS)))
            kept += [one.hash, msgspec.json.encode((one.expires_at, one.what)), lifetime]

        async def put(text: bytes) -> tuple[Any, SiteSession]:
            before = _decode_session(text, oxd_id) if text else SiteSession()
            changed = with_count(change(before), before, keep)
            answer = await self._write(
                scripts.CHANGE_SESSION, _encoded(oxd_id), text, msgspec.json.encode(changed),
                MAX_KEPT, len(keep), *kept,
                timeout=self.link.settings.timeout + len(keep) / _SITES_PER_SECOND,
            )  # fmt: skip
            return answer, changed

        return await self._compare_and_set(oxd_id, self._session_prefix, put)

    async def remove(self, oxd_id: str) -> Site:
        async def put(text: bytes) -> tuple[Any, Site]:
            site = _decode_site(text, oxd_id)
            names = list(_indexes(site))
            return await self._write(scripts.REMOVE, _encoded(oxd_id), text, len(names), *names), site

        return await self._compare_and_set(oxd_id, self._site_prefix, put)

    async def _compare_and_set(self, oxd_id: str, prefix: bytes, put: Callable[[bytes], Awaitable[tuple[Any, T]]]) -> T:
        """Let `put` write over the newest text, and again over a newer one if that came in between."""
        key = prefix + _encoded(oxd_id)
        async with self._changes.hold(key.decode()):
            text = await self.link.read(b"GET", key)
            if text is None and prefix == self._site_prefix:
                raise SiteNotFound(oxd_id)
            if text is None and await self.link.read(b"EXISTS", self._site_prefix + _encoded(oxd_id)) == 0:
                raise SiteNotFound(oxd_id)
            for _ in range(_MOST_TRIES):
                answer, changed = await put(text or b"")
                if answer[0] == b"ok":
                    return changed
                if answer[0] == b"none":
                    raise SiteNotFound(oxd_id)
                text = answer[1]
        raise StoreError("the store has no end of other changes to the same site")

    async def secret(self, name: str, make: Callable[[], bytes]) -> bytes:
        key = _encoded(name)
        known: bytes | None = await self.link.read(b"GET", self.link.settings.base + b"secret:" + key)
        if known is not None:
            return known
        made = await trio.to_thread.run_sync(make)
        answer = await self._write(scripts.SECRET, key, made)
        return bytes(answer[1])

    async def renew_secret(self, name: str, make: Callable[[], bytes], now: float) -> bytes:
        made = await trio.to_thread.run_sync(make)
        answer = await self._write(scripts.RENEW_SECRET, _encoded(name), made, repr(now))
        return bytes(answer[1])

    async def spend(self, token: bytes, expires_at: float, now: float) -> bool:
        answer = await self._write(scripts.SPEND, token, repr(expires_at), repr(now), repr(now - GRACE_SECONDS))
        if answer[0] == b"back":
            raise ClockSetBack
        return bool(answer[0] == b"ok")

    async def unspend(self, token: bytes) -> None:
        await self._write(scripts.UNSPEND, token)


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:  # a lone surrogate: no such text can ever have been stored
        raise StoreError("the store cannot look up a text that is not valid Unicode") from None


def _decode_site(text: bytes, oxd_id: str) -> Site:
    return _decode(_site_decoder, text, oxd_id)


def _decode_session(text: bytes, oxd_id: str) -> SiteSession:
    return _decode(_session_decoder, text, oxd_id)


def _decode(decoder: "msgspec.json.Decoder[T]", text: bytes, oxd_id: str) -> T:
    try:
        return decoder.decode(text)
    except msgspec.MsgspecError:  # its text may quote what it read, which may be a secret
        raise StoreError(f"the stored site {oxd_id!r} is damaged") from None


def _name(site: Site) -> bytes:
    return _encoded(site.client.client_name or "")


def _setup_index(op_host: str) -> bytes:
    return b"setups:" + _encoded(op_host)


def _client_index(op_host: str, client_id: str) -> bytes:
    _encoded(op_host + client_id)
    return b"client:" + msgspec.json.encode((op_host, client_id))


def _indexes(site: Site) -> dict[bytes, int]:
    """The sorted sets that the site stands in, and what its place in them is raised by."""
    found = {_setup_index(site.op_host): 0} if site.is_setup_client else {}
    if site.client_id is not None:
        found[_client_index(site.op_host, site.client_id)] = _SETUP_CLIENTS_FIRST if site.is_setup_client else 0
    if site.registered_from is not None:
        found |= {_strangers_index(None): 0, _strangers_index(site.registered_from): 0}
    return found


def _strangers_index(registered_from: str | None) -> bytes:
    return b"strangers" if registered_from is None else b"strangers:" + registered_from.encode()


def _indexed(indexes: dict[bytes, int]) -> list[bytes | int]:
    return [len(indexes), *(value for pair in indexes.items() for value in pair)]
