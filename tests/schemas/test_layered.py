"""A layered mapping behaves as a dict that is copied for each change."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshbridge.schemas.layered import Layered

changes = st.lists(st.dictionaries(st.integers(0, 40), st.none() | st.integers(), max_size=6), max_size=30)


@given(st.dictionaries(st.integers(0, 40), st.integers()), changes)
def test_every_copy_is_as_a_copied_dict(base: dict[int, int], story: list[dict[int, int | None]]) -> None:
    copies: list[tuple[Layered[int, int], dict[int, int]]] = [(Layered(dict(base)), dict(base))]
    for change in story:
        layered, plain = copies[-1]
        changed = {key: new for key, new in (plain | change).items() if new is not None}
        copies.append((layered.replaced(change), changed))

    for layered, plain in copies:  # Also the first ones, after all that came later.
        assert layered == plain
        assert len(layered) == len(plain)
        assert sorted(layered) == sorted(plain)
        assert [layered.get(key, -1) for key in range(42)] == [plain.get(key, -1) for key in range(42)]
        assert [key in layered for key in range(42)] == [key in plain for key in range(42)]


def test_changed_value_keeps_its_place() -> None:
    layered = Layered({"a": 1, "b": 2}).replaced({"a": 3, "c": 4})

    assert list(layered.items()) == [("a", 3), ("b", 2), ("c", 4)]


def test_missing_key_is_an_error() -> None:
    layered = Layered({"a": 1}).replaced({"a": None})

    with pytest.raises(KeyError, match="a"):
        layered["a"]
    with pytest.raises(KeyError, match="b"):
        layered["b"]


def test_base_is_shared_until_much_differs() -> None:
    layered = Layered(dict.fromkeys(range(10_000), 1))
    bases = set()
    for number in range(1000):
        layered = layered.replaced({number: 2})
        bases.add(id(layered._base))

    assert len(bases) < 12
