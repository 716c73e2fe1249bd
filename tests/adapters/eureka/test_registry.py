from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshbridge.adapters.eureka.groups import make_group
from meshbridge.adapters.eureka.instances import Entry
from meshbridge.adapters.eureka.registry import RECENT, REPEATED, Registry
from meshbridge.schemas.registry import Health, Instance, ServiceKey, group


def entry(identity: str, status: str = "UP", *, health: Health = Health.READY, **fields: object) -> Entry:
    return Entry(identity, status, instance=Instance(identity, identity, health=health), **fields)


def listing(*entries: Entry, service: str = "shop") -> dict[str, dict[str, Entry]]:
    return {service: {found.id: found for found in entries}}


def full(registry: Registry, *entries: Entry, now: float = 0.0, forget: bool = False) -> set[str]:
    return set(filter(None, registry.apply_full(listing(*entries), now, forget=forget)))


def delta(registry: Registry, *entries: Entry, now: float = 0.0) -> set[str]:
    return set(filter(None, registry.apply_delta([("shop", {found.id: found for found in entries})], now)))


def ids(registry: Registry) -> list[str]:
    return [instance.id for instance in registry.group("shop").instances]


@pytest.fixture
def registry() -> Registry:
    return Registry("spring")


def test_hash_is_the_servers(registry: Registry) -> None:
    assert registry.hash_code == ""
    full(registry, entry("a"), entry("b"), entry("c", "OUT_OF_SERVICE"), entry("d", "DOWN"))
    assert registry.hash_code == "DOWN_1_OUT_OF_SERVICE_1_UP_2_"
    delta(registry, entry("d", "UP"), entry("c", action="DELETED"))
    assert registry.hash_code == "UP_3_"


def test_full_answer_replaces_everything(registry: Registry) -> None:
    full(registry, entry("a"), entry("b"))

    assert full(registry, entry("b"), entry("c")) == {"shop"}
    assert ids(registry) == ["b", "c"]
    assert full(registry, entry("b"), entry("c")) == set()


def test_applications_that_are_gone_are_told(registry: Registry) -> None:
    full(registry, entry("a"))

    assert set(registry.apply_full({}, 0.0, forget=False)) == {"shop"}
    assert registry.is_empty
    assert registry.group("shop") == group(ServiceKey("spring", "shop"), ())


def test_application_that_lists_nothing_is_none(registry: Registry) -> None:
    assert set(registry.apply_full({"shop": {}}, 0.0, forget=False)) == {""}
    assert registry.is_empty


def test_delta_is_idempotent(registry: Registry) -> None:
    full(registry, entry("a"), entry("b"))
    changes = [entry("c"), entry("a", action="DELETED"), entry("b", "DOWN", health=Health.UNREADY)]

    assert delta(registry, *changes) == {"shop"}
    assert delta(registry, *changes) == set()
    assert ids(registry) == ["b", "c"]


def test_deletion_of_an_unknown_instance_is_none(registry: Registry) -> None:
    assert delta(registry, entry("a", action="DELETED")) == set()


def test_deletion_before_a_registration_does_not_undo_it(registry: Registry) -> None:
    full(registry, entry("a", updated=20))

    assert delta(registry, entry("a", action="DELETED", updated=10)) == set()
    assert ids(registry) == ["a"]


def test_full_answer_from_an_older_cache_does_not_bring_back_what_was_deleted(registry: Registry) -> None:
    full(registry, entry("a", updated=10), entry("b", updated=10))
    delta(registry, entry("a", action="DELETED", updated=20), now=1.0)

    full(registry, entry("a", updated=10), entry("b", updated=10), now=2.0)
    assert ids(registry) == ["b"]
    full(registry, entry("a", updated=10), entry("b", updated=10), now=2.0 + REPEATED)
    assert ids(registry) == ["a", "b"]


def test_full_answer_from_an_older_cache_does_not_undo_a_change(registry: Registry) -> None:
    full(registry, entry("a", updated=10))
    delta(registry, entry("a", "DOWN", updated=20, health=Health.UNREADY), now=1.0)

    assert full(registry, entry("a", updated=10), now=2.0) == set()
    assert full(registry, entry("a", updated=10), now=2.0 + RECENT) == {"shop"}


def test_full_answer_from_an_older_cache_does_not_remove_what_was_just_added(registry: Registry) -> None:
    full(registry, entry("a"))
    delta(registry, entry("b"), now=1.0)

    full(registry, entry("a"), now=2.0)
    assert ids(registry) == ["a", "b"]
    assert registry.doubted == 1
    full(registry, entry("a"), now=2.0 + RECENT, forget=True)
    assert ids(registry) == ["a"]
    assert registry.doubted == 0


def test_older_change_in_a_delta_is_late_unless_the_clock_was_put_back(registry: Registry) -> None:
    full(registry, entry("a", updated=1_000_000))

    assert delta(registry, entry("a", "DOWN", updated=900_000, health=Health.UNREADY)) == set()
    assert delta(registry, entry("a", "DOWN", updated=100_000, health=Health.UNREADY)) == {"shop"}


def test_process_is_recognised_by_a_registration_that_is_still_the_same(registry: Registry) -> None:
    assert registry.is_continued_by({})
    full(registry, entry("a", registered=1), entry("b", registered=2))

    assert registry.is_continued_by(listing(entry("b", registered=2)))
    assert not registry.is_continued_by(listing(entry("b", registered=3), entry("c", registered=1)))
    assert not registry.is_continued_by({})


def test_registrations_told_by_a_delta_prove_nothing(registry: Registry) -> None:
    full(registry, entry("a", registered=1), entry("b", registered=2))
    delta(registry, entry("a", registered=5), entry("c", registered=6))

    assert not registry.is_continued_by(listing(entry("a", registered=5), entry("c", registered=6)))
    full(registry, entry("a", registered=5), entry("c", registered=6))
    assert registry.is_continued_by(listing(entry("c", registered=6)))


def test_doubted_instances_stay_until_they_are_listed_deleted_or_forgotten(registry: Registry) -> None:
    full(registry, *map(entry, "abcd"))
    registry.doubt_all()
    assert (registry.doubted, registry.listed, registry.hash_code) == (4, 0, "")

    full(registry, entry("a"))
    assert (ids(registry), registry.doubted, registry.hash_code) == (list("abcd"), 3, "UP_1_")
    delta(registry, entry("b"), entry("c", action="DELETED"))
    assert (ids(registry), registry.doubted) == (list("abd"), 1)
    full(registry, entry("a"), entry("b"), forget=True)
    assert (ids(registry), registry.doubted) == (list("ab"), 0)


def test_server_that_knows_less_of_a_doubted_instance_is_not_believed(registry: Registry) -> None:
    full(registry, entry("a", "DOWN", dirty=20, health=Health.UNREADY))
    registry.doubt_all()

    assert full(registry, entry("a", dirty=10)) == set()
    assert delta(registry, entry("a", dirty=10, action="DELETED")) == set()
    assert registry.doubted == 1
    assert full(registry, entry("a", dirty=10), forget=True) == {"shop"}
    assert registry.doubted == 0


def test_earlier_groups_begin_in_doubt_without_what_only_the_guard_held(registry: Registry) -> None:
    key = ServiceKey("spring", "shop")
    kept = group(key, [Instance("a", "a"), Instance("b", "b")])
    held = group(ServiceKey("spring", "gone"), [Instance("x", "x")])
    both = [type(kept)(key=found.key, instances=found.instances, held=ids) for found, ids in
            ((kept, ("b",)), (held, ("x",)))]  # fmt: skip

    registry.seed({"shop": both[0], "gone": both[1]})

    assert ids(registry) == ["a"]
    assert list(registry.groups) == ["shop"]
    assert registry.doubted == 1


def test_refused_record_keeps_its_last_good_reading(registry: Registry) -> None:
    full(registry, entry("a", updated=1, registered=1))

    assert delta(registry, Entry("a", "UP", refusal="why")) == {"shop"}
    assert ids(registry) == ["a"]
    assert [note.reason for note in registry.group("shop").notes] == ["why; its last good reading is kept"]
    assert [found.reason for found in registry.take_refusals()] == ["why"]
    delta(registry, Entry("a", "UP", refusal="why"))
    assert registry.take_refusals() == []
    delta(registry, entry("a", updated=2))
    assert registry.group("shop").notes == ()


def test_refused_record_that_was_never_good_is_a_note(registry: Registry) -> None:
    full(registry, entry("a"), Entry("b", "UP", refusal="why"))

    assert ids(registry) == ["a"]
    assert [note.record for note in registry.group("shop").notes] == ["b"]
    assert registry.hash_code == "UP_2_"
    full(registry, entry("a"), entry("b"))
    assert ids(registry) == ["a", "b"]


def test_unknown_after_draining_drains(registry: Registry) -> None:
    full(registry, entry("a", "OUT_OF_SERVICE", health=Health.DRAINING))

    delta(registry, entry("a", "UNKNOWN", health=Health.UNREADY))

    assert registry.group("shop").instances[0].health is Health.DRAINING
    assert registry.hash_code == "UNKNOWN_1_"


def test_service_whose_entries_look_the_same_is_not_made_anew(registry: Registry) -> None:
    full(registry, entry("a", expires=1), entry("b"))
    before = registry.group("shop")

    assert full(registry, entry("a", expires=2), entry("b"), now=500.0) == set()

    assert registry.group("shop") is before


def test_answer_that_is_taken_in_half_is_counted_for_what_was_taken(registry: Registry) -> None:
    steps = registry.apply_full(
        {**listing(entry("a")), **listing(entry("b"), service="pay")}, 0.0, forget=False
    )

    next(steps)
    steps.close()

    assert registry.hash_code == "UP_1_"


def test_vip_names_become_attributes_and_hosts_if_wanted() -> None:
    key = ServiceKey("spring", "shop")
    entries = [entry("a", vips=("store", "shop")), entry("b", vips=("store",), remarks=("odd",))]

    assert make_group(key, entries, "").attributes == (("vip", "shop,store"),)
    made = make_group(key, entries, "{vip}.spring.mesh")
    assert dict(made.attributes)["hosts"] == "shop,shop.spring.mesh,store.spring.mesh"
    assert [(note.record, note.reason) for note in made.notes] == [("b", "odd")]


Step = tuple[str, str, int]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["UP", "DOWN", "DELETED"])), max_size=12))
def test_deltas_and_full_answers_come_to_the_same(steps: Iterable[tuple[str, str]]) -> None:
    """A server's history, followed by deltas that repeat the last steps, and read at once at the end."""
    server: dict[str, Entry] = {}
    told: list[Entry] = []
    follower = Registry("spring")
    for time, (identity, what) in enumerate(steps, start=1):
        if what == "DELETED":
            server.pop(identity, None)
            told.append(entry(identity, action="DELETED", updated=time))
        else:
            health = Health.READY if what == "UP" else Health.UNREADY
            server[identity] = entry(identity, what, health=health, action="ADDED", updated=time)
            told.append(server[identity])
        delta(follower, *told[-3:])

    reader = Registry("spring")
    full(reader, *server.values())

    assert follower.groups == reader.groups
    assert follower.hash_code == reader.hash_code
