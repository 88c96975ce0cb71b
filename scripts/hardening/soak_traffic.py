"""The applications of a soak: the commands that they send, and what they saw of the answers."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import trio

from scripts.hardening.kit import Broken, Client, Provider, protect_params, register_params

__all__ = ["Application", "Traffic"]

COMMANDS_PER_CONNECTION = 40
OUTAGE_CODES = {
    "op_unreachable",
    "op_invalid_response",
    "no_connect_discovery_response",
    "no_uma_discovery_response",
    "server_busy",
}


@dataclass
class Traffic:
    """What the clients saw since the last sample, and in all."""

    latencies: list[float] = field(default_factory=list)
    control: list[float] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    unexpected: Counter[str] = field(default_factory=Counter)
    outage_until: float = -math.inf
    logins: int = 0

    @property
    def in_outage(self) -> bool:
        """Whether the provider is down, or was a moment ago."""
        return trio.current_time() < self.outage_until

    def count(self, command: str, seconds: float, code: str | None) -> None:
        """Take note of an answer; ``code`` is None for a good one."""
        self.latencies.append(seconds)
        self.outcomes[code or "ok"] += 1
        if code is not None and not (self.in_outage and (code in OUTAGE_CODES or code.startswith("http_status_"))):
            self.unexpected[f"{command}: {code}"] += 1


class Application:
    """One client: its site, and the commands that it sends, one after the other."""

    def __init__(self, number: int, provider: Provider, traffic: Traffic) -> None:
        self._name = f"app{number}"
        self._provider = provider
        self._traffic = traffic
        self._random = random.Random(number)
        self._version = 0
        self._oxd_id = ""
        self._tokens: dict[str, Any] = {}

    async def set_up(self, port: int) -> None:
        """Register the site, protect a path, log a user in."""
        async with Client.connected(port) as client:
            data = await client.ok("register_site", **register_params(self._provider.issuer, self._name))
            self._oxd_id = data["oxd_id"]
            await client.ok("uma_rs_protect", oxd_id=self._oxd_id, **protect_params(1))
            await self._log_in(client)

    async def run(self, port: int, pause: Callable[[], float]) -> None:
        """Send commands for ever, ``pause()`` seconds between their starts on average; reconnect now and then."""
        while True:
            try:
                async with Client.connected(port) as client:
                    for _ in range(COMMANDS_PER_CONNECTION):
                        begun = trio.current_time()
                        await self._one(client)
                        wait = self._random.uniform(0.5, 1.5) * pause() - (trio.current_time() - begun)
                        await trio.sleep(max(wait, 0.0))
            except Broken:
                self._traffic.unexpected["the connection broke"] += 1
                await trio.sleep(0.1)

    async def _one(self, client: Client) -> None:
        steps = (
            (30, self._authorization_url),
            (15, self._log_in),
            (15, self._user_info),
            (10, self._refresh),
            (10, self._logout),
            (10, self._check_access),
            (4, self._read),
            (3, self._update),
            (1, self._protect),
            (1, self._come_and_go),
            (1, self._mistake),
        )
        (step,) = self._random.choices([step for _, step in steps], [weight for weight, _ in steps])
        await step(client)

    async def _call(self, client: Client, command: str, **params: Any) -> dict[str, Any] | None:
        begun = trio.current_time()
        answer = await client.call(command, **{"oxd_id": self._oxd_id, **params})
        fine = answer["status"] == "ok"
        self._traffic.count(command, trio.current_time() - begun, None if fine else answer["data"]["error"])
        return dict(answer["data"]) if fine else None

    async def _authorization_url(self, client: Client) -> None:
        await self._call(client, "get_authorization_url")

    async def _log_in(self, client: Client) -> None:
        answer = await self._call(client, "get_authorization_url")
        if answer is None:
            return
        callback = self._provider.consent(answer["authorization_url"])
        tokens = await self._call(client, "get_tokens_by_code", code=callback["code"], state=callback["state"])
        if tokens is not None:
            self._tokens = tokens
            self._traffic.logins += 1

    async def _user_info(self, client: Client) -> None:
        if self._tokens:
            await self._call(client, "get_user_info", access_token=self._tokens["access_token"])

    async def _refresh(self, client: Client) -> None:
        token = self._tokens.pop("refresh_token", None)  # whatever comes of it, it is not used again
        if token is not None:
            await self._call(client, "get_access_token_by_refresh_token", refresh_token=token)

    async def _logout(self, client: Client) -> None:
        await self._call(client, "get_logout_uri")

    async def _check_access(self, client: Client) -> None:
        await self._call(client, "uma_rs_check_access", path="/v1", http_method="GET")

    async def _read(self, client: Client) -> None:
        await self._call(client, "get_rp")

    async def _update(self, client: Client) -> None:
        await self._call(client, "update_site", client_name=f"{self._name} {self._random.random()}")

    async def _protect(self, client: Client) -> None:
        await self._call(client, "uma_rs_protect", **protect_params(1))

    async def _come_and_go(self, client: Client) -> None:
        site = await self._call(client, "register_site", **register_params(self._provider.issuer, "guest"))
        if site is not None:
            await self._call(client, "remove_site", oxd_id=site["oxd_id"])

    async def _mistake(self, client: Client) -> None:
        answer = await client.call("get_authorization_url", oxd_id="nobody")
        if answer["data"].get("error") != "invalid_oxd_id":
            self._traffic.unexpected[f"a mistake: {answer}"] += 1
