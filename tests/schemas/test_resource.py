import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshbridge.schemas import resource as module
from meshbridge.schemas.registry import labels
from meshbridge.schemas.resource import (
    EMPTY_COLLECTION,
    EMPTY_SNAPSHOT,
    Delta,
    Kind,
    ResourceKey,
    apply,
    diff,
    replace,
    resource,
    snapshot,
)

KEY = ResourceKey(Kind.SERVICE_ENTRY, "legacy", "orders")
keys = st.builds(ResourceKey, st.sampled_from(Kind), st.sampled_from("ab"), st.sampled_from("xyz"))
resources = st.builds(resource, keys, st.binary(max_size=1), st.sampled_from([(), (("a", "1"),)]))
snapshots = st.lists(resources, max_size=12).map(snapshot)


@pytest.mark.parametrize(
    "other",
    [
        resource(ResourceKey(Kind.WORKLOAD_ENTRY, "legacy", "orders"), b"body"),
        resource(ResourceKey(Kind.SERVICE_ENTRY, "other", "orders"), b"body"),
        resource(ResourceKey(Kind.SERVICE_ENTRY, "legacy", "other"), b"body"),
        resource(KEY, b"other"),
        resource(KEY, b""),
        resource(KEY, b"body", labels({"a": "1"})),
        resource(KEY, b"body", labels({"a": "2"})),
        resource(KEY, b"body", labels({"a": "1", "b": ""})),
        resource(KEY, b"body", (), labels({"a": "1"})),
        resource(ResourceKey(Kind.SERVICE_ENTRY, "legacy/or", "ders"), b"body"),
    ],
)
def test_version_changes_with_everything_in_a_resource(other) -> None:
    assert other.version != resource(KEY, b"body").version


def test_equal_content_has_the_same_version_everywhere() -> None:
    found = resource(KEY, b"body", labels({"a": "1"}), labels({"b": "2"}))

    assert found == resource(KEY, b"body", labels([("a", "1")]), labels([("b", "2")]))
    assert found.version == "4409e5ddc87e843ad8e0c0c47cd57aae"


@given(items=st.lists(resources, unique_by=lambda found: found.key), data=st.data())
def test_collection_version_does_not_depend_on_order_or_history(items, data) -> None:
    direct = snapshot(items)
    shuffled = data.draw(st.permutations(items))
    grown = EMPTY_SNAPSHOT
    for found in shuffled:
        other = resource(found.key, b"earlier")
        grown = replace(replace(grown, {found.key: other})[0], {found.key: found})[0]

    assert grown == direct
    assert [grown[kind].version for kind in Kind] == [direct[kind].version for kind in Kind]


@given(left=snapshots, right=snapshots)
def test_collections_with_equal_versions_are_equal(left, right) -> None:
    for kind in Kind:
        assert (left[kind].version == right[kind].version) == (left[kind] == right[kind])


@given(old=snapshots, new=snapshots)
def test_applying_the_difference_gives_the_new_snapshot(old, new) -> None:
    delta = diff(old, new)

    assert apply(old, delta) == new
    assert bool(delta) == (old != new)
    assert all(old.get(found.key) is None for found in delta.added)
    assert all(old.get(found.key) not in (None, found) for found in delta.changed)
    assert all(old.get(key) is not None and new.get(key) is None for key in delta.removed)


@given(found=snapshots)
def test_difference_to_itself_is_nothing_and_to_nothing_is_everything(found) -> None:
    assert diff(found, found) == Delta()
    assert len(diff(EMPTY_SNAPSHOT, found).added) == len(found)
    assert len(diff(found, EMPTY_SNAPSHOT).removed) == len(found)
    assert apply(found, diff(found, EMPTY_SNAPSHOT)) == EMPTY_SNAPSHOT


@given(old=snapshots, key=keys)
def test_replacing_with_what_is_there_changes_nothing(old, key) -> None:
    found, delta = replace(old, {key: old.get(key)})

    assert found == old
    assert not delta


def test_unchanged_kinds_are_shared() -> None:
    entry = resource(ResourceKey(Kind.WORKLOAD_ENTRY, "a", "x"), b"")
    old = snapshot([resource(KEY, b"1"), entry])

    new, delta = replace(old, {KEY: resource(KEY, b"2")})

    assert new[Kind.WORKLOAD_ENTRY] is old[Kind.WORKLOAD_ENTRY]
    assert new[Kind.WORKLOAD_GROUP] is EMPTY_COLLECTION
    assert delta.kinds == {Kind.SERVICE_ENTRY}


def test_delta_names_the_kinds_of_removed_resources_too() -> None:
    delta = Delta(added=(resource(KEY, b""),), removed=(ResourceKey(Kind.WORKLOAD_GROUP, "a", "b"),))

    assert delta.kinds == {Kind.SERVICE_ENTRY, Kind.WORKLOAD_GROUP}


def test_last_of_several_resources_with_one_key_counts() -> None:
    found = snapshot([resource(KEY, b"1"), resource(KEY, b"2")])

    assert found.get(KEY) == resource(KEY, b"2")
    assert len(found) == 1


def test_replacing_leaves_the_old_snapshot_as_it_was() -> None:
    old = snapshot([resource(KEY, b"1")])

    replace(old, {KEY: None})

    assert old == snapshot([resource(KEY, b"1")])
    with pytest.raises(TypeError):
        old.collections[Kind.SERVICE_ENTRY] = EMPTY_COLLECTION


def test_checksum_wraps_at_128_bits() -> None:
    first = msgspec.structs.replace(resource(KEY, b""), version="f" * 32)
    second = msgspec.structs.replace(
        resource(ResourceKey(Kind.SERVICE_ENTRY, "a", "b"), b""), version="0" * 31 + "2"
    )

    assert snapshot([first, second])[Kind.SERVICE_ENTRY].version == "0" * 31 + "1"


def test_key_reads_as_kind_namespace_and_name() -> None:
    assert str(KEY) == "ServiceEntry legacy/orders"


def test_every_kind_has_its_spec() -> None:
    assert {kind: spec.__name__ for kind, spec in module.SPECS.items()} == {kind: kind.value for kind in Kind}
