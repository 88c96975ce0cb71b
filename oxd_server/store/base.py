"""What a store keeps, and what every store can do.

A `Site` is what a site *is*; a `SiteSession` is what changes with every login and PAT. They are kept apart
so that a busy login path never rewrites (or races with) a site's registration. Both are values: a change
is a pure function from the newest version to the next one, applied by the store, so that two commands
can never undo each other.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

import msgspec

from oxd_protocol.discreet import Discreet
from oxd_server.client_metadata import ClientMetadata
from oxd_server.sync.locks import KeyedLocks

__all__ = [
    "DONE",
    "GRACE_SECONDS",
    "MAX_KEPT",
    "ChangeSession",
    "ChangeSite",
    "ClockSetBack",
    "K",
    "Kept",
    "KeptLogout",
    "KeptRequestObject",
    "Login",
    "NamedState",
    "Site",
    "SiteExists",
    "SiteNames",
    "SiteNotFound",
    "SiteSession",
    "Sites",
    "Store",
    "StoreError",
    "StoreUnavailable",
    "UmaResource",
    "changed_site",
    "with_count",
]


class StoreError(Exception):
    """The store could not do what was asked. The text is one line, for people, and holds no secret."""


class StoreUnavailable(StoreError):
    """Where the store is kept cannot be reached, or takes nothing, just now. Nobody knows whether a write was kept."""


class SiteNotFound(StoreError):
    """No site has this `oxd_id`."""

    def __init__(self, oxd_id: str) -> None:
        super().__init__(f"no site has the oxd_id {oxd_id!r}")
        self.oxd_id = oxd_id


class SiteExists(StoreError):
    """The `oxd_id` of a new site is taken."""

    def __init__(self, oxd_id: str) -> None:
        super().__init__(f"there is already a site with the oxd_id {oxd_id!r}")
        self.oxd_id = oxd_id


class ClockSetBack(StoreError):
    """The clock was set back to a time before the expiry of used values that have been forgotten.

    So nobody can tell whether a value is a used one: see `Store.renew_secret`.
    """

    def __init__(self) -> None:
        super().__init__("the clock was set back, and used values have been forgotten meanwhile")


DONE = b"done"
"""What is kept under the name of something that is done once: see `Store.add_all`."""

GRACE_SECONDS = 60.0
"""How long an expired used value is remembered, so that a clock that is set back a little needs no `ClockSetBack`."""


class UmaResource(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A protected resource: the conditions of one path, and its `id` at the authorization server.

    `scope_expression` is JSON text (`{"rule": ..., "data": [...]}`). `iat` and `exp` are what the authorization server
    is told, in seconds since 1970.
    """

    id: str
    path: str
    http_methods: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    ticket_scopes: tuple[str, ...] = ()
    scope_expression: str | None = None
    iat: int | None = None
    exp: int | None = None


class Site(Discreet, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A registered site. Dates are milliseconds, 0 = unknown.

    `client` is what the application asked for, and what every request goes by. `registered_metadata` is what the OP
    made of it: the JSON text of its last answer about the client, all of which an update has to send back.
    `response_mode` is how logins come back; with `authorization_response_iss_required`, they have to say from whom.
    `setup_oxd_id` and `setup_client_id` name the setup client that the site
    belongs to.
    `sync_client_from_op` says whether the client is read again at the OP when `last_synced` is longer ago than the
    period.
    `logout_notification_uri` is called when a logout arrives.
    `dpop_key` is the private key that the client's tokens are bound to, the text of a JWK; it is shown to nobody.
    `dialect` is the dialect of the HTTP API that the site's application speaks, None for that of oxd 3.1.
    `registered_from` is the address, or the network, of a caller who showed no token; such sites are counted.
    """

    shows = ("oxd_id", "op_host")

    oxd_id: str
    op_host: str
    op_discovery_path: str | None = None

    client: ClientMetadata = ClientMetadata()
    response_mode: str | None = None
    authorization_response_iss_required: bool = False

    client_id: str | None = None
    client_secret: str | None = None
    client_id_issued_at: int = 0
    client_secret_expires_at: int = 0
    client_registration_access_token: str | None = None
    client_registration_client_uri: str | None = None
    registered_metadata: str | None = None
    sync_client_from_op: bool = False
    sync_client_period_in_seconds: int = 3600
    last_synced: int = 0
    logout_notification_uri: str | None = None
    dpop_key: str | None = None

    is_setup_client: bool = False
    setup_oxd_id: str | None = None
    setup_client_id: str | None = None
    dialect: str | None = None
    registered_from: str | None = None

    user_id: str | None = None
    user_secret: str | None = None
    uma_protected_resources: tuple[UmaResource, ...] = ()
    oxd_rp_programming_language: str | None = None


class NamedState(Discreet, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A state that a caller named, by its hash, and what it stands for: the sealed state, a nonce, a redirect URI."""

    hash: str
    sealed: str
    nonce: str | None = None
    redirect_uri: str | None = None


class SiteSession(Discreet, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What changes often at a site: its last id_token and its PAT.

    `id_token_expires_at` is in seconds since 1970, 0 = unknown. `subject` is the user of the first login here, and
    `several_subjects` says whether there has been another one since. `tokens_issued` counts what `change_session` was
    told to keep: tokens, request objects, ends of sessions. `pat_created_at` is in milliseconds, `pat_expires_in` in
    seconds; 0 = unknown.
    """

    id_token: str | None = None
    id_token_expires_at: int = 0
    subject: str | None = None
    several_subjects: bool = False
    tokens_issued: int = 0
    pat: str | None = None
    pat_expires_in: int = 0
    pat_created_at: int = 0
    pat_refresh_token: str | None = None
    named_states: tuple[NamedState, ...] = ()


class Login(Discreet, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What a token that was issued in a login is checked against later: kept under the token, as long as that lives.

    `subject` is the `sub` of its id_token, `nonce` the hash of its nonce; `azp` tells whether it had that claim.
    A token that a setup client got for itself has no subject.
    """

    shows = ("oxd_id",)

    oxd_id: str
    subject: str | None = None
    nonce: str | None = None
    azp: bool = False


class KeptRequestObject(Discreet, frozen=True, kw_only=True, gc=False):
    """A request object, kept under its id until an OP has fetched it."""

    shows = ("oxd_id",)

    oxd_id: str
    request_object: str


class KeptLogout(Discreet, frozen=True, kw_only=True, gc=False):
    """When a session ended, in seconds since 1970: kept under the session or the user that a logout token named."""

    shows = ("oxd_id",)

    oxd_id: str
    logged_out_at: int


K = TypeVar("K", bound=Login | KeptRequestObject | KeptLogout)


class Kept(Discreet, frozen=True, kw_only=True, gc=False):
    """What is kept of a site under a hash, such as a token's; until `expires_at`, in seconds since 1970."""

    hash: bytes
    what: Login | KeptRequestObject | KeptLogout
    expires_at: float


MAX_KEPT = 20_000
"""How many values of one site are kept under hashes; beyond that the oldest are forgotten."""

ChangeSite = Callable[[Site], Site]
ChangeSession = Callable[[SiteSession], SiteSession]
# Named here because a store's method `list` hides the builtin inside its class.
Sites = list[Site]
SiteNames = list[tuple[str, str]]


class Store(Protocol):
    """Keeps sites, sessions, the server's own secrets, and the single-use values that were used.

    A method that writes returns when the write is kept (for a file: on disk). A change function must be
    pure and quick: it may run in a worker thread, within a transaction. Its exceptions reach the caller
    unchanged, and then nothing has changed. A caller that is cancelled while its write waits may find
    it done or not done, never half done. Every method raises `StoreError` if the store fails.
    """

    commits: int
    """How many transactions have been written so far."""

    @property
    def cache_bytes(self) -> Mapping[str, int]:
        """How much memory is taken by what is kept at hand, by what it is."""

    @property
    def locks(self) -> KeyedLocks | None:
        """Locks that hold for all nodes on this store; None if it is for one machine."""

    def cached(self, oxd_id: str) -> Site | None:
        """The site, if it is at hand and no older than any acknowledged write; None: ask `get`."""

    async def get(self, oxd_id: str) -> Site | None:
        """The site, or None."""

    async def session(self, oxd_id: str) -> SiteSession:
        """What changes often at the site; an empty one if there is none, or no such site."""
        ...

    async def add(self, site: Site) -> None:
        """Keep a new site. Raises `SiteExists` if its oxd_id is taken."""

    async def add_all(self, sites: Sequence[tuple[Site, SiteSession]], once: str | None = None) -> Sequence[str] | None:
        """Keep new sites with their sessions, all or none; return the oxd_ids that are taken, whose sites stay.

        With ``once``, a name among the secrets, this is done one time: later calls return None and add nothing.
        """
        ...

    async def change(self, oxd_id: str, change: ChangeSite) -> Site:
        """Apply `change` to the newest version of the site, and return the result.

        Raises `SiteNotFound`; `ValueError` if the change alters the oxd_id.
        """
        ...

    async def change_session(
        self, oxd_id: str, change: ChangeSession, *, keep: Sequence[Kept] = (), now: float = 0.0
    ) -> SiteSession:
        """Apply `change` to the newest version of the site's session, and `keep` these under their hashes.

        A site has `MAX_KEPT` of them at most; expired ones are forgotten. Raises `SiteNotFound`.
        """
        ...

    async def kept(self, under: bytes, now: float, kind: type[K]) -> K | None:
        """What is kept under a hash; None if nothing is, or it has expired. The caller knows what kind lies there."""
        ...

    async def remove(self, oxd_id: str) -> Site:
        """Forget the site and its session; return the site. Raises `SiteNotFound`."""
        ...

    async def setup_clients(self, op_host: str, limit: int) -> Sites:
        """The `limit` newest sites that are setup clients at exactly this `op_host`, the newest first."""
        ...

    async def sites_of_client(self, op_host: str, client_id: str, limit: int) -> Sites:
        """The `limit` newest sites with this client at exactly this `op_host`, setup clients before all others."""
        ...

    async def count_registered(self, registered_from: str | None, limit: int) -> int:
        """How many sites came from there without a token, or from anywhere (None); no more than `limit` are counted."""
        ...

    async def count(self) -> int:
        """How many sites there are."""
        ...

    async def secret(self, name: str, make: Callable[[], bytes]) -> bytes:
        """The server's own secret of this name, made by `make` if there is none yet.

        Whoever asks, whenever, gets the same bytes. `make` runs in a worker thread; of several made at the
        same time, one is kept.
        """
        ...

    async def spend(self, token: bytes, expires_at: float, now: float) -> bool:
        """Remember a used single-use value until `expires_at`; False if it was used before.

        `expires_at` and `now` are seconds of the same clock. Keep tokens short: a hash or the random part.
        Raises `ClockSetBack` when that clock was set back so far that used values, forgotten when they had expired,
        would have to be known again.
        """
        ...

    async def unspend(self, token: bytes) -> None:
        """Forget that the value was used: what it was used for never happened."""

    async def renew_secret(self, name: str, make: Callable[[], bytes], now: float) -> bytes:
        """After `ClockSetBack`: put a new secret in the place of the one that the single-use values were made with.

        So all those are worthless, used or not, and nothing has to be known of them. Of several who come at the same
        time, all get the same new one; whoever comes without need gets the one that is there.
        """
        ...

    async def list(self) -> SiteNames:
        """`(oxd_id, client_name)` of every site, ordered by oxd_id; an unknown name is ""."""
        ...


def with_count(changed: SiteSession, before: SiteSession, keep: Sequence[Kept]) -> SiteSession:
    """The changed session, which counts what was kept since `before`."""
    return msgspec.structs.replace(changed, tokens_issued=before.tokens_issued + len(keep)) if keep else changed


def changed_site(site: Site, change: ChangeSite) -> Site:
    """`change(site)`, once it is certain that it is still the same site (`ValueError` if not)."""
    changed = change(site)
    if changed.oxd_id != site.oxd_id:
        raise ValueError("a change must not alter the oxd_id of a site")
    return changed
