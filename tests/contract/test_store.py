"""What every store does, whichever it is: one suite over all of them."""

import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import NoReturn

import msgspec
import pytest
import trio

from oxd_server.client_metadata import ClientMetadata
from oxd_server.store import (
    MAX_ISSUED_TOKENS,
    ClockSetBack,
    IssuedToken,
    Login,
    RedisSettings,
    Site,
    SiteExists,
    SiteNotFound,
    SiteSession,
    Store,
    StoreError,
    UmaResource,
    open_store,
)
from tests.redis_server import redis_server

SITE = Site(
    oxd_id="bcad760f-91ba-46e1-a020-05e4281d91b6",
    op_host="https://op.example.org",
    client=ClientMetadata(
        client_name="Jörg's shop \u2603",
        redirect_uris=("https://rp.example.com/cb", "https://rp.example.com/cb2"),
        scope="openid profile",
    ),
    client_secret="s3cr3t-of-the-client",
    client_registration_access_token="registration-t0ken",
    user_secret="us3r-secret",
    client_secret_expires_at=1_528_965_984_000,
    uma_protected_resources=(UmaResource(id="r1", path="/photo", http_methods=("GET",), scopes=("view",)),),
)
SESSION = SiteSession(id_token="eyJ.last.one", subject="s0me-user", pat="p4t", pat_expires_in=300)


@pytest.fixture(scope="session")
def redis_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with redis_server(tmp_path_factory.mktemp("redis"), "--appendfsync", "no") as (port, _):
        yield port


@pytest.fixture(params=["memory", "file", "redis"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    place: Path | RedisSettings | None = None
    if request.param == "file":
        place = tmp_path / "oxd.sqlite"
    elif request.param == "redis":
        port = request.getfixturevalue("redis_port")
        place = RedisSettings(servers=(("127.0.0.1", port),), prefix=uuid.uuid4().hex, timeout=30.0)
    async with open_store(place) as opened:
        yield opened


def renamed(name: str) -> Callable[[Site], Site]:
    return lambda site: msgspec.structs.replace(site, client=ClientMetadata(client_name=name))


def with_contact(site: Site, contact: str) -> Site:
    client = msgspec.structs.replace(site.client, contacts=(*site.client.contacts, contact))
    return msgspec.structs.replace(site, client=client)


def named(number: int) -> Site:
    return Site(
        oxd_id=f"site-{number:04}",
        op_host="https://op.example.org",
        client=ClientMetadata(client_name=f"name {number}"),
    )


async def test_added_site_is_found(store: Store) -> None:
    """A site comes back as it was added, every field equal."""
    await store.add(SITE)
    assert await store.get(SITE.oxd_id) == SITE


async def test_what_is_at_hand_is_never_older(store: Store) -> None:
    """A store may know a site without waiting; then it is the newest version, and nothing after it was removed."""
    site = named(1)
    assert store.cached(site.oxd_id) is None
    await store.add(site)
    await store.get(site.oxd_id)
    assert store.cached(site.oxd_id) in (None, site)
    for number in range(5):
        changed = await store.change(site.oxd_id, renamed(str(number)))
        assert store.cached(site.oxd_id) in (None, changed)
    await store.remove(site.oxd_id)
    assert store.cached(site.oxd_id) is None


async def test_unknown_site_is_none(store: Store) -> None:
    """Looking for an unknown oxd_id finds nothing, before and after others exist."""
    assert await store.get("nobody") is None
    await store.add(SITE)
    assert await store.get("nobody") is None
    assert await store.get(SITE.oxd_id.upper()) is None


async def test_taken_oxd_id_is_refused(store: Store) -> None:
    """A second site with the same oxd_id is refused and leaves the first as it is."""
    await store.add(SITE)
    with pytest.raises(SiteExists) as caught:
        await store.add(renamed("usurper")(SITE))
    assert caught.value.oxd_id == SITE.oxd_id
    assert await store.get(SITE.oxd_id) == SITE


async def test_change_is_applied_and_returned(store: Store) -> None:
    """A change gets the site as it is, and its result is returned and kept."""
    await store.add(SITE)
    seen = []

    def rename(site: Site) -> Site:
        seen.append(site)
        return renamed("new")(site)

    changed = await store.change(SITE.oxd_id, rename)
    assert seen == [SITE]
    assert changed == renamed("new")(SITE)
    assert await store.get(SITE.oxd_id) == changed


async def test_changes_do_not_undo_each_other(store: Store) -> None:
    """Of many changes at once each starts from the outcome of another, so none is lost."""
    await store.add(SITE)

    def one_more(site: Site) -> Site:
        return with_contact(site, f"c{len(site.client.contacts)}")

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(store.change, SITE.oxd_id, one_more)
    site = await store.get(SITE.oxd_id)
    assert site is not None
    assert site.client.contacts == tuple(f"c{number}" for number in range(50))


async def test_site_and_session_change_apart(store: Store) -> None:
    """Changes of a site and of its session at the same time both last."""
    await store.add(SITE)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.change, SITE.oxd_id, renamed("new"))
        nursery.start_soon(store.change_session, SITE.oxd_id, lambda _: SESSION)
    assert await store.get(SITE.oxd_id) == renamed("new")(SITE)
    assert await store.session(SITE.oxd_id) == SESSION


async def test_failing_change_changes_nothing(store: Store) -> None:
    """An exception of a change function reaches its caller as it is; the site stays; the store goes on."""
    await store.add(SITE)
    trouble = RuntimeError("no")

    def fail(_: object) -> NoReturn:
        raise trouble

    with pytest.raises(RuntimeError) as caught:
        await store.change(SITE.oxd_id, fail)
    assert caught.value is trouble
    with pytest.raises(RuntimeError):
        await store.change_session(SITE.oxd_id, fail)
    assert await store.get(SITE.oxd_id) == SITE
    assert await store.session(SITE.oxd_id) == SiteSession()
    assert (await store.change(SITE.oxd_id, renamed("later"))).client.client_name == "later"


async def test_failing_change_spares_its_neighbours(store: Store) -> None:
    """Changes that fail among others that come at the same time do not spoil those."""
    await store.add(SITE)
    failed = []

    async def change(number: int) -> None:
        def apply(site: Site) -> Site:
            if number % 3 == 0:
                raise RuntimeError(str(number))
            return with_contact(site, str(number))

        try:
            await store.change(SITE.oxd_id, apply)
        except RuntimeError as error:
            failed.append(int(str(error)))

    async with trio.open_nursery() as nursery:
        for number in range(30):
            nursery.start_soon(change, number)
    site = await store.get(SITE.oxd_id)
    assert site is not None
    assert sorted(failed) == list(range(0, 30, 3))
    assert sorted(map(int, site.client.contacts)) == [number for number in range(30) if number % 3]


async def test_oxd_id_cannot_be_changed(store: Store) -> None:
    """A change that alters the oxd_id is refused, and both ids are as before."""
    await store.add(SITE)
    with pytest.raises(ValueError, match="oxd_id"):
        await store.change(SITE.oxd_id, lambda site: msgspec.structs.replace(site, oxd_id="other"))
    assert await store.get(SITE.oxd_id) == SITE
    assert await store.get("other") is None


async def test_unknown_site_cannot_be_written(store: Store) -> None:
    """Changing or removing what is not there raises SiteNotFound, and makes nothing."""
    for write in (
        lambda: store.change("nobody", renamed("new")),
        lambda: store.change_session("nobody", lambda _: SESSION),
        lambda: store.remove("nobody"),
    ):
        with pytest.raises(SiteNotFound) as caught:
            await write()
        assert caught.value.oxd_id == "nobody"
    assert await store.get("nobody") is None
    assert await store.session("nobody") == SiteSession()


async def test_session_is_empty_at_first(store: Store) -> None:
    """A site without a session has an empty one, and a change starts from that."""
    await store.add(SITE)
    assert await store.session(SITE.oxd_id) == SiteSession()
    seen = []

    def replaced(old: SiteSession) -> SiteSession:
        seen.append(old)
        return SESSION

    assert await store.change_session(SITE.oxd_id, replaced) == SESSION
    assert seen == [SiteSession()]
    assert await store.session(SITE.oxd_id) == SESSION


async def test_removed_site_is_gone_with_its_session(store: Store) -> None:
    """Removing returns the site; a new site of the same oxd_id does not inherit the session."""
    await store.add(SITE)
    await store.change_session(SITE.oxd_id, lambda _: SESSION)
    assert await store.remove(SITE.oxd_id) == SITE
    assert await store.get(SITE.oxd_id) is None
    assert await store.session(SITE.oxd_id) == SiteSession()
    await store.add(SITE)
    assert await store.session(SITE.oxd_id) == SiteSession()


async def test_list_is_ordered_and_complete(store: Store) -> None:
    """The list names every site once, ordered by oxd_id, also beyond one page; no name is ""."""
    async with trio.open_nursery() as nursery:
        for number in reversed(range(1, 1003)):
            nursery.start_soon(store.add, named(number))
    await store.add(Site(oxd_id="zz", op_host="https://op.example.org"))
    await store.add(Site(oxd_id="", op_host="https://op.example.org", client=ClientMetadata(client_name="blank id")))
    expected = [("", "blank id"), *((f"site-{number:04}", f"name {number}") for number in range(1, 1003)), ("zz", "")]
    assert await store.list() == expected
    assert await store.count() == len(expected)


async def test_list_of_nothing_is_empty(store: Store) -> None:
    """An empty store lists nothing."""
    assert await store.list() == []
    assert await store.count() == 0


async def test_setup_clients_of_one_op(store: Store) -> None:
    """Only setup clients, only of that OP, as they are now: so many and no more, the newest first."""

    def setup(oxd_id: str, op_host: str) -> Site:
        return Site(oxd_id=oxd_id, op_host=op_host, is_setup_client=True)

    first, second, elsewhere = setup("a", "https://op"), setup("b", "https://op"), setup("c", "https://other")
    for site in (first, second, elsewhere, SITE):
        await store.add(site)
    assert await store.setup_clients("https://op", 9) == [second, first]
    assert await store.setup_clients("https://op", 1) == [second]
    await store.change("b", lambda site: msgspec.structs.replace(site, is_setup_client=False))
    assert await store.setup_clients("https://op", 9) == [first]
    await store.remove("a")
    assert await store.setup_clients("https://op", 9) == []
    assert await store.setup_clients(SITE.op_host, 9) == []


async def test_sites_of_a_client(store: Store) -> None:
    """The sites with a client_id at one OP: so many and no more, setup clients first, then the newest."""

    def site(oxd_id: str, client_id: str | None, op_host: str = "https://op", *, setup: bool = False) -> Site:
        return Site(oxd_id=oxd_id, op_host=op_host, client_id=client_id, is_setup_client=setup)

    setup, old, new = site("s", 'a"1', setup=True), site("o", 'a"1'), site("n", 'a"1')
    for each in (setup, old, site("x", None), site("y", "other"), site("z", 'a"1', "https://other"), new):
        await store.add(each)
    assert await store.sites_of_client("https://op", 'a"1', 9) == [setup, new, old]
    assert await store.sites_of_client("https://op", 'a"1', 2) == [setup, new]
    assert await store.sites_of_client("https://op", "nobody", 9) == []
    await store.change("o", lambda changed: msgspec.structs.replace(changed, client_id="another"))
    assert await store.sites_of_client("https://op", 'a"1', 9) == [setup, new]
    await store.remove("n")
    assert await store.sites_of_client("https://op", 'a"1', 9) == [setup]


async def test_sites_registered_without_a_token_are_counted(store: Store) -> None:
    """By where they came from, and all together; others, and those that are removed, do not count."""
    for number, came_from in enumerate((None, "a", "b", "a", None)):
        await store.add(msgspec.structs.replace(SITE, oxd_id=f"{number}", registered_from=came_from))
    counts = [await store.count_registered(*asked) for asked in (("a", 9), ("b", 9), ("c", 9), (None, 9), (None, 2))]
    assert counts == [2, 1, 0, 3, 2]
    await store.remove("1")
    assert (await store.count_registered("a", 9), await store.count_registered(None, 9)) == (1, 2)


def issued(number: int, expires_at: float = 1000.0) -> IssuedToken:
    """Return a token that was issued at the site."""
    login = Login(oxd_id=SITE.oxd_id, subject=f"user {number}")
    return IssuedToken(hash=number.to_bytes(16, "big"), login=login, expires_at=expires_at)


async def test_issued_tokens_are_known_until_they_expire(store: Store) -> None:
    """A token's login is found by the token's hash while the token lives; the session is changed in the same step."""
    await store.add(SITE)
    both = (issued(1, 1000.0), issued(2, 2000.0))
    session = await store.change_session(SITE.oxd_id, lambda _: SESSION, issued=both, now=500.0)
    assert session == await store.session(SITE.oxd_id) == msgspec.structs.replace(SESSION, tokens_issued=2)
    assert await store.login_of(both[0].hash, 999.0) == both[0].login
    assert await store.login_of(both[0].hash, 1000.0) is None
    assert await store.login_of(both[1].hash, 1000.0) == both[1].login
    assert await store.login_of(b"unknown", 999.0) is None
    await store.remove(SITE.oxd_id)
    assert await store.login_of(both[1].hash, 1000.0) is None


async def test_a_token_that_is_issued_again_counts_as_the_new_one(store: Store) -> None:
    """The last login in which a token was issued is the one that counts."""
    await store.add(SITE)
    again = IssuedToken(hash=issued(1).hash, login=Login(oxd_id=SITE.oxd_id, subject="another"), expires_at=2000.0)
    for token in (issued(1), issued(2), again):
        await store.change_session(SITE.oxd_id, lambda session: session, issued=(token,), now=1.0)
    assert await store.login_of(again.hash, 1500.0) == again.login


async def test_a_site_has_so_many_issued_tokens_and_no_more(store: Store) -> None:
    """Beyond the bound the oldest tokens of the same site are forgotten, and those of other sites are not."""
    await store.add(SITE)
    other = msgspec.structs.replace(SITE, oxd_id="other")
    await store.add(other)
    kept = IssuedToken(hash=b"of the other", login=Login(oxd_id="other"), expires_at=1000.0)
    await store.change_session("other", lambda session: session, issued=(kept,), now=1.0)
    for numbers in (range(MAX_ISSUED_TOKENS), range(MAX_ISSUED_TOKENS, MAX_ISSUED_TOKENS + 3)):
        tokens = tuple(issued(number) for number in numbers)
        await store.change_session(SITE.oxd_id, lambda session: session, issued=tokens, now=1.0)
    found = [await store.login_of(issued(number).hash, 1.0) is not None for number in (0, 2, 3, MAX_ISSUED_TOKENS + 2)]
    assert found == [False, False, True, True]
    assert await store.login_of(kept.hash, 1.0) == kept.login


async def test_secret_is_made_once(store: Store) -> None:
    """Whoever asks for a secret, at once or later, gets the same bytes; another name has another."""
    got = []

    async def ask(number: int) -> None:
        got.append(await store.secret("state", lambda: b"made by %d" % number))

    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(ask, number)
    assert len(set(got)) == 1
    assert await store.secret("state", lambda: b"made later") == got[0]
    assert await store.secret("other", lambda: b"\x00\xff") == b"\x00\xff"


async def test_failing_maker_makes_no_secret(store: Store) -> None:
    """A secret whose making failed can be made by the next who asks."""
    with pytest.raises(OSError, match="no entropy"):
        await store.secret("state", lambda: (_ for _ in ()).throw(OSError("no entropy")))
    assert await store.secret("state", lambda: b"made") == b"made"


async def test_value_is_spent_once(store: Store) -> None:
    """A value can be spent once until it expires, whatever else is spent."""
    assert await store.spend(b"one", 100.0, 10.0) is True
    assert await store.spend(b"one", 100.0, 10.0) is False
    assert await store.spend(b"two", 100.0, 10.0) is True
    assert await store.spend(b"one", 100.0, 99.0) is False


async def test_value_is_spent_by_one_of_many(store: Store) -> None:
    """Of many who spend the same value at once, one succeeds."""
    outcomes = []

    async def spend() -> None:
        outcomes.append(await store.spend(b"one", 100.0, 10.0))

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(spend)
    assert sorted(outcomes) == [False] * 19 + [True]


async def test_expired_value_is_forgotten(store: Store) -> None:
    """After its expiry a value need not be remembered, and those that have not expired still are."""
    for number in range(40):
        await store.spend(b"%d" % number, 100.0, 10.0)
    assert await store.spend(b"later", 500.0, 10.0) is True
    assert await store.spend(b"7", 500.0, 100.0) is True
    assert await store.spend(b"later", 500.0, 499.0) is False


async def test_value_can_be_unspent(store: Store) -> None:
    """A value whose use came to nothing can be spent once more, and only it."""
    await store.spend(b"one", 100.0, 10.0)
    await store.spend(b"two", 100.0, 10.0)
    await store.unspend(b"one")
    await store.unspend(b"never")
    assert await store.spend(b"one", 200.0, 10.0) is True
    assert await store.spend(b"two", 100.0, 10.0) is False
    assert await store.spend(b"one", 200.0, 150.0) is False


async def test_clock_set_back_is_noticed(store: Store) -> None:
    """Once a used value is forgotten, a clock before its expiry cannot tell used from unused; a little earlier can."""
    assert await store.spend(b"old", 100.0, 10.0) is True
    assert await store.spend(b"new", 600.0, 150.0) is True
    assert await store.spend(b"old", 100.0, 95.0) is False
    assert await store.spend(b"next", 700.0, 160.0) is True
    with pytest.raises(ClockSetBack):
        await store.spend(b"old", 100.0, 95.0)
    assert await store.spend(b"later", 900.0, 200.0) is True


async def test_renewed_secret_starts_over(store: Store) -> None:
    """After the clock was set back there is a new secret, the same for all who ask, and nothing is used any more."""
    assert await store.secret("key", lambda: b"first") == b"first"
    await store.spend(b"old", 100.0, 10.0)
    await store.spend(b"new", 1000.0, 160.0)
    assert await store.renew_secret("key", lambda: b"unneeded", 160.0) == b"first"
    assert await store.renew_secret("key", lambda: b"second", 50.0) == b"second"
    assert await store.renew_secret("key", lambda: b"third", 50.0) == b"second"
    assert await store.secret("key", lambda: b"fourth") == b"second"
    assert await store.spend(b"new", 300.0, 50.0) is True
    assert await store.spend(b"new", 300.0, 50.0) is False


async def test_many_at_once_are_all_kept(store: Store) -> None:
    """Sixty-four sites added at the same time are all there, each as it was added."""
    async with trio.open_nursery() as nursery:
        for number in range(64):
            nursery.start_soon(store.add, named(number))
    for number in range(64):
        assert await store.get(f"site-{number:04}") == named(number)


async def test_reader_never_sees_an_older_version(store: Store) -> None:
    """What a reader sees of a site only ever goes forward while it is being changed."""
    await store.add(msgspec.structs.replace(SITE, client_id_issued_at=1))
    seen: list[int] = []

    def next_version(site: Site) -> Site:
        return msgspec.structs.replace(site, client_id_issued_at=site.client_id_issued_at + 1)

    async def read() -> None:
        while not seen or seen[-1] < 40:
            await trio.lowlevel.checkpoint()
            site = await store.get(SITE.oxd_id)
            assert site is not None
            seen.append(site.client_id_issued_at)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        for version in range(2, 41):
            assert (await store.change(SITE.oxd_id, next_version)).client_id_issued_at == version
    assert seen == sorted(seen)


async def test_cancelled_writers_hang_nobody(store: Store) -> None:
    """Writers cancelled at any moment leave all or nothing of their write, and the others are served."""
    kept = []

    async def add(number: int, scope: trio.CancelScope) -> None:
        with scope:
            await store.add(named(number))
            kept.append(number)

    with trio.fail_after(30):
        for ticks in range(20):
            scopes = [trio.CancelScope() for _ in range(10)]
            async with trio.open_nursery() as nursery:
                for number, scope in enumerate(scopes):
                    nursery.start_soon(add, ticks * 10 + number, scope)
                for _ in range(ticks):
                    await trio.lowlevel.checkpoint()
                for scope in scopes[:5]:
                    scope.cancel()
    assert set(kept) >= {number for number in range(200) if number % 10 >= 5}
    listed = {oxd_id for oxd_id, _ in await store.list()}
    assert listed >= {f"site-{number:04}" for number in kept}
    await store.add(SITE)


async def test_secrets_are_not_in_a_repr(store: Store) -> None:
    """A site or session in a log line shows who it is and nothing that opens a door."""
    await store.add(SITE)
    site = await store.get(SITE.oxd_id)
    session = await store.change_session(SITE.oxd_id, lambda _: SESSION)
    assert site is not None
    assert repr(site) == f"Site(oxd_id={SITE.oxd_id!r}, op_host={SITE.op_host!r})"
    shown = f"{site!r} {site} {session!r} {session} {store!r} {dict(site.__rich_repr__())} {session.__rich_repr__()}"
    for secret in ("s3cr3t", "t0ken", "us3r", "eyJ", "p4t", "0f-it"):
        assert secret not in shown


async def test_failures_are_store_errors(store: Store) -> None:
    """Whoever catches StoreError catches every failure of a store."""
    assert issubclass(SiteExists, StoreError)
    with pytest.raises(StoreError, match="nobody"):
        await store.remove("nobody")


async def test_many_sites_at_once(store: Store) -> None:
    """New sites come with their sessions; those whose oxd_id is taken stay as they are, and are named."""
    await store.add(named(1))
    pairs = [(renamed("another")(named(1)), SESSION), (named(2), SESSION)]
    assert await store.add_all(pairs) == ["site-0001"]
    assert await store.get("site-0001") == named(1)
    assert await store.session("site-0001") == SiteSession()
    assert await store.get("site-0002") == named(2)
    assert await store.session("site-0002") == SESSION


async def test_many_sites_once(store: Store) -> None:
    """What is to be done once is done once, whatever happened to its sites since."""
    assert await store.add_all([(named(1), SESSION)], once="the import") == []
    await store.remove("site-0001")
    assert await store.add_all([(named(1), SESSION)], once="the import") is None
    assert await store.get("site-0001") is None
