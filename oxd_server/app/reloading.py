"""A reload: the configuration is read again, and what is made of it takes the place of what was there.

Nothing of a server that runs is changed while something can still go wrong. First everything is read and made anew, as
an ``Edition`` and the settings of the HTTPS front. Then all of it is put in place at once. Commands that run end with
what they began with; connections live on.
"""

from collections.abc import Awaitable, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import msgspec
import structlog
import trio

from oxd_protocol.messages import Response
from oxd_protocol.params import AnyCommand
from oxd_server.app.building import Edition, Lasting, listener_limits, make_edition, make_room
from oxd_server.app.watching import front_readings
from oxd_server.config import (
    Config,
    ConfigError,
    DefaultSite,
    Sources,
    as_reloaded,
    load_default_site,
    load_settings,
)
from oxd_server.dispatch.guard import Entrance
from oxd_server.entrances.https import Figures, FrontSettings, HttpsFront, front_settings
from oxd_server.entrances.refusals import Refusals
from oxd_server.entrances.tcp import FrameListener
from oxd_server.observe.call import Caller
from oxd_server.op.errors import KeyFileError
from oxd_server.rp.site_marks import SiteMarks
from oxd_server.store import StoreError

__all__ = ["CANNOT_START", "Editions", "Read", "Reloadable", "read_again", "tell_not_reloaded", "tell_reloaded"]

CANNOT_START: Final = (ConfigError, KeyFileError, StoreError, OSError)
"""What is wrong with a configuration, or with what it names."""


class Editions:
    """The edition in force. The entrances know no other way to it, so that all of them go over at once."""

    def __init__(self, first: Edition, readings: Mapping[str, Figures]) -> None:
        """``readings`` are what can be read of the server, by their usual paths."""
        self.current = first
        self.readings = readings

    def dispatch(
        self, entrance: Entrance, name: str, raw_params: dict[str, object], caller: Caller
    ) -> Awaitable[Response]:
        """Run a command in the edition that is in force now."""
        return self.current.dispatcher.dispatch(entrance, name, raw_params, caller)

    def needs_token(self, command: AnyCommand) -> bool:
        """Return whether a command over HTTPS needs a protection token."""
        return self.current.dispatcher.needs_token(Entrance.HTTPS, command)

    def public_keys(self) -> dict[str, Any]:
        """Return the JWK Set of the public keys, for OPs."""
        return self.current.services.public_jwks()

    async def front_settings(
        self, config: Config, addresses: Sequence[tuple[str, int]], refusals: Refusals
    ) -> FrontSettings:
        """Return what the HTTPS front needs of this configuration; it runs commands in the edition in force.

        ``refusals`` is told of what it refuses. Raises ``ConfigError``.
        """
        marks, handle = SiteMarks(self.current.services.store), partial(self.dispatch, Entrance.HTTPS)
        return await front_settings(
            config,
            addresses,
            handle,
            marks,
            needs_token=self.needs_token,
            public_keys=self.public_keys,
            figures=front_readings(config, self.readings),
            refusals=refusals,
        )


class Read(NamedTuple):
    """What was read: the configuration as a reload may take it, and the changed keys that only a restart takes."""

    config: Config
    default_site: DefaultSite
    left: tuple[str, ...]


async def read_again(sources: Sources, running: Config) -> Read:
    """Read the settings and the default site again. Raises ``ConfigError``."""
    loaded = await trio.to_thread.run_sync(load_settings, sources)
    config, left = as_reloaded(running, loaded.config)
    return Read(config, await trio.to_thread.run_sync(load_default_site, config.default_site_path), left)


class Reloadable(msgspec.Struct, frozen=True):
    """What a reload puts something new into: the editions, and the entrances."""

    sources: Sources
    lasting: Lasting
    editions: Editions
    servers: Sequence[FrameListener]
    front: HttpsFront | None

    async def reload(self, retiring: trio.Nursery) -> None:
        """Read the configuration again, and put what is made of it in place, all or nothing.

        The edition before is closed in the nursery, when its last command has ended.
        """
        before = self.editions.current
        self.lasting.sight.reopen_log()
        try:
            read = await read_again(self.sources, before.config)
            edition, settings = await self._make(read, before)
        except CANNOT_START as error:
            tell_not_reloaded(error)
            return
        # From here on nothing waits and nothing fails.
        make_room(read.config)
        self.editions.current = edition
        self.lasting.registrations.per_hour = read.config.open_registrations_per_hour
        for server in self.servers:
            server.use(listener_limits(read.config))
        if self.front is not None and settings is not None:
            self.front.use(settings)
            self.lasting.sight.see_certificate(settings.certificate_expires)
        retiring.start_soon(before.retire)
        tell_reloaded(read)
        self.lasting.sight.set_log_level(read.config.log_level)

    async def _make(self, read: Read, before: Edition) -> tuple[Edition, FrontSettings | None]:
        edition = await make_edition(read.config, read.default_site, self.lasting, before)
        try:
            if self.front is None:
                return edition, None
            return edition, await self.editions.front_settings(read.config, self.front.addresses, self.front.refusals)
        except BaseException:
            await edition.opened.aclose()
            raise


def tell_reloaded(read: Read) -> None:
    """Say in the log that what was read is in force, and what of it is not."""
    log = structlog.get_logger("oxd_server")
    log.info("configuration_reloaded", warnings=(*read.config.warnings, *read.default_site.warnings))
    if read.left:
        log.warning("restart_needed", keys=read.left)


def tell_not_reloaded(error: Exception) -> None:
    """Say in the log what is wrong, a line each."""
    log = structlog.get_logger("oxd_server")
    reasons = error.problems if isinstance(error, ConfigError) else (str(error),)
    log.error("configuration_not_reloaded", reasons=reasons)
