"""What every store keeps beside its sites: issued tokens, secrets, and the values that were used up."""

import msgspec
import pytest
import trio

from oxd_server.store import MAX_KEPT, ClockSetBack, Kept, Login, Store
from oxd_server.store.base import KeptLogout, KeptRequestObject
from tests.contract.sites import SESSION, SITE


def issued(number: int, expires_at: float = 1000.0) -> Kept:
    """Return a token that was issued at the site."""
    login = Login(oxd_id=SITE.oxd_id, subject=f"user {number}")
    return Kept(hash=number.to_bytes(16, "big"), what=login, expires_at=expires_at)


async def test_issued_tokens_are_known_until_they_expire(store: Store) -> None:
    """A token's login is found by the token's hash while the token lives; the session is changed in the same step."""
    await store.add(SITE)
    both = (issued(1, 1000.0), issued(2, 2000.0))
    session = await store.change_session(SITE.oxd_id, lambda _: SESSION, keep=both, now=500.0)
    assert session == await store.session(SITE.oxd_id) == msgspec.structs.replace(SESSION, tokens_issued=2)
    assert await store.kept(both[0].hash, 999.0, Login) == both[0].what
    assert await store.kept(both[0].hash, 1000.0, Login) is None
    assert await store.kept(both[1].hash, 1000.0, Login) == both[1].what
    assert await store.kept(b"unknown", 999.0, Login) is None
    await store.remove(SITE.oxd_id)
    assert await store.kept(both[1].hash, 1000.0, Login) is None


async def test_a_token_that_is_issued_again_counts_as_the_new_one(store: Store) -> None:
    """The last login in which a token was issued is the one that counts."""
    await store.add(SITE)
    again = Kept(hash=issued(1).hash, what=Login(oxd_id=SITE.oxd_id, subject="another"), expires_at=2000.0)
    for token in (issued(1), issued(2), again):
        await store.change_session(SITE.oxd_id, lambda session: session, keep=(token,), now=1.0)
    assert await store.kept(again.hash, 1500.0, Login) == again.what


async def test_a_site_has_so_many_issued_tokens_and_no_more(store: Store) -> None:
    """Beyond the bound the oldest tokens of the same site are forgotten, and those of other sites are not."""
    await store.add(SITE)
    other = msgspec.structs.replace(SITE, oxd_id="other")
    await store.add(other)
    kept = Kept(hash=b"of the other", what=Login(oxd_id="other"), expires_at=1000.0)
    await store.change_session("other", lambda session: session, keep=(kept,), now=1.0)
    for numbers in (range(MAX_KEPT), range(MAX_KEPT, MAX_KEPT + 3)):
        tokens = tuple(issued(number) for number in numbers)
        await store.change_session(SITE.oxd_id, lambda session: session, keep=tokens, now=1.0)
    found = [await store.kept(issued(number).hash, 1.0, Login) is not None for number in (0, 2, 3, MAX_KEPT + 2)]
    assert found == [False, False, True, True]
    assert await store.kept(kept.hash, 1.0, Login) == kept.what


@pytest.mark.parametrize(
    "what",
    [
        Login(oxd_id=SITE.oxd_id, subject="s", nonce="n", azp=True),
        KeptRequestObject(oxd_id=SITE.oxd_id, request_object="a.b.c"),
        KeptLogout(oxd_id=SITE.oxd_id, logged_out_at=1700000000),
    ],
    ids=lambda what: type(what).__name__,
)
async def test_what_is_kept_comes_back_as_it_was(store: Store, what: Login | KeptRequestObject | KeptLogout) -> None:
    """Logins, request objects and ends of sessions lie under hashes alike."""
    await store.add(SITE)
    kept = Kept(hash=b"hash", what=what, expires_at=10.0)
    await store.change_session(SITE.oxd_id, lambda session: session, keep=(kept,), now=1.0)
    assert await store.kept(b"hash", 9.0, type(what)) == what
    assert await store.kept(b"hash", 10.0, type(what)) is None


def test_rows_are_spelt_as_ever() -> None:
    """Stores have such rows already, and other nodes read them."""
    assert msgspec.json.encode(Login(oxd_id="a", subject="s")) == b'{"oxd_id":"a","subject":"s"}'
    kept = KeptRequestObject(oxd_id="a", request_object="x")
    assert msgspec.json.encode(kept) == b'{"oxd_id":"a","request_object":"x"}'
    assert msgspec.json.encode(KeptLogout(oxd_id="a", logged_out_at=5)) == b'{"oxd_id":"a","logged_out_at":5}'


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
