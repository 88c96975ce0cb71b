"""What is needed to talk to OPs, in one hand: made once at the start and handed to whoever does."""

import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Self

import msgspec

from oxd_server.op.answer import Answer
from oxd_server.op.client_auth import ClientCredentials, assertion_audience, authenticate, usual_method
from oxd_server.op.discovery import DiscoveryCache, ProviderMetadata, url_for
from oxd_server.op.dpop import DpopKey, sign_proof
from oxd_server.op.dpop_nonces import DpopNonces
from oxd_server.op.jwks import KeySetCache
from oxd_server.op.metadata_cache import DEFAULT_LIFETIME
from oxd_server.op.settings import SettingsOf, nothing_special
from oxd_server.op.signing import signed
from oxd_server.op.transport import Transport
from oxd_server.op.uma_discovery import UmaDiscoveryCache

__all__ = ["Form", "OpContext"]

Form = Mapping[str, str | tuple[str, ...]]
"""The fields of a form; one that may be there more than once has its values side by side."""


class OpContext(msgspec.Struct, frozen=True):
    """The transport, the caches, the time and the chance that the functions of this package work with.

    Attributes:
        clock: seconds since the epoch, for what is written in tokens.
        random: gives that many unguessable bytes.
        dpop_nonces: what servers ask for in DPoP proofs.
    """

    transport: Transport
    discovery: DiscoveryCache
    uma_discovery: UmaDiscoveryCache
    key_sets: KeySetCache
    clock: Callable[[], float]
    random: Callable[[int], bytes]
    dpop_nonces: DpopNonces = msgspec.field(default_factory=DpopNonces)

    @classmethod
    def over(
        cls,
        transport: Transport,
        *,
        discovery_lifetime: float = DEFAULT_LIFETIME,
        key_set_lifetime: float = DEFAULT_LIFETIME,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        random: Callable[[int], bytes] = secrets.token_bytes,
        settings: SettingsOf = nothing_special,
    ) -> Self:
        """A client with fresh caches; lifetimes in seconds, `monotonic` is the clock of the caches."""
        return cls(
            transport,
            DiscoveryCache(transport, monotonic, lifetime=discovery_lifetime, settings=settings),
            UmaDiscoveryCache(transport, monotonic, lifetime=discovery_lifetime, settings=settings),
            KeySetCache(transport, monotonic, lifetime=key_set_lifetime),
            clock,
            random,
        )

    async def post_form(
        self,
        url: str,
        metadata: ProviderMetadata,
        credentials: ClientCredentials,
        form: Form,
        *,
        step: str,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """POST a form to an endpoint of the OP, authenticated as the client; `headers` are sent besides.

        A client with a certificate is sent to the endpoint's alias (RFC 8705).

        Raises:
            ClientAuthenticationError: the client cannot authenticate (nothing was sent).
            OpHostRefused, OpUnreachable, OpInvalidResponse
        """
        audience = partial(assertion_audience, metadata, url)
        prove = partial(authenticate, usual_method(credentials, metadata), audience, self.clock(), self.random)
        proof = await signed(credentials.key_store, prove)
        identity = credentials.identity
        return await self.transport.send(
            "POST",
            url_for(metadata, url, identity),
            step=step,
            within=metadata.reach,
            headers={**proof.headers, **(headers or {})},
            form=_pairs({**form, **proof.form}),
            identity=identity,
        )

    async def with_proof(
        self,
        key: DpopKey,
        method: str,
        url: str,
        send: Callable[[dict[str, str]], Awaitable[Answer]],
        *,
        access_token: str | None = None,
    ) -> Answer:
        """The answer to a request with a DPoP proof, made once more if the server asks for a nonce (RFC 9449).

        Args:
            key: the client's.
            method: the request's.
            url: the request's.
            send: makes the request with these headers; who asks for a nonce has done nothing else.
            access_token: the token that the request shows.
        """

        async def attempt() -> Answer:
            proof = sign_proof(
                key, method, url, self.clock(), self.random, access_token=access_token, nonce=self.dpop_nonces.of(url)
            )
            return await send({"dpop": proof})

        answer = await attempt()
        if not self.dpop_nonces.learn(url, answer):
            return answer
        answer = await attempt()
        self.dpop_nonces.learn(url, answer)
        return answer


def _pairs(form: Form) -> list[tuple[str, str]]:
    return [(name, each) for name, value in form.items() for each in ((value,) if isinstance(value, str) else value)]
