"""The cache of what a store has read: how much it holds, and what makes room."""

import tracemalloc

import msgspec

from oxd_server.client_metadata import ClientMetadata
from oxd_server.store import Site
from oxd_server.store.cache import ValueCache


def test_the_bytes_are_of_what_is_held() -> None:
    """What is replaced, removed or forgotten counts no longer."""
    cache = ValueCache[str](10)
    assert cache.bytes == 0
    cache.publish("a", "x" * 1000)
    one = cache.bytes
    assert one > 1000
    cache.publish("b", "y" * 1000)
    assert cache.bytes == 2 * one
    cache.publish("a", "x")
    assert one < cache.bytes < 2 * one
    cache.publish("a", None)
    assert cache.bytes == one
    cache.publish("nothing", None)
    cache.fill("c", "z", cache.stamp("c") - 1)
    assert cache.bytes == one
    cache.clear()
    assert cache.bytes == 0


def test_bytes_bound_it() -> None:
    """The values that were not used for longest make room, as many as it takes."""
    probe = ValueCache[str](1)
    probe.publish("a", "x" * 1000)
    cache = ValueCache[str](100, max_bytes=3 * probe.bytes)
    for key in "abc":
        cache.publish(key, "x" * 1000)
    assert cache.get("a") is not None
    cache.publish("d", "x" * 1000)
    assert [key for key in "abcd" if cache.get(key)] == ["a", "c", "d"]
    cache.publish("e", "x" * 2500)
    assert [key for key in "acde" if cache.get(key)] == ["e"]


def test_what_is_larger_than_all_of_it_is_not_kept() -> None:
    """It is read again each time."""
    cache = ValueCache[str](100, max_bytes=1000)
    cache.publish("a", "x" * 1000)
    assert (cache.get("a"), cache.bytes) == (None, 0)


def test_the_number_bounds_it() -> None:
    """Small values are many before they are large."""
    cache = ValueCache[str](2)
    for key in "abc":
        cache.publish(key, "x")
    assert [key for key in "abc" if cache.get(key)] == ["b", "c"]


def test_the_bytes_are_about_those_of_memory() -> None:
    """Of sites as they are read: neither half of it nor three times as much."""
    metadata = ClientMetadata(client_name="Shop", redirect_uris=tuple(f"https://shop.example/{n}" for n in range(10)))
    text = msgspec.json.encode(Site(oxd_id="a", op_host="https://op.example", client_id="c" * 36, client=metadata))
    cache = ValueCache[Site](1000)
    tracemalloc.start()
    try:
        for number in range(1000):
            cache.publish(str(number), msgspec.json.decode(text, type=Site))
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert held / 2 < cache.bytes < held * 3
