"""Places for commands: a number in all, half of them for one owner."""

from oxd_server.dispatch.places import Places


def test_places_are_taken_and_given_back() -> None:
    """As many as there are can be taken, and again when they are given back."""
    places = Places(2)
    assert [places.take() for _ in range(3)] == [True, True, False]
    places.give_back(())
    assert (places.taken, places.take()) == (1, True)


def test_an_owner_has_half() -> None:
    """Half of the places count for an owner at most; a place counts for all of its owners or for none."""
    places = Places(4)
    assert [places.count_for(owners) for owners in (["a", "x"], ["b", "x"], ["c", "x"], ["c"])] == [
        None, None, "x", None,
    ]  # fmt: skip
    places.give_back(["a", "x"])
    assert places.count_for(["c", "x"]) is None


def test_what_nobody_has_is_not_kept() -> None:
    """Owners without a place take up no memory."""
    places = Places(4)
    places.take()
    places.count_for(["a", "b"])
    places.give_back(["a", "b"])
    assert not places._taken_by
