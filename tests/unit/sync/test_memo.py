"""Texts that are made again only when what they are made from has changed."""

import pytest

from oxd_server.sync.memo import Memo, TextMemo, remembered


class Maker:
    """Makes a text and counts how often."""

    def __init__(self, text: str = "made") -> None:
        self.text = text
        self.times = 0

    def __call__(self) -> str:
        self.times += 1
        return self.text


def test_a_text_is_made_once() -> None:
    """The same key and an equal source give the same text without making it again."""
    memo, make = TextMemo(), Maker()
    assert [memo.get("a", ("x", [1]), make), memo.get("a", ("x", [1]), make)] == ["made", "made"]
    assert make.times == 1


def test_another_source_makes_another_text() -> None:
    """A key whose source has changed gets a new text, which then is the one that is kept."""
    memo, make = TextMemo(), Maker("new")
    memo.get("a", 1, Maker("old"))
    assert [memo.get("a", 2, make), memo.get("a", 2, make)] == ["new", "new"]
    assert make.times == 1


def test_keys_are_apart() -> None:
    """Two keys with equal sources have a text each."""
    memo = TextMemo()
    assert memo.get("a", 1, Maker("one")) == "one"
    assert memo.get("b", 1, Maker("two")) == "two"


def test_it_is_bounded() -> None:
    """There are never more texts than the capacity, whatever is asked for."""
    memo = TextMemo(capacity=3)
    for number in range(10):
        memo.get(str(number), number, Maker())
        assert len(memo) <= 3


def test_long_texts_are_not_kept() -> None:
    """A very long text is made every time, so that nobody can fill the memory."""
    memo, make = TextMemo(), Maker("x" * 2001)
    assert memo.get("a", 1, make) == memo.get("a", 1, make) == "x" * 2001
    assert (make.times, len(memo)) == (2, 0)


def test_values_of_any_type() -> None:
    """What a memo keeps is decided by who makes it; the rest is made every time."""
    made: list[int] = []

    def make(number: int) -> int:
        made.append(number)
        return number

    memo = Memo[int](keeps=lambda number: number < 10)
    for number in (1, 1, 10, 10):
        assert memo.get("a", number, lambda number=number: make(number)) == number  # type: ignore[misc]
    assert made == [1, 10, 10]


def test_what_short_bytes_mean_is_remembered() -> None:
    """So many of them, none longer than allowed; an error is none of them."""
    parsed: list[bytes] = []

    def parse(data: bytes) -> int:
        parsed.append(data)
        return int(data)

    number_of = remembered(parse, most=2, longest=2)
    assert [number_of(data) for data in (b"1", b"1", b"2", b"1", b"3", b"2")] == [1, 1, 2, 1, 3, 2]
    assert parsed == [b"1", b"2", b"3", b"2"]
    assert [number_of(b"100"), number_of(b"100")] == [100, 100]
    for _ in range(2):
        with pytest.raises(ValueError):
            number_of(b"x")
    assert parsed[4:] == [b"100", b"100", b"x", b"x"]
