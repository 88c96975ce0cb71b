"""What every store does with sites and their sessions, whichever store it is: one suite over all of them."""

from typing import NoReturn

import msgspec
import pytest
import trio

from oxd_server.client_metadata import ClientMetadata
from oxd_server.store import Site, SiteExists, SiteNotFound, SiteSession, Store, StoreError
from tests.contract.sites import SESSION, SITE, named, renamed, with_contact


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
