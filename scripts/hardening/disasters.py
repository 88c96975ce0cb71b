"""A full disk, a store that has become read-only, a damaged file: what the server answers, and what is left.

A disk of its own (a small tmpfs) is mounted where that is allowed; elsewhere a limit on the size of files
(RLIMIT_FSIZE) stands in for the full disk. What cannot be done on a machine is named in the outcome.
"""

from __future__ import annotations

import resource
import sqlite3
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from scripts.hardening.kit import Client, Failed, Provider, Server, register_params, running, running_provider

__all__ = ["run_disasters"]

_DISK_KIB = 2048
_MOST_SITES = 2000
_FILE_LIMIT = 400_000

Outcome = tuple[str, str | None]


async def run_disasters() -> list[Outcome]:
    """Run them all; return what was tried and what went wrong."""
    outcomes: list[Outcome] = []
    async with trio.open_nursery() as nursery, running_provider(nursery) as provider:
        for disaster in (full_disk, read_only, damaged_start, damaged_page):
            with tempfile.TemporaryDirectory(prefix="oxd-disaster-") as name:
                outcomes.append(await _outcome(disaster, Path(name), provider))
    return outcomes


async def _outcome(disaster: Callable[[Path, Provider], Awaitable[str]], folder: Path, provider: Provider) -> Outcome:
    try:
        return await disaster(folder, provider), None
    except Failed as error:
        return disaster.__name__.replace("_", " "), str(error)


def _expect(problem: str, fine: object) -> None:
    if not fine:
        raise Failed(problem)


@asynccontextmanager
async def small_disk(folder: Path) -> AsyncIterator[bool]:
    """Mount a small disk on the folder; False if that is not allowed here."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_KIB}k", "tmpfs", str(folder)]
    mounted = await _quietly(command)
    try:
        yield mounted
    finally:
        if mounted:
            await _quietly(["umount", "--lazy", str(folder)])


async def _quietly(command: list[str]) -> bool:
    try:
        done = await trio.run_process(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except OSError:
        return False
    return done.returncode == 0


async def full_disk(folder: Path, provider: Provider) -> str:
    """Writing fails with an error and without a half change, reading goes on, and with room again so does writing."""
    disk = folder / "data"
    disk.mkdir()
    async with small_disk(disk) as mounted:
        server = Server(folder)
        async with running(server), Client.connected(server.port) as client:
            ballast = disk / "ballast"
            if not mounted:
                resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (_FILE_LIMIT, resource.RLIM_INFINITY))
            else:
                ballast.write_bytes(bytes(_DISK_KIB * 1024 * 3 // 4))
            known = await _fill(client, provider)
            await _reads_on(client, known)
            if mounted:
                ballast.unlink()
            else:
                resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            known.append(await _register(client, provider, "after"))
            await _reads_on(client, known)
        _check_store(server.store, known)
    how = f"a tmpfs of {_DISK_KIB} KiB" if mounted else "RLIMIT_FSIZE: no disk may be mounted here"
    return f"full disk ({how}; {len(known) - 1} sites fitted, the next was refused, with room again all went on)"


async def _fill(client: Client, provider: Provider) -> list[str]:
    """Register until there is no room; return the sites that were acknowledged."""
    known: list[str] = []
    while len(known) < _MOST_SITES:
        answer = await client.call("register_site", **register_params(provider.issuer, f"s{len(known)}"))
        if answer["status"] == "error":
            _expect(f"a full disk is answered with {answer}", answer["data"]["error"] == "internal_error")
            return known
        known.append(answer["data"]["oxd_id"])
    raise Failed("the disk never was full")


async def _register(client: Client, provider: Provider, name: str) -> str:
    return str((await client.ok("register_site", **register_params(provider.issuer, name)))["oxd_id"])


async def _reads_on(client: Client, known: list[str]) -> None:
    for oxd_id in known:
        await client.ok("get_rp", oxd_id=oxd_id)


def _check_store(path: Path, known: list[str]) -> None:
    connection = sqlite3.connect(path)
    try:
        _expect("the store is damaged", connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)])
        stored = {oxd_id for (oxd_id,) in connection.execute("SELECT oxd_id FROM site")}
    finally:
        connection.close()
    _expect(f"{len(stored)} sites are stored, {len(known)} were acknowledged", stored == set(known))


async def read_only(folder: Path, provider: Provider) -> str:
    """A store that becomes read-only is read on; writing fails; a server does not start on it, and says why."""
    disk = folder / "data"
    disk.mkdir()
    server = Server(folder)
    async with running(server), Client.connected(server.port) as client:
        known = [await _register(client, provider, "before")]
        frozen = await _while_frozen(server.store, client, provider, known)
    _check_store(server.store, known)
    refused = await _start_read_only(disk, server)
    _check_store(server.store, known)
    while_running = "while the server ran (chattr +i)" if frozen else "not while the server ran (no chattr +i here)"
    at_start = "when it starts (a read-only mount)" if refused else "not when it starts (nothing may be mounted here)"
    return f"read-only store ({while_running}; {at_start})"


async def _while_frozen(store: Path, client: Client, provider: Provider, known: list[str]) -> bool:
    """Make the open files immutable for a while; False where that cannot be done."""
    files = [str(store), f"{store}-wal", f"{store}-shm"]
    try:
        if not await _quietly(["chattr", "+i", *files]):
            return False
        answer = await client.call("register_site", **register_params(provider.issuer, "meanwhile"))
        _expect(f"a read-only store is answered with {answer}", answer["data"].get("error") == "internal_error")
        await _reads_on(client, known)
    finally:
        await _quietly(["chattr", "-i", *files])
    known.append(await _register(client, provider, "after"))
    return True


async def _start_read_only(disk: Path, server: Server) -> bool:
    """Start a server on a store that it cannot write; False where nothing may be mounted."""
    if not await _quietly(["mount", "--bind", str(disk), str(disk)]):
        return False
    try:
        _expect("not read-only", await _quietly(["mount", "-o", "remount,bind,ro", str(disk)]))
        text = await _refused_start(server)
        _expect(f"the reason is not told: {text}", "cannot be" in text)
    finally:
        await _quietly(["umount", "--lazy", str(disk)])
    return True


async def _refused_start(server: Server) -> str:
    """Start a server that must not come up; return what it says: one line, with the file's name, exit code 1."""
    before = server.log.stat().st_size if server.log.exists() else 0
    await server.spawn()
    assert server.process is not None
    with trio.move_on_after(30):
        code = await server.process.wait()
        text = server.log.read_bytes()[before:].decode()
        _expect(f"exit code {code}: {text}", code == 1)
        said = [line for line in text.splitlines() if line.startswith("oxd-server:")]
        _expect(f"it says: {text}", len(said) == 1 and str(server.store) in said[0])
        return said[0]
    await server.kill()
    raise Failed("the server started on a store that it cannot use")


async def damaged_start(folder: Path, provider: Provider) -> str:
    """A file whose beginning is garbage stops the start with a clear error, and nothing in it is overwritten."""
    server = Server(folder)
    async with running(server), Client.connected(server.port) as client:
        await _register(client, provider, "one")
    content = bytearray(server.store.read_bytes())
    content[:1024] = b"\xa5" * 1024
    server.store.write_bytes(content)
    text = await _refused_start(server)
    _expect("the damaged file was changed", server.store.read_bytes() == content)
    _expect(f"the damage is not told: {text}", "damaged" in text)
    return "damaged file (its beginning: refused with one line, nothing overwritten)"


async def damaged_page(folder: Path, provider: Provider) -> str:
    """Garbage in the middle of the file is an error to whoever needs what was there, and to nobody else."""
    server = Server(folder)
    known: list[str] = []
    async with running(server), Client.connected(server.port) as client:
        known += [await _register(client, provider, f"s{number}") for number in range(40)]
    content = bytearray(server.store.read_bytes())
    middle = len(content) // 2 // 4096 * 4096
    content[middle : middle + 4096] = b"\xa5" * 4096
    server.store.write_bytes(content)
    async with running(server), Client.connected(server.port) as client:
        answers = [await client.call("get_rp", oxd_id=oxd_id) for oxd_id in known]
        codes = {answer["data"].get("error") for answer in answers if answer["status"] == "error"}
        _expect(f"damage is answered with {codes}", codes <= {"internal_error"})
        fine = sum(answer["status"] == "ok" for answer in answers)
        _expect("nothing could be read any more", fine > 0)
        still = await client.call("get_rp", oxd_id="nobody")
        _expect(f"the server serves no more: {still}", still["status"] == "error")
    after = server.store.read_bytes()
    _expect("what was damaged was overwritten", after[middle : middle + 4096] == content[middle : middle + 4096])
    return (
        f"damaged file (a page in the middle: {len(known) - fine} of {len(known)} sites are an error, the rest serve)"
    )
