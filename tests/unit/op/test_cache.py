"""The bounds in bytes of what is kept of OPs."""

import msgspec
import pytest

from oxd_server.op.cache import MAX_ENTRY_BYTES, Fetched, RefreshingCache, held_bytes
from oxd_server.op.discovery import WELL_KNOWN, DiscoveryCache
from oxd_server.op.errors import OpInvalidResponse
from oxd_server.op.metadata_cache import MAX_DOCUMENT_BYTES
from oxd_server.op.reach import origin_of


def of_size(size, value="v"):
    async def fetch():
        return Fetched(value, 600.0, size)

    return fetch


@pytest.fixture
def cache(clock):
    return RefreshingCache(clock, max_bytes=100_000, host_of=origin_of)


async def test_bytes_are_bounded(cache):
    """However many entries come, their bytes stay below the limit."""
    for i in range(100):
        await cache.get(f"https://op{i}/", of_size(5000))
    assert 10 <= len(cache) <= 20


async def test_the_host_with_the_most_makes_room(cache):
    """One host with very many entries pushes out its own, not another's."""
    await cache.get("https://good/", of_size(5000))
    for i in range(100):
        await cache.get(f"https://flood/{i}", of_size(5000))
    assert cache.fresh("https://good/") == "v"
    assert cache.fresh("https://flood/99") == "v"


async def test_what_is_too_large_is_used_but_not_kept(cache):
    """One large entry is handed out and forgotten, and replaces nothing."""
    assert await cache.get("https://op/", of_size(MAX_ENTRY_BYTES + 1, "large")) == "large"
    assert len(cache) == 0


async def test_replaced_entries_are_not_counted(cache):
    """An entry that is fetched again counts once."""
    for _ in range(100):
        await cache.refresh("https://op/", of_size(50_000))
    await cache.get("https://other/", of_size(40_000))
    assert len(cache) == 2


class _Both(msgspec.Struct):
    text: str
    items: tuple[str, ...]
    names: dict[str, str]


def test_held_bytes_counts_what_lies_inside():
    """Texts in tuples, dicts and structs are counted with what Python needs for each."""
    small, large = _Both("", (), {}), _Both("x" * 1000, ("a",) * 1000, {"n": "y" * 1000})
    assert held_bytes(large) - held_bytes(small) > 1000 + 1000 * 50 + 1000


async def test_metadata_that_is_too_large(op, transport, clock):
    """A document above the limit is an invalid response; one below it keeps only what somebody reads."""
    discovery = DiscoveryCache(transport, clock)
    op.on("GET", WELL_KNOWN, {"issuer": op.base, "x": "y" * MAX_DOCUMENT_BYTES})
    with pytest.raises(OpInvalidResponse, match="larger"):
        await discovery.get(op.base)
    op.on("GET", "/a" + WELL_KNOWN, {"issuer": op.base + "/a", "scopes_supported": ["a"] * 50_000})
    assert held_bytes(await discovery.get(op.base, "a")) < 10_000


async def test_very_many_paths_of_one_op(op, transport, clock):
    """Metadata under very many paths of one host fills no more than its part of the cache."""
    discovery = DiscoveryCache(transport, clock)
    algorithms = [f"alg{i}" for i in range(1000)]
    for i in range(300):
        document = {"issuer": f"{op.base}/{i}", "id_token_signing_alg_values_supported": algorithms}
        op.on("GET", f"/{i}{WELL_KNOWN}", document)
        await discovery.get(op.base, str(i))
    assert discovery._cache._bytes <= 16 * 1024 * 1024
