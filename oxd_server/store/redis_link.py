"""The connections to Redis: where the master is, who may be believed, and what is done at every doubt.

There are two connections to the one master. Over the one the store reads; it is the one that Redis tells of every key
that anybody has written (RESP3, `CLIENT TRACKING ON BCAST`). Over the other one the store writes, so that waiting for
replicas holds up no reader. A lost connection, an answer that does not come in time, a server that is no master any
more: both connections are dropped then, what was read is forgotten, and the master is looked for again.

All keys hold the prefix as a hash tag, so that in a cluster they lie on one master, and a script may touch all of them.
"""

import hashlib
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Final

import trio
from coredis.connection import TCPConnection, TCPLocation
from coredis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    ClusterDownError,
    MovedError,
    NoScriptError,
    ReadOnlyError,
    RedisError,
    WrongTypeError,
)
from coredis.exceptions import ConnectionError as LostConnection

from oxd_server.store.base import StoreError, StoreUnavailable
from oxd_server.store.redis_settings import RedisForbidden, RedisSettings

__all__ = ["RedisLink", "ask_masters"]

ABOUT: Final = b"oxd-server store 1"
"""What is kept under our prefix's `about`: tells our data from those of others."""
_LOOK_SECONDS: Final = 1.0
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0


_CONNECTIONS: Final = 4  # how many answers are waited for, one after the other, until both are ready


class _Told:
    """Takes what the server says without being asked, at the moment at which it is read.

    It stands in the place of coredis's queue. In a queue a message could still wait when the task that waits for a
    later answer goes on; so a look-up could believe what the message takes back.
    """

    def __init__(self, tell: Callable[[list[Any]], None]) -> None:
        self.send_nowait = tell

    def close(self) -> None:
        pass

    async def __aenter__(self) -> "_Told":
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


class _Session:
    """Two connections to one master, as long as neither is in doubt."""

    def __init__(self, settings: RedisSettings, location: TCPLocation) -> None:
        self.location = location
        self.broken = trio.Event()
        self.reader = _connection(settings, location)
        self.writer = _connection(settings, location)

    async def run(self, connection: TCPConnection, task_status: "trio.TaskStatus[None]") -> None:
        try:
            await _run_once(connection, task_status)
        finally:
            self.broken.set()


class RedisLink:
    """Keeps a `_Session` going. `forget` is called at every doubt, `changed` with each key that anybody wrote."""

    def __init__(self, settings: RedisSettings, changed: Callable[[bytes], None], forget: Callable[[], None]) -> None:
        """Nothing is connected before `run`."""
        self.settings = settings
        self._changed = changed
        self._forget = forget
        self._session: _Session | None = None
        self._trouble = "it is not connected"
        self._connected = False
        logging.getLogger("coredis").setLevel(logging.CRITICAL + 1)  # what it has to say, our errors say

    async def run(self, task_status: "trio.TaskStatus[Any]") -> None:
        """Connect, and again whenever the connection is in doubt. Raises `StoreError` if the first time fails."""
        pause = _FIRST_PAUSE
        while True:
            try:
                location = await self.find_master()
                session = _Session(self.settings, location)
                try:
                    await self._run_session(session, task_status)
                finally:
                    _close_queues(session.writer)  # it has not been run if the other one could not connect
                pause = _FIRST_PAUSE
            except* _TROUBLES as group:
                self._trouble = _said(_first(group))
                pause = min(2 * pause, _LONGEST_PAUSE)
            if not self._connected:
                raise StoreError(f"the store at Redis {self.settings.place} cannot be used: {self._trouble}")
            await trio.sleep(pause)

    async def _run_session(self, session: _Session, task_status: "trio.TaskStatus[Any]") -> None:
        """Connect, check what is there, and stay until there is a doubt."""
        session.reader._push_message_buffer_in.close()
        session.reader._push_message_buffer_in = _Told(self._tell)  # type: ignore[assignment]
        async with trio.open_nursery() as nursery:
            with trio.fail_after(_CONNECTIONS * self.settings.timeout):
                for connection in (session.reader, session.writer):
                    await nursery.start(session.run, connection)
                await self._prepare(session)
            self._forget()
            self._session = session
            if not self._connected:
                self._connected = True
                task_status.started()
            try:
                await self._look_after(session)
            finally:
                self._drop(session, "the connection was lost")
                nursery.cancel_scope.cancel()

    async def _prepare(self, session: _Session) -> None:
        """Have Redis tell of what is written, and see whose data it is. Raises `StoreError`."""
        base, ask = self.settings.base, session.reader.create_request
        prefixes = [word for kind in (b"site:", b"session:") for word in (b"PREFIX", base + kind)]
        await ask(b"CLIENT TRACKING", b"ON", b"BCAST", *prefixes)
        await self._check_master(session)
        about = await ask(b"GET", base + b"about")
        if about is None:
            await session.writer.create_request(b"SET", base + b"about", ABOUT, b"NX")
            about = await ask(b"GET", base + b"about")
        if about != ABOUT:
            raise StoreError(
                f"what lies under the prefix {self.settings.prefix!r} is not of this version of oxd-server; "
                "nothing was changed in it: name another prefix"
            )

    async def _look_after(self, session: _Session) -> None:
        """Look now and then whether the master is still there and still the master; return when in doubt."""
        while not session.broken.is_set():
            with trio.move_on_after(_LOOK_SECONDS):
                await session.broken.wait()
                return
            await self.read(b"PING")
            if self.settings.sentinel_master and await self.find_master() != session.location:
                return

    async def find_master(self) -> TCPLocation:
        """Find the master: of Sentinel, of the cluster, or the first server that answers."""
        trouble: Exception = StoreError("no server is named")
        for host, port in self.settings.servers:
            location = TCPLocation(host, port)
            if self.settings.sentinel_master is None and not self.settings.cluster:
                return location
            try:
                return await self._asked(location)
            except* _TROUBLES as group:
                trouble = _first(group)
        raise trouble

    async def _asked(self, location: TCPLocation) -> TCPLocation:
        """Ask a Sentinel or a server of the cluster for our master."""
        sentinel = self.settings.sentinel_master
        connection = _connection(self.settings, location, sentinel=sentinel is not None)
        async with trio.open_nursery() as nursery:
            with trio.fail_after(self.settings.timeout):
                await nursery.start(_run_once, connection)
                if sentinel is None:
                    found = await self._owner(connection, location)
                else:
                    found = await _named_by_sentinel(connection, sentinel)
            nursery.cancel_scope.cancel()
        return found

    async def _owner(self, connection: TCPConnection, location: TCPLocation) -> TCPLocation:
        """The server of the cluster that owns the slot of our keys."""
        try:
            await connection.create_request(b"GET", self.settings.base + b"about")
        except MovedError as moved:
            return TCPLocation(moved.host or location.host, moved.port)
        return location

    async def _check_master(self, session: _Session) -> None:
        # In a cluster, a server that owns the slot of a key no more answers with the owner's address.
        if self.settings.cluster:
            await session.reader.create_request(b"GET", self.settings.base + b"about")
            return
        role: Any = await session.reader.create_request(b"ROLE")
        if role[0] not in (b"master", "master"):
            raise StoreError("it is a read-only replica, no master")

    async def fence(self) -> None:
        """Return when whatever anybody had acknowledged before is known here. Raises `StoreError`."""
        session = self._live()
        with self._doubting(session):
            await self._check_master(session)
        if session is not self._session:
            raise self._unreachable()

    async def read(self, command: bytes, *arguments: bytes | int) -> Any:
        """Run a command that changes nothing. Raises `StoreError`."""
        session = self._live()
        with self._doubting(session):
            return await session.reader.create_request(command, *arguments)

    async def run_script(
        self, script: str, *arguments: bytes | int | str, write: bool = True, timeout: float | None = None
    ) -> Any:
        """Run a script, which gets our prefix as its only key. Raises `StoreError`."""
        session = self._live()
        connection = session.writer if write else session.reader
        with self._doubting(session):
            try:
                return await connection.create_request(
                    b"EVALSHA", _digest(script), 1, self.settings.base, *arguments, timeout=timeout
                )
            except NoScriptError:
                return await connection.create_request(
                    b"EVAL", script, 1, self.settings.base, *arguments, timeout=timeout
                )

    async def wait_for_replicas(self) -> None:
        """Return when so many replicas as is wanted have what was written before. Raises `StoreError`."""
        session, wanted = self._live(), self.settings.wait_for_replicas
        milliseconds = int(500 * self.settings.timeout)  # half of what the answer may take
        with self._doubting(session):
            have: Any = await session.writer.create_request(b"WAIT", wanted, milliseconds)
        if have < wanted:
            raise StoreUnavailable(f"the store cannot be sure of a write: {have} of {wanted} Redis replicas have it")

    def _live(self) -> _Session:
        if self._session is None:
            raise self._unreachable()
        return self._session

    def _unreachable(self) -> StoreError:
        return StoreUnavailable(f"the store at Redis {self.settings.place} is not available: {self._trouble}")

    @contextmanager
    def _doubting(self, session: _Session) -> Iterator[None]:
        """Drop the session at whatever lets its server be in doubt; say it as a `StoreError`."""
        try:
            yield
        except _TROUBLES as error:
            trouble = _said(error)
            if isinstance(error, _DOUBTS):
                self._drop(session, trouble)
            raise StoreUnavailable(f"the store at Redis {self.settings.place} failed: {trouble}") from None

    def _drop(self, session: _Session, trouble: str) -> None:
        session.broken.set()
        if self._session is session:
            self._session = None
            self._trouble = trouble
            self._forget()

    def _tell(self, message: list[Any]) -> None:
        kind, keys = message[0], message[1]
        if kind not in (b"invalidate", "invalidate"):
            return
        if keys is None:  # the whole database was emptied
            self._forget()
        for key in keys or ():
            self._changed(key if isinstance(key, bytes) else key.encode())


async def ask_masters(settings: RedisSettings, ask: Callable[[TCPConnection], Awaitable[None]]) -> None:
    """Run `ask` with a connection to the master; in a cluster, with one to each of the masters, one after the other.

    Raises `StoreError`, also what `ask` raises of that kind.
    """
    trouble: Exception | None = None
    try:
        for location in await _masters(settings):
            await _ask_one(settings, location, ask)
    except* _TROUBLES as group:
        trouble = _first(group)
    if isinstance(trouble, StoreError):
        raise trouble
    if trouble is not None:
        kind = RedisForbidden if isinstance(trouble, AuthorizationError) else StoreError
        raise kind(f"Redis {settings.place} cannot be read: {_said(trouble)}")


async def _masters(settings: RedisSettings) -> list[TCPLocation]:
    found = await RedisLink(settings, lambda _: None, lambda: None).find_master()
    if not settings.cluster:
        return [found]
    masters: dict[TCPLocation, None] = {}

    async def ask(connection: TCPConnection) -> None:
        slots: Any = await connection.create_request(b"CLUSTER SLOTS")
        for _, _, master, *_ in slots:
            masters[TCPLocation(master[0].decode() if master[0] else found.host, int(master[1]))] = None

    await _ask_one(settings, found, ask)
    return list(masters)


async def _ask_one(
    settings: RedisSettings, location: TCPLocation, ask: Callable[[TCPConnection], Awaitable[None]]
) -> None:
    connection = _connection(settings, location)
    async with trio.open_nursery() as nursery:
        with trio.fail_after(settings.timeout):
            await nursery.start(_run_once, connection)
        await ask(connection)
        nursery.cancel_scope.cancel()


_TROUBLES: Final = (RedisError, OSError, TimeoutError, trio.TooSlowError, StoreError)
_DOUBTS: Final = (
    LostConnection, ReadOnlyError, MovedError, ClusterDownError, AuthenticationError, OSError, TimeoutError, StoreError,
)  # fmt: skip


def _connection(settings: RedisSettings, location: TCPLocation, *, sentinel: bool = False) -> TCPConnection:
    return TCPConnection(
        location,
        stream_timeout=settings.timeout,
        connect_timeout=settings.timeout,
        username=None if sentinel else settings.username,
        password=None if sentinel else settings.password,
        db=0 if sentinel else settings.database,
        ssl_context=settings.ssl_context,
        socket_keepalive=True,
    )


async def _run_once(connection: TCPConnection, task_status: "trio.TaskStatus[None]") -> None:
    """Run the connection, and close its queues, which it leaves open if it cannot connect."""
    try:
        await connection.run(task_status=task_status)
    finally:
        _close_queues(connection)


def _close_queues(connection: TCPConnection) -> None:
    for name in ("_push_message_buffer", "_streamed_message_buffer", "_write_buffer"):
        for end in (getattr(connection, f"{name}_in"), getattr(connection, f"{name}_out")):
            end.close()


async def _named_by_sentinel(connection: TCPConnection, name: str) -> TCPLocation:
    found: Any = await connection.create_request(b"SENTINEL GET-MASTER-ADDR-BY-NAME", name)
    if found is None:
        raise StoreError(f"Sentinel knows no master {name!r}")
    return TCPLocation(found[0].decode(), int(found[1]))


@cache
def _digest(script: str) -> bytes:
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest().encode()


def _first(group: BaseException) -> Exception:
    while isinstance(group, BaseExceptionGroup):
        group = group.exceptions[0]
    assert isinstance(group, Exception)
    return group


def _said(error: Exception) -> str:
    """What went wrong, in words that hold no value."""
    if isinstance(error, StoreError):
        return str(error)
    if isinstance(error, TimeoutError | trio.TooSlowError):
        return "it did not answer in time"
    if isinstance(error, AuthenticationError):
        return "it refuses the user name or the password"
    if isinstance(error, ReadOnlyError):
        return "it is a read-only replica, no master"
    if isinstance(error, WrongTypeError):
        return "something that another application keeps lies under our prefix"
    if isinstance(error, LostConnection):
        return str(error)[:200] or "the connection was lost"
    return str(error)[:200]
