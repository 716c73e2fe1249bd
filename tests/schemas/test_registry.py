import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshbridge.schemas import registry
from meshbridge.schemas.registry import Health, Instance, Note, ServiceKey, group, labels

KEY = ServiceKey("vms", "orders")
pairs = st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=5)


@given(pairs=pairs)
def test_labels_are_sorted_and_equal_sets_are_one_object(pairs) -> None:
    found = labels(pairs)

    assert dict(found) == pairs
    assert list(found) == sorted(found)
    assert labels(reversed(list(pairs.items()))) is found
    assert labels(found) is found


def test_later_key_overrides_an_earlier_one() -> None:
    assert labels([("a", "1"), ("b", "2"), ("a", "3")]) == (("a", "3"), ("b", "2"))


def test_enum_members_become_plain_texts() -> None:
    ((key, value),) = labels({"health": Health.READY})

    assert (key, value, type(value)) == ("health", "ready", str)


def test_table_of_label_sets_is_bounded(monkeypatch) -> None:
    monkeypatch.setattr(registry, "_MAX_LABEL_SETS", 10)
    monkeypatch.setattr(registry, "_label_sets", {})

    kept = [labels({"id": str(n)}) for n in range(25)]

    assert len(registry._label_sets) <= 10
    assert kept[3] == labels({"id": "3"})


@pytest.mark.parametrize(
    ("health", "served"),
    [(Health.READY, True), (Health.UNKNOWN, True), (Health.UNREADY, False), (Health.DRAINING, False)],
)
def test_only_ready_and_unknown_instances_are_served(health, served) -> None:
    assert health.is_served is served


def test_groups_of_equal_states_are_equal_whatever_the_order() -> None:
    one, two = Instance("a", "10.0.0.1"), Instance("b", "10.0.0.2")
    note, other = Note("x", "no address"), Note("y", "no port")

    left = group(KEY, [one, two], {"host": "a", "protocol": "http"}, [note, other])
    right = group(KEY, iter([two, one]), labels({"protocol": "http", "host": "a"}), [other, note, note])

    assert left == right
    assert left.instances == (one, two)
    assert left.held == ()


def test_group_keeps_at_most_a_hundred_notes() -> None:
    notes = [Note(f"{n:03}", "bad") for n in range(150)]

    assert group(KEY, [], notes=reversed(notes)).notes == tuple(notes[:100])


def test_key_reads_as_source_and_name() -> None:
    assert str(KEY) == "vms/orders"
