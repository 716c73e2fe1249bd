from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from meshbridge.bridge.config.rules import Defaults, Rule
from meshbridge.bridge.pipeline.bounds import GuardSettings
from meshbridge.bridge.pipeline.mesh import Mesh
from meshbridge.bridge.pipeline.rules import Rules
from meshbridge.bridge.pipeline.values import MeshKey
from meshbridge.schemas import wire
from meshbridge.schemas.istio import ServiceEntry
from meshbridge.schemas.registry import (
    Health,
    Instance,
    InstanceGroup,
    Note,
    Port,
    ServiceKey,
    group,
    labels,
)
from meshbridge.schemas.resource import Kind, Resource, ResourceKey

SHOP, PAY = ServiceKey("vms", "shop"), ServiceKey("vms", "pay")
SHOP_HOST = MeshKey("meshbridge", "shop.vms.mesh")
PAY_HOST = MeshKey("meshbridge", "pay.vms.mesh")
ONE_HOST = {"set": {"host": "one.mesh"}}


def rules(*written: Mapping[str, Any], **defaults: Any) -> Rules:
    return Rules([Rule.model_validate(rule) for rule in written], Defaults.model_validate(defaults))


def vm(number: int, **fields: Any) -> Instance:
    return Instance(f"vm-{number:03}", f"10.0.0.{number}", **{"ports": (Port("http", 80, "http"),), **fields})


class World:
    """A mesh that is worked off after every event."""

    def __init__(self, *written: Mapping[str, Any], precedence: Iterable[str] = ("vms", "zk")) -> None:
        self.precedence = list(precedence)
        self.mesh = Mesh(rules(*written), self.precedence, GuardSettings())
        self.pieces = 0

    def says(self, *groups: InstanceGroup, now: float = 0.0) -> Mapping[ResourceKey, Resource | None]:
        """Let registries say some groups and return what changes."""
        for found in groups:
            self.mesh.apply(found.key.source, self.mesh.catalog.compare([found]), now)
        return self.settle()

    def settle(self) -> Mapping[ResourceKey, Resource | None]:
        self.pieces = sum(1 for _ in self.mesh.settle())
        return self.mesh.take_changes()

    def configure(self, *written: Mapping[str, Any], precedence: Iterable[str] = ("vms", "zk")) -> Any:
        self.mesh.configure(rules(*written), list(precedence), GuardSettings())
        return self.settle()

    def entry(self, key: MeshKey) -> ServiceEntry:
        spec = wire.decode(Kind.SERVICE_ENTRY, self.mesh.services[key].converted.resources[0].body)
        assert isinstance(spec, ServiceEntry)
        return spec

    def addresses(self, key: MeshKey) -> list[str]:
        return [endpoint.address for endpoint in self.entry(key).endpoints]


def names(changes: Mapping[ResourceKey, Resource | None]) -> dict[str, bool]:
    """Say of each changed resource whether it is there now."""
    return {key.name: found is not None for key, found in changes.items()}


def test_groups_become_resources() -> None:
    world = World()

    changes = world.says(group(SHOP, [vm(1), vm(2)]), group(PAY, [vm(3)]))

    assert names(changes) == {"shop.vms.mesh": True, "pay.vms.mesh": True}
    assert world.addresses(SHOP_HOST) == ["10.0.0.1", "10.0.0.2"]
    assert set(world.mesh.resources()) == set(changes.values())
    assert world.mesh.take_changes() == {}


def test_change_of_one_service_touches_no_other() -> None:
    world = World()
    others = [group(ServiceKey("vms", f"s{number}"), [vm(number)]) for number in range(50)]
    world.says(group(SHOP, [vm(1), vm(2)]), *others)
    before = dict(world.mesh.services)
    members = {member.id: member for member in before[SHOP_HOST].service.members}

    changes = world.says(group(SHOP, [vm(1), vm(2, weight=7)]))

    assert names(changes) == {"shop.vms.mesh": True}
    assert world.pieces == 2  # One group, one mesh service.
    assert all(built is before[key] for key, built in world.mesh.services.items() if key != SHOP_HOST)
    after = {member.id: member for member in world.mesh.services[SHOP_HOST].service.members}
    assert after["vm-001"] is members["vm-001"]
    assert after["vm-002"].weight == 7


def test_changed_attributes_are_applied_to_every_instance_of_the_group() -> None:
    world = World()
    world.says(group(SHOP, [vm(1)], {"namespace": "a"}))

    changes = world.says(group(SHOP, [vm(1)], {"namespace": "b"}))

    assert {key.namespace: found is not None for key, found in changes.items()} == {"a": False, "b": True}


def test_group_that_moves_to_another_host_leaves_the_old_one() -> None:
    world = World({"match": {"tag": "canary"}, "set": {"host": "canary.mesh"}})
    world.says(group(SHOP, [vm(1), vm(2)]))

    changes = world.says(group(SHOP, [vm(1), vm(2, tags=("canary",))]))
    assert names(changes) == {"shop.vms.mesh": True, "canary.mesh": True}
    assert world.addresses(SHOP_HOST) == ["10.0.0.1"]

    changes = world.says(group(SHOP, [vm(1, tags=("canary",)), vm(2, tags=("canary",))]))
    assert names(changes) == {"shop.vms.mesh": False, "canary.mesh": True}
    assert set(world.mesh.services) == {MeshKey("meshbridge", "canary.mesh")}


def test_group_that_is_gone_takes_its_resources_with_it() -> None:
    world = World()
    world.says(group(SHOP, [vm(1)]))

    changes = world.says(InstanceGroup(SHOP))

    assert names(changes) == {"shop.vms.mesh": False}
    assert world.mesh.services == {}
    assert list(world.mesh.evaluated("vms")) == []


def test_service_whose_instances_are_all_unready_keeps_its_host() -> None:
    world = World()
    world.says(group(SHOP, [vm(1)]))

    world.says(group(SHOP, [vm(1, health=Health.UNREADY)]))

    assert world.addresses(SHOP_HOST) == []


def test_group_with_notes_alone_is_known_but_makes_nothing() -> None:
    world = World()

    changes = world.says(group(SHOP, [], notes=[Note("vms.yaml:1", "no port")]))

    assert changes == {}
    assert [found.group.notes for found in world.mesh.evaluated("vms")] == [(Note("vms.yaml:1", "no port"),)]


def test_two_groups_to_one_host_are_joined_by_precedence() -> None:
    world = World(ONE_HOST, precedence=["zk", "vms"])
    key = MeshKey("meshbridge", "one.mesh")

    world.says(group(SHOP, [vm(1)]), group(ServiceKey("zk", "shop"), [vm(2)]))
    assert world.addresses(key) == ["10.0.0.1", "10.0.0.2"]
    assert [str(found) for found in world.mesh.services[key].service.groups] == ["zk/shop", "vms/shop"]

    changes = world.says(InstanceGroup(SHOP))
    assert names(changes) == {"one.mesh": True}
    assert world.addresses(key) == ["10.0.0.2"]


def test_refused_service_keeps_its_last_valid_copy() -> None:
    world = World()
    world.says(group(SHOP, [vm(1)]), group(PAY, [vm(2)]))
    valid = world.mesh.services[SHOP_HOST].converted

    changes = world.says(group(SHOP, [vm(1), vm(3)], {"export_to": ".,*"}), group(PAY, [vm(4)]))

    built = world.mesh.services[SHOP_HOST]
    assert built.converted is valid
    assert "would be refused: exportTo" in built.error
    assert not built.is_bug
    assert changes[valid.resources[0].key] is valid.resources[0]
    assert world.addresses(PAY_HOST) == ["10.0.0.4"]
    assert world.mesh.take_news().quarantined == [(SHOP_HOST, built)]


def test_quarantine_is_told_once_for_each_reason_and_ends_with_a_valid_state() -> None:
    world = World()
    world.says(group(SHOP, [vm(1)], {"export_to": ".,*"}))
    assert len(world.mesh.take_news().quarantined) == 1

    world.says(group(SHOP, [vm(1), vm(2)], {"export_to": ".,*"}))
    assert world.mesh.take_news().quarantined == []

    world.says(group(SHOP, [vm(1), vm(2)], {"export_to": "no place"}))
    assert len(world.mesh.take_news().quarantined) == 1

    world.says(group(SHOP, [vm(1), vm(2)]))
    assert world.mesh.services[SHOP_HOST].error == ""
    assert world.addresses(SHOP_HOST) == ["10.0.0.1", "10.0.0.2"]


def test_service_that_was_never_valid_makes_nothing() -> None:
    world = World()

    changes = world.says(group(SHOP, [vm(1)], {"export_to": ".,*"}))

    built = world.mesh.services[SHOP_HOST]
    assert changes == {}
    assert built.converted.resources == ()
    assert (built.converted.ready, built.converted.total) == (0, 1)


def test_rules_that_fail_leave_the_group_as_it_was_and_stop_nobody() -> None:
    world = World()
    world.says(group(SHOP, [vm(1)]))
    odd = vm(2, ports=("none",))  # Nothing checks a type that no adapter gets wrong.

    changes = world.says(group(SHOP, [vm(1), odd]), group(PAY, [vm(3)]))

    assert world.addresses(SHOP_HOST) == ["10.0.0.1"]
    assert names(changes)["pay.vms.mesh"]
    [(key, bug)] = world.mesh.take_news().bugs
    assert key == SHOP
    assert "Traceback" in bug


def test_new_rules_that_fail_leave_the_group_as_it_was_and_stop_nobody() -> None:
    world = World()
    version = labels({"version": "v1"})
    odd = vm(1, tags=7, labels=version)  # Nothing checks a type that no adapter gets wrong.
    world.says(group(SHOP, [odd]), group(PAY, [vm(3)]))

    world.configure({"match": {"tag": "old"}, "drop": True}, {"set": {"namespace": "new"}})

    assert set(world.mesh.services) == {SHOP_HOST, MeshKey("new", "pay.vms.mesh")}
    assert world.addresses(SHOP_HOST) == ["10.0.0.1"]
    assert world.mesh.take_news().bugs[0][0] == SHOP

    world.says(group(SHOP, [vm(1)]))
    assert SHOP_HOST not in world.mesh.services
    assert world.addresses(MeshKey("new", "shop.vms.mesh")) == ["10.0.0.1"]


def test_group_of_a_source_that_is_about_to_leave_stays_as_it_was() -> None:
    world = World()
    world.says(group(SHOP, [vm(1)]), group(ServiceKey("zk", "old"), [vm(2)]))

    changes = world.configure({"set": {"host": "{service}.new"}}, precedence=["vms"])

    assert names(changes)["shop.new"]
    assert {key.host for key in world.mesh.services} == {"shop.new", "old.zk.mesh"}

    world.configure({"set": {"host": "{service}.new"}})
    assert {key.host for key in world.mesh.services} == {"shop.new", "old.new"}


@pytest.mark.parametrize("is_known", [True, False])
def test_service_that_can_not_be_merged_is_quarantined_and_stops_nobody(is_known: bool) -> None:
    world = World()
    if is_known:
        world.says(group(SHOP, [vm(1)]))
    odd = vm(2, ports=(Port("http", "high", "http"),))  # type: ignore[arg-type]  # As an adapter's bug would.

    changes = world.says(group(SHOP, [vm(1), odd]), group(PAY, [vm(3)]))

    built = world.mesh.services[SHOP_HOST]
    assert built.is_bug
    assert built.service.groups == (SHOP,)
    assert len(built.converted.resources) == int(is_known)
    assert names(changes)["pay.vms.mesh"]

    world.says(group(SHOP, []))
    assert SHOP_HOST not in world.mesh.services


def test_new_notes_are_counted_once() -> None:
    world = World()
    named = Instance("vm-1", "vm-1.example", (Port("http", 80, "http"),))

    world.says(group(SHOP, [named]))
    assert world.mesh.take_news().problems["convert"] == 1

    world.says(group(SHOP, [named, vm(2)]))
    assert world.mesh.take_news().problems["convert"] == 0


def test_unforeseen_exception_quarantines_one_service_with_a_traceback() -> None:
    world = World()
    world.says(group(SHOP, [vm(1)]))
    odd = vm(2, weight="heavy")  # Nothing checks a type that no adapter gets wrong.

    changes = world.says(group(SHOP, [odd]), group(PAY, [vm(3)]))

    built = world.mesh.services[SHOP_HOST]
    assert built.is_bug
    assert "Traceback" in built.error
    assert world.addresses(SHOP_HOST) == ["10.0.0.1"]
    assert names(changes)["pay.vms.mesh"]
    assert world.addresses(PAY_HOST) == ["10.0.0.3"]


def test_other_rules_are_applied_to_everything_known() -> None:
    world = World()
    world.says(group(SHOP, [vm(1)]), group(PAY, [vm(2)]), group(ServiceKey("zk", "old"), [vm(3)]))

    changes = world.configure(
        {"match": {"service": "shop"}, "set": {"host": "new.mesh"}}, {"match": {"source": "zk"}, "drop": True}
    )

    assert names(changes) == {
        "shop.vms.mesh": False,
        "old.zk.mesh": False,
        "new.mesh": True,
        "pay.vms.mesh": True,
    }
    assert {key.host for key in world.mesh.services} == {"new.mesh", "pay.vms.mesh"}


def test_equal_rules_give_equal_resources() -> None:
    world = World()
    before = world.says(group(SHOP, [vm(1)]))

    assert world.configure() == before


def test_other_precedence_is_applied() -> None:
    world = World(ONE_HOST)
    world.says(group(SHOP, [vm(1)]), group(ServiceKey("zk", "shop"), [vm(2)]))

    world.configure(ONE_HOST, precedence=["zk", "vms"])

    [built] = world.mesh.services.values()
    assert built.notes == built.service.notes + built.converted.notes == ()
    assert [found.source for found in built.service.groups] == ["zk", "vms"]


def test_other_rules_while_events_wait_lose_nothing() -> None:
    world = World()
    world.says(group(SHOP, [vm(1)]))
    world.mesh.apply("vms", world.mesh.catalog.compare([group(SHOP, [vm(2)]), group(PAY, [vm(3)])]), 0.0)

    world.configure({"match": {"service": "shop"}, "set": {"host": "new.mesh"}})

    assert world.addresses(MeshKey("meshbridge", "new.mesh")) == ["10.0.0.2"]
    assert world.addresses(PAY_HOST) == ["10.0.0.3"]


def test_forgotten_source_leaves_with_all_it_had() -> None:
    world = World(ONE_HOST)
    world.says(group(SHOP, [vm(number) for number in range(20)]), group(ServiceKey("zk", "shop"), [vm(99)]))
    world.says(group(SHOP, [vm(0)]))
    assert world.mesh.guard("vms").held == 19

    world.mesh.forget("vms", 0.0)
    world.settle()

    assert world.addresses(MeshKey("meshbridge", "one.mesh")) == ["10.0.0.99"]
    assert list(world.mesh.evaluated("vms")) == []
    assert "vms" not in world.mesh.guards


def test_forgotten_group_that_only_the_guard_kept_leaves_too() -> None:
    world = World()
    world.says(group(SHOP, [vm(number) for number in range(20)]))
    world.says(InstanceGroup(SHOP))
    assert world.addresses(SHOP_HOST)

    world.mesh.forget("vms", 0.0)

    assert names(world.settle()) == {"shop.vms.mesh": False}


def test_unknown_source_can_be_forgotten() -> None:
    World().mesh.forget("never-heard-of", 0.0)


def test_losses_that_the_guard_holds_stay_in_the_resources_until_released() -> None:
    world = World()
    world.says(group(SHOP, [vm(number) for number in range(20)]))

    assert list(world.says(group(SHOP, [vm(1)])).values()) == [
        world.mesh.services[SHOP_HOST].converted.resources[0]
    ]
    assert len(world.addresses(SHOP_HOST)) == 20
    assert [len(found.instances) for found in world.mesh.groups("vms")] == [20]
    assert world.mesh.effective(SHOP).held == tuple(f"vm-{n:03}" for n in range(20) if n != 1)

    assert world.mesh.release("vms", 1.0) == 19
    world.settle()
    assert world.addresses(SHOP_HOST) == ["10.0.0.1"]
    assert [len(found.instances) for found in world.mesh.groups("vms")] == [1]


def test_group_that_only_the_guard_keeps_is_among_the_groups_that_count() -> None:
    world = World()
    world.says(group(SHOP, [vm(number) for number in range(20)]))

    world.says(InstanceGroup(SHOP))

    assert [found.key for found in world.mesh.groups("vms")] == [SHOP]


def test_time_out_names_the_sources_it_frees() -> None:
    world = World()
    world.says(group(SHOP, [vm(number) for number in range(20)]), group(ServiceKey("zk", "old"), [vm(50)]))
    world.says(group(SHOP, [vm(1)]))

    assert world.mesh.expire(599.0) == []
    assert world.mesh.expire(600.0) == ["vms"]
    world.settle()
    assert world.addresses(SHOP_HOST) == ["10.0.0.1"]


def test_apply_says_whether_there_is_work() -> None:
    mesh = World().mesh
    changes = mesh.catalog.compare([group(SHOP, [vm(1)])])

    assert mesh.apply("vms", changes, 0.0)
    assert mesh.apply("vms", mesh.catalog.compare([group(SHOP, [vm(2)])]), 0.0), (
        "also where some waits already"
    )
    assert not mesh.apply("vms", [], 0.0)


def test_bounds_of_a_reload_hold_for_sources_known_before() -> None:
    world = World()
    world.says(group(SHOP, [vm(1), vm(2)]))

    world.mesh.configure(rules(), ["vms"], GuardSettings(min_removed=1, max_removed_percent=0))
    world.says(group(SHOP, [vm(1)]))

    assert world.mesh.guard("vms").held == 1


GROUPS = st.builds(
    lambda source, name, found, host, health: group(
        ServiceKey(source, name),
        [vm(number, health=health) for number in found],
        {"host": host} if host else {},
    ),
    st.sampled_from(["vms", "zk"]),
    st.sampled_from(["shop", "pay", "Pay"]),
    st.sets(st.integers(1, 5), max_size=4),
    st.sampled_from(["", "one.mesh"]),
    st.sampled_from([Health.READY, Health.UNREADY]),
)


@settings(deadline=None)
@given(st.lists(GROUPS, max_size=12), st.randoms(use_true_random=False), st.booleans())
def test_any_order_of_the_same_events_gives_identical_resources(
    events: list[InstanceGroup], random: Any, in_steps: bool
) -> None:
    """Events of one group keep their order, as adapters keep it; those of different groups need not."""
    last = {event.key: event for event in events}
    shuffled = list(last.values())
    random.shuffle(shuffled)
    world, other = World(), World()
    for one in (world, other):  # What the guard holds depends on history, by its nature.
        one.mesh.configure(rules(), one.precedence, GuardSettings(min_removed=1000))

    for event in events:
        world.says(event) if in_steps else world.mesh.apply(
            event.key.source, world.mesh.catalog.compare([event]), 0.0
        )
    world.settle()
    other.says(*shuffled)

    assert {found.key: found for found in world.mesh.resources()} == {
        found.key: found for found in other.mesh.resources()
    }
    assert world.mesh.services.keys() == other.mesh.services.keys()


@settings(deadline=None)
@given(st.lists(GROUPS, min_size=1, max_size=10))
def test_changes_add_up_to_what_there_is(events: list[InstanceGroup]) -> None:
    world = World()
    held: dict[ResourceKey, Resource] = {}

    for event in events:
        for key, found in world.says(event).items():
            if found is None:
                del held[key]
            else:
                held[key] = found

    assert held == {found.key: found for found in world.mesh.resources()}


@pytest.mark.parametrize("mode", ["inline", "workload_entries"])
def test_switching_how_endpoints_are_published_leaves_nothing_behind(mode: str) -> None:
    world = World({"set": {"endpoints": mode}})
    world.says(group(SHOP, [vm(1), vm(2)]))
    before = {found.key: found for found in world.mesh.resources()}

    changes = world.configure({"set": {"endpoints": "inline" if mode != "inline" else "workload_entries"}})

    after = {**before, **changes}
    assert {key for key, found in after.items() if found} == {found.key for found in world.mesh.resources()}
    assert len({key for key, found in after.items() if found}) == (3 if mode == "inline" else 1)


def test_instances_that_are_replaced_by_equal_ones_are_not_looked_at_again() -> None:
    world = World()
    world.says(group(SHOP, [vm(1)]))
    before = world.mesh.services[SHOP_HOST]

    assert world.says(group(SHOP, [replace(vm(1))])) == {}
    assert world.pieces == 0
    assert world.mesh.services[SHOP_HOST] is before
