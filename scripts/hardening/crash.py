"""Kills the server with SIGKILL at random moments and looks whether anything that it acknowledged is gone.

Workers register sites, update and protect them, log users in and remove sites, each on a connection of its own. After
every kill the server is started again on the same store and port, and the store is compared with what the workers were
told: an acknowledged change is there; one that was not acknowledged is there as a whole or not at all. A state whose
login was acknowledged is used up, also after the restart. ``./scripts/crash`` starts this.
"""

from __future__ import annotations

import argparse
import base64
import json
import random
import sqlite3
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import trio

from scripts.hardening.disasters import run_disasters
from scripts.hardening.kit import (
    Broken,
    Client,
    Failed,
    Provider,
    Server,
    changed_params,
    protect_params,
    register_params,
    running_provider,
)

WORKERS = 12
MOST_SITES = 6
LONGEST_LIFE = 1.2
SHARE_KILLED_WHILE_STARTING = 0.1
CHECK_EVERY = 20


@dataclass
class Kept:
    """What a worker knows about one of its sites: acknowledged values, and what is under way (None: nothing)."""

    oxd_id: str
    name: str
    version: int = 0
    protected: int | None = None
    id_token: str | None = None
    used_state: str | None = None
    next_version: int | None = None
    next_protected: int | None = None
    login_nonce: str | None = None
    leaving: bool = False
    must_repeat_update: bool = False  # the provider may be ahead of the store: nobody knows how far the last one got

    def forget_pending(self) -> None:
        """Nothing is under way."""
        self.next_version = self.next_protected = self.login_nonce = None
        self.leaving = False


@dataclass
class Tally:
    """What a run comes to."""

    kills: int = 0
    killed_while_starting: int = 0
    acknowledged: dict[str, int] = field(default_factory=dict)
    unacknowledged: int = 0
    of_which_done: int = 0
    used_states_checked: int = 0
    integrity_checks: int = 0
    lost: list[str] = field(default_factory=list)

    def acknowledge(self, command: str) -> None:
        """Count a change that the server has acknowledged."""
        self.acknowledged[command] = self.acknowledged.get(command, 0) + 1


class Worker:
    """One client of the server."""

    def __init__(self, number: int, seed: int, provider: Provider, tally: Tally) -> None:
        self.sites: dict[str, Kept] = {}
        self.registering: str | None = None
        self._number = number
        self._count = 0
        self._random = random.Random(f"{seed}/{number}")
        self._provider = provider
        self._tally = tally

    async def work(self, port: int) -> None:
        """Send commands until the connection breaks."""
        try:
            async with Client.connected(port) as client:
                while True:
                    await self._step(client)
        except Broken:
            return

    async def _step(self, client: Client) -> None:
        sites = list(self.sites.values())
        if len(sites) < 2:
            await self._register(client)
            return
        site = self._random.choice(sites)
        if site.must_repeat_update:
            await self._update(client, site)
            return
        steps = [self._update, self._update, self._protect, self._log_in, self._log_in]
        steps.append(self._leave if len(sites) >= MOST_SITES else partial(self._register_one_more))
        await self._random.choice(steps)(client, site)

    async def _register_one_more(self, client: Client, site: Kept) -> None:
        del site
        await self._register(client)

    async def _register(self, client: Client) -> None:
        self._count += 1
        self.registering = f"w{self._number}s{self._count}"
        data = await client.ok("register_site", **register_params(self._provider.issuer, self.registering))
        self.sites[data["oxd_id"]] = Kept(data["oxd_id"], self.registering)
        self.registering = None
        self._tally.acknowledge("register_site")

    async def _update(self, client: Client, site: Kept) -> None:
        site.next_version = site.version + 1
        await client.ok("update_site", oxd_id=site.oxd_id, **changed_params(site.name, site.next_version))
        site.version, site.must_repeat_update = site.next_version, False
        site.forget_pending()
        self._tally.acknowledge("update_site")

    async def _protect(self, client: Client, site: Kept) -> None:
        site.next_protected = (site.protected or 0) + 1
        await client.ok("uma_rs_protect", oxd_id=site.oxd_id, **protect_params(site.next_protected))
        site.protected = site.next_protected
        site.forget_pending()
        self._tally.acknowledge("uma_rs_protect")

    async def _log_in(self, client: Client, site: Kept) -> None:
        url = (await client.ok("get_authorization_url", oxd_id=site.oxd_id))["authorization_url"]
        callback = self._provider.consent(url)
        site.login_nonce = callback["nonce"]
        tokens = await client.ok(
            "get_tokens_by_code", oxd_id=site.oxd_id, code=callback["code"], state=callback["state"]
        )
        site.id_token, site.used_state = tokens["id_token"], callback["state"]
        site.forget_pending()
        self._tally.acknowledge("get_tokens_by_code")

    async def _leave(self, client: Client, site: Kept) -> None:
        site.leaving = True
        await client.ok("remove_site", oxd_id=site.oxd_id)
        del self.sites[site.oxd_id]
        self._tally.acknowledge("remove_site")


class Comparison:
    """What the workers were told against what is in the store."""

    def __init__(self, workers: list[Worker], tally: Tally) -> None:
        self._workers = workers
        self._tally = tally

    def run(self, path: Path, *, thorough: bool) -> None:
        """Compare everything; take over what was done without having been acknowledged."""
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            if thorough:
                self._tally.integrity_checks += 1
                self._expect("integrity", connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)])
            stored = {oxd_id: (name, json.loads(text)) for oxd_id, name, text in connection.execute(
                "SELECT oxd_id, client_name, document FROM site")}  # fmt: skip
            sessions = {oxd_id: json.loads(text) for oxd_id, text in connection.execute(
                "SELECT oxd_id, json FROM site_session")}  # fmt: skip
        finally:
            connection.close()
        for worker in self._workers:
            for site in list(worker.sites.values()):
                self._compare(worker, site, stored.pop(site.oxd_id, None), sessions.pop(site.oxd_id, {}))
            self._adopt(worker, stored)
        self._expect(f"sites that nobody registered: {list(stored)}", not stored)
        self._expect(f"sessions without a site: {list(sessions)}", not sessions)

    def _compare(
        self, worker: Worker, site: Kept, row: tuple[str, dict[str, Any]] | None, session: Mapping[str, Any]
    ) -> None:
        if row is None:
            self._expect(f"{site.name} is gone", site.leaving)
            self._settle(True)
            del worker.sites[site.oxd_id]
            return
        name, stored = row
        if site.leaving:
            self._settle(False)
        self._expect(
            f"{site.name} has another name in the row than in its JSON", stored["client"]["client_name"] == name
        )
        self._expect(f"{site.name} is without its client", _has_client(stored))
        version, protected = _version_of(site.name, stored), _protection_of(stored)
        site.must_repeat_update |= site.next_version is not None and site.next_version != version
        site.version = self._one_of(site.name, site.version, site.next_version, version) or 0
        site.protected = self._one_of(f"{site.name} protection", site.protected, site.next_protected, protected)
        self._compare_login(site, session)
        site.forget_pending()

    def _compare_login(self, site: Kept, session: Mapping[str, Any]) -> None:
        token = session.get("id_token")
        if site.login_nonce is None or token == site.id_token:
            self._expect(f"{site.name} has lost its login", token == site.id_token)
            if site.login_nonce is not None:
                self._settle(False)
            return
        whole = token and _nonce_of(token) == site.login_nonce and session.get("subject")
        self._expect(f"{site.name} has a login that nobody made", bool(whole and session.get("tokens_issued")))
        site.id_token, site.used_state = token, None
        self._settle(True)

    def _adopt(self, worker: Worker, stored: dict[str, tuple[str, dict[str, Any]]]) -> None:
        """Take over the site whose registration was not acknowledged, if it is there."""
        if worker.registering is None:
            return
        name, worker.registering = worker.registering, None
        found = [oxd_id for oxd_id, (_, site) in stored.items() if site["client"]["client_name"] == f"{name}-v0"]
        self._expect(f"{name} is there {len(found)} times", len(found) <= 1)
        self._settle(bool(found))
        for oxd_id in found:
            _, site = stored.pop(oxd_id)
            self._expect(f"{name} is half a site", _version_of(name, site) == 0 and _has_client(site))
            worker.sites[oxd_id] = Kept(oxd_id, name)

    def _one_of(self, what: str, acknowledged: int | None, pending: int | None, found: object) -> int | None:
        """Return what was found, which must be the acknowledged value or the one that was under way."""
        if found not in (acknowledged, pending):
            self._tally.lost.append(f"{what} is {found!r}, acknowledged was {acknowledged!r}")
            return acknowledged
        if pending is not None:
            self._settle(found == pending)
        return pending if found == pending and pending is not None else acknowledged

    def _settle(self, done: bool) -> None:
        self._tally.unacknowledged += 1
        self._tally.of_which_done += done

    def _expect(self, problem: str, fine: bool) -> None:
        if not fine:
            self._tally.lost.append(problem)


def _version_of(name: str, stored: Mapping[str, Any]) -> object:
    """The one version that all values of the site carry; None if they carry different ones."""
    client = stored["client"]
    text = client["client_name"].rpartition("-v")[2]
    params = changed_params(name, int(text)) if text.isdigit() else {}
    found = {
        "client_name": client.get("client_name"),
        "contacts": client.get("contacts"),
        "authorization_redirect_uri": next(iter(client.get("redirect_uris", [])), None),
        # The server adds the claims-gathering address of the authorization server.
        "redirect_uris": [uri for uri in client.get("redirect_uris", []) if uri.startswith("https://app.example.org/")],
        "post_logout_redirect_uri": next(iter(client.get("post_logout_redirect_uris", [])), None),
    }
    return int(text) if found == params else f"a mixture: {found}"


def _protection_of(stored: Mapping[str, Any]) -> object:
    """The version that all protected resources carry; None without any, -1 if they are not what one command made."""
    resources = stored.get("uma_protected_resources", [])
    if not resources:
        return None
    version = resources[0]["path"].removeprefix("/v")
    wanted = protect_params(int(version))["resources"][0]
    found = [(one["path"], one["http_methods"], one["scopes"]) for one in resources if one["id"]]
    expected = [(wanted["path"], one["httpMethods"], one["scopes"]) for one in wanted["conditions"]]
    return int(version) if found == expected else -1


def _has_client(stored: Mapping[str, Any]) -> bool:
    return all(stored.get(name) for name in ("client_id", "client_secret", "client_registration_access_token"))


def _nonce_of(id_token: str) -> object:
    payload = id_token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["nonce"]


async def check_used_states(port: int, workers: list[Worker], tally: Tally) -> None:
    """A state that was used before the crash is refused after it."""
    async with Client.connected(port) as client:
        for worker in workers:
            for site in worker.sites.values():
                if site.used_state is None:
                    continue
                answer = await client.call(
                    "get_tokens_by_code", oxd_id=site.oxd_id, code="another", state=site.used_state
                )
                if answer["data"].get("error") != "bad_request":
                    tally.lost.append(f"{site.name}: a used state is good again: {answer}")
                tally.used_states_checked += 1
                break  # one a worker is enough


async def crash_run(folder: Path, kills: int, seed: int, *, show: bool = True) -> Tally:
    """Kill and compare ``kills`` times on a store in ``folder``. Raises ``Failed`` if the server does not start."""
    chance, tally = random.Random(seed), Tally()
    server = Server(folder)
    try:
        await _kill_and_compare(server, chance, tally, kills, seed, show=show)
    finally:
        with trio.CancelScope(shield=True):
            await server.stop()
    return tally


async def _kill_and_compare(
    server: Server, chance: random.Random, tally: Tally, kills: int, seed: int, *, show: bool
) -> None:
    async with trio.open_nursery() as nursery, running_provider(nursery) as provider:
        workers = [Worker(number, seed, provider, tally) for number in range(WORKERS)]
        comparison = Comparison(workers, tally)
        while tally.kills < kills:
            if chance.random() < SHARE_KILLED_WHILE_STARTING:
                await server.spawn()
                await trio.sleep(chance.uniform(0.0, LONGEST_LIFE))
                await server.kill()
                tally.kills += 1
                tally.killed_while_starting += 1
            await server.start()
            await check_used_states(server.port, workers, tally)
            async with trio.open_nursery() as at_work:
                for worker in workers:
                    at_work.start_soon(worker.work, server.port)
                await trio.sleep(chance.uniform(0.02, LONGEST_LIFE))
                await server.kill()
            tally.kills += 1
            thorough = tally.kills % CHECK_EVERY == 0 or tally.kills >= kills
            await trio.to_thread.run_sync(partial(comparison.run, server.store, thorough=thorough))
            if show and thorough:
                _progress(tally, kills)
        await server.start()  # once more: what the last kill left behind opens as well
        await check_used_states(server.port, workers, tally)
        if await server.stop() != 0:
            tally.lost.append("the server did not stop cleanly at the end")
        comparison.run(server.store, thorough=True)


def _progress(tally: Tally, kills: int) -> None:
    count = sum(tally.acknowledged.values())
    print(f"  {tally.kills}/{kills} kills, {count} acknowledged changes, {len(tally.lost)} lost", flush=True)


def report(tally: Tally) -> None:
    """Print the figures."""
    each = ", ".join(f"{command} {count}" for command, count in sorted(tally.acknowledged.items()))
    print(f"kills (SIGKILL):                    {tally.kills} ({tally.killed_while_starting} while starting)")
    print(f"acknowledged changes:               {sum(tally.acknowledged.values())} ({each})")
    print(
        f"cut off before their answer:        {tally.unacknowledged} ({tally.of_which_done} of them done, as a whole)"
    )
    print(f"used states refused after a crash:  {tally.used_states_checked}")
    print(f"integrity checks:                   {tally.integrity_checks}")
    print(f"lost or half changes:               {len(tally.lost)}")
    for problem in tally.lost[:20]:
        print(f"    {problem}")


def main() -> int:
    """Run what the command line asks for; return the exit code."""
    parser = argparse.ArgumentParser(prog="./scripts/crash", description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="how many times (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the moments and commands (default: %(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="oxd-crash-") as name:
        print(f"Killing the server {options.kills} times while {WORKERS} clients change things:")
        tally = trio.run(partial(crash_run, Path(name), options.kills, options.seed))
        report(tally)
    print("\nDisks that fill, stores that cannot be written or read:")
    bad = 0
    for what, problem in trio.run(run_disasters):
        print(f"  {what}: {problem or 'ok'}", flush=True)
        bad += problem is not None
    if tally.lost or bad:
        print("FAILED", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except* Failed as failed:
        print(f"FAILED: {failed.exceptions}", file=sys.stderr)
        sys.exit(1)
