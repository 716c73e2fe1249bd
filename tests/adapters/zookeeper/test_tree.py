"""The mirror of a root."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshbridge.adapters.zookeeper.layouts.layout import Node
from meshbridge.adapters.zookeeper.tree import BARE, Mirror

A, B = Node(b"a", ephemeral=True), Node(b"b")

_NAMES = st.sampled_from(["x", "y", "z"])
_PATHS = st.lists(_NAMES, min_size=1, max_size=3).map("/".join)
_NODES = st.sampled_from([A, B, BARE])
_EDITS = st.lists(st.tuples(_PATHS, st.none() | _NODES), max_size=25)


def mirror_of(**nodes: Node) -> Mirror:
    made = Mirror()
    made.put("", BARE)
    for path, node in nodes.items():
        made.put(path.replace("__", "/"), node)
    return made


def state(mirror: Mirror) -> dict[str, Node | None]:
    return {path: mirror.node(path) for path in mirror.below("")}


def test_an_empty_mirror_has_no_root() -> None:
    mirror = Mirror()

    assert mirror.node("") is None
    assert mirror.node("orders/a") is None
    assert not mirror.children("")
    assert mirror.below("") == []


def test_a_node_is_found_with_what_is_above_it() -> None:
    mirror = Mirror()

    mirror.put("orders/a", A)

    assert mirror.node("orders/a") == A
    assert mirror.node("orders") == BARE
    assert set(mirror.children("")) == {"orders"}
    assert set(mirror.children("orders")) == {"a"}
    assert not mirror.children("orders/a")
    assert mirror.node("orders/a/none") is None


def test_a_directory_keeps_its_children_when_its_data_changes() -> None:
    mirror = mirror_of(orders__a=A)

    mirror.put("orders", B)
    mirror.put("", A)

    assert mirror.node("orders") == B
    assert mirror.node("orders/a") == A
    assert mirror.node("") == A


def test_a_leaf_may_get_children() -> None:
    mirror = mirror_of(orders=B)

    mirror.put("orders/a", A)

    assert mirror.node("orders") == B
    assert set(mirror.children("orders")) == {"a"}


def test_dropping_a_node_drops_what_is_below_it() -> None:
    mirror = mirror_of(orders__a=A, orders__b=B, payments__c=A)

    assert mirror.below("orders") == ["orders/a", "orders/b", "orders"]
    mirror.drop("orders")
    mirror.drop("orders/a")
    mirror.drop("none/at/all")

    assert set(state(mirror)) == {"", "payments", "payments/c"}
    mirror.drop("")
    assert mirror.node("") is None


def test_only_directories_have_children() -> None:
    mirror = mirror_of(orders__a=A, payments=B, stock__b=A)
    mirror.drop("stock/b")

    assert mirror.directories("") == ["orders"]
    assert mirror.directories("orders") == []
    assert mirror.directories("payments") == []


@pytest.mark.parametrize("owner", [None, lambda path: path.rpartition("/")[2]])
@pytest.mark.parametrize("known", [[], ["orders/x"], ["orders/x/below", "orders/a"]])
def test_many_bare_nodes_are_put_as_one_by_one(owner: Callable[[str], str] | None, known: list[str]) -> None:
    at_once, singly = Mirror(owner), Mirror(owner)
    for mirror in (at_once, singly):
        for path in known:
            mirror.put(path, A)

    at_once.put_bare("orders", ("x", "y"))
    at_once.put_bare("none", ())
    singly.put("orders/x", BARE)
    singly.put("orders/y", BARE)

    assert state(at_once) == state(singly)
    assert [set(at_once.paths(name)) for name in "axy"] == [set(singly.paths(name)) for name in "axy"]


def test_the_root_may_be_a_leaf() -> None:
    mirror = Mirror()

    mirror.put("", A)

    assert state(mirror) == {"": A}


def test_paths_are_kept_by_owner() -> None:
    mirror = Mirror(lambda path: path.partition("/")[2])

    mirror.put("one/a", A)
    mirror.put("two/a", A)
    mirror.put("two/b", A)
    mirror.put("two/b", B)

    assert set(mirror.paths("a")) == {"one/a", "two/a"}
    mirror.drop("two")
    mirror.drop("two/b")
    assert set(mirror.paths("a")) == {"one/a"}
    assert not mirror.paths("b")
    mirror.drop("")
    assert not mirror.paths("a")


def test_what_an_unlisted_directory_holds_is_not_gone() -> None:
    mirror = mirror_of(orders__a=A, payments__b=A)
    fresh = mirror_of(payments=BARE)
    fresh.unlisted("orders")

    found = mirror.differences(fresh)

    assert found.gone == ["payments/b"]
    assert found.put == []


def test_an_unlisted_root_loses_nothing() -> None:
    mirror = mirror_of(orders__a=A)
    fresh = Mirror()
    fresh.unlisted("")

    assert mirror.differences(fresh).gone == []


def test_without_a_root_everything_is_gone() -> None:
    mirror = mirror_of(orders__a=A)

    assert mirror.differences(Mirror()).gone == [""]
    assert Mirror().differences(Mirror()).gone == []


@pytest.mark.parametrize(("left", "most"), [(5, False), (3, False), (1, True), (0, True)])
def test_losing_more_than_half_is_losing_most(left: int, most: bool) -> None:
    mirror = mirror_of(**{f"n{number}": A for number in range(5)})
    fresh = mirror_of(**{f"n{number}": A for number in range(left)})

    assert mirror.would_lose_most(mirror.differences(fresh)) is most


@given(_EDITS, _EDITS)
def test_applying_the_differences_makes_mirrors_equal(
    first: list[tuple[str, Node | None]], second: list[tuple[str, Node | None]]
) -> None:
    mirror, fresh = edited(first), edited(second)

    found = mirror.differences(fresh)
    for path in found.gone:
        mirror.drop(path)
    for path, node in found.put:
        mirror.put(path, node)

    assert state(mirror) == state(fresh)
    again = mirror.differences(fresh)
    assert not again.put
    assert not again.gone


@given(_EDITS)
def test_owned_paths_are_those_of_the_nodes(edits: list[tuple[str, Node | None]]) -> None:
    mirror = edited(edits, Mirror(lambda path: path.rpartition("/")[2]))

    for name in ("x", "y", "z"):
        expected = {path for path in mirror.below("") if path.rpartition("/")[2] == name}
        assert set(mirror.paths(name)) == expected


def edited(edits: list[tuple[str, Node | None]], mirror: Mirror | None = None) -> Mirror:
    mirror = mirror or mirror_of()
    for path, node in edits:
        if node is None:
            mirror.drop(path)
        else:
            mirror.put(path, node)
    return mirror
