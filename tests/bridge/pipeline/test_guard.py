"""The guard of one source, driven through a catalog as the mesh drives it."""

from collections.abc import Iterable, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from msgspec.structs import replace

from meshbridge.bridge.pipeline.bounds import Cause, GuardSettings, Trip
from meshbridge.bridge.pipeline.catalog import Catalog
from meshbridge.bridge.pipeline.guard import Overall, SourceGuard, hold, without_held
from meshbridge.schemas.registry import Health, Instance, InstanceGroup, Port, ServiceKey, group

SETTINGS = GuardSettings(min_removed=10, max_removed_percent=20, window=60, hold=600)
READY, UNREADY, DRAINING = Health.READY, Health.UNREADY, Health.DRAINING


class World:
    """A source: what its registry says, what counts, and a clock."""

    def __init__(self, bounds: GuardSettings = SETTINGS) -> None:
        self.catalog = Catalog()
        self.guard = SourceGuard(bounds)
        self.counting: dict[ServiceKey, InstanceGroup] = {}
        self.now = 1000.0

    def says(self, after: float = 0.0, /, **services: Mapping[int, Health] | Iterable[int]) -> None:
        """Let the registry say, after so many seconds, which instances some services have."""
        self.now += after
        groups = []
        for name, found in services.items():
            states = found if isinstance(found, Mapping) else dict.fromkeys(found, READY)
            key = ServiceKey("vms", name)
            groups.append(group(key, [vm(name, number, health) for number, health in states.items()]))
        self.take(groups)

    def take(self, groups: Iterable[InstanceGroup]) -> None:
        changes = self.catalog.compare(groups)
        self.note(self.guard.judge(changes, self.now))
        self.catalog.store(changes)

    def note(self, groups: Iterable[InstanceGroup]) -> None:
        self.counting.update({found.key: found for found in groups})

    def release(self) -> None:
        self.note(self.guard.release(self.now))

    def expire(self, after: float) -> None:
        self.now += after
        self.note(self.guard.expire(self.now))

    def served(self, name: str = "shop") -> int:
        found = self.counting.get(ServiceKey("vms", name))
        return sum(instance.health.is_served for instance in found.instances) if found else 0


def vm(service: str, number: int, health: Health = READY, weight: int | None = None) -> Instance:
    name = f"{service}-{number:03}"
    return Instance(name, f"10.0.0.{number % 250}", (Port("", 80),), health=health, weight=weight)


def test_small_losses_pass() -> None:
    world = World()
    world.says(shop=range(20))

    world.says(shop=range(11))

    assert world.guard.trip is None
    assert world.served() == 11


@pytest.mark.parametrize(
    ("peak", "left", "trips"),
    [
        (40, 30, True),  # 10 lost, 25 %
        (40, 31, False),  # 9 lost are fewer than min_removed
        (50, 40, False),  # 10 lost, 20 % are not more than 20 %
        (50, 39, True),  # 11 lost, 22 %
        (10, 0, True),
        (9, 0, False),
    ],
)
def test_trips_exactly_beyond_both_bounds(peak: int, left: int, trips: bool) -> None:
    world = World()
    world.says(shop=range(peak))

    world.says(shop=range(left))

    assert (world.guard.trip is not None) is trips
    assert world.served() == (peak if trips else left)
    assert world.guard.held == (peak - left if trips else 0)


def test_instance_that_turns_unready_is_a_loss_and_is_served_on() -> None:
    world = World()
    world.says(shop=range(20))

    world.says(shop={**dict.fromkeys(range(10), READY), **dict.fromkeys(range(10, 20), UNREADY)})

    assert world.guard.held == 10
    assert world.served() == 20


def test_losses_spread_over_several_updates_add_up_within_the_window() -> None:
    world = World()
    world.says(shop=range(40))

    world.says(20, shop=range(36))
    world.says(20, shop=range(32))
    world.says(20, shop=range(30))

    assert world.guard.trip is not None
    assert world.guard.trip.peak == 40
    assert world.served() == 32  # What was lost before the guard tripped is gone.


def test_losses_outside_the_window_do_not_add_up() -> None:
    world = World()
    world.says(shop=range(40))

    world.says(1000, shop=range(36))
    world.says(61, shop=range(32))
    world.says(61, shop=range(28))

    assert world.guard.trip is None
    assert world.served() == 28


@pytest.mark.parametrize(("after", "trips"), [(59.5, True), (60.0, False)])
def test_peak_counts_until_it_ended_a_window_ago(after: float, trips: bool) -> None:
    world = World()
    world.says(shop=range(40))
    world.says(30, shop=range(35))

    world.says(after, shop=range(30))

    assert (world.guard.trip is not None) is trips


def test_count_from_just_before_a_loss_is_a_peak_however_old_it_is() -> None:
    world = World()
    world.says(shop=range(40))

    world.says(100_000, shop=range(20))

    assert world.guard.trip is not None


def test_all_losses_of_the_event_that_trips_are_held() -> None:
    world = World()
    world.says(shop=range(10), pay=range(10), news=range(10))

    world.says(shop=[], pay=[9], news=range(10))

    assert [world.served(name) for name in ("shop", "pay", "news")] == [10, 10, 10]
    assert world.guard.held == 19
    assert set(world.guard.effective) == {ServiceKey("vms", "shop"), ServiceKey("vms", "pay")}


def test_later_losses_are_held_too_while_new_instances_and_changes_come_through() -> None:
    world = World()
    world.says(shop=range(20), pay=range(3))
    world.says(1, shop=range(5))

    world.says(1, pay=[0, 7])
    moved = replace(vm("shop", 0), address="10.9.9.9")
    world.take([group(ServiceKey("vms", "shop"), [moved, *(vm("shop", number) for number in range(1, 5))])])

    found = world.counting[ServiceKey("vms", "pay")]
    assert [instance.id for instance in found.instances] == ["pay-000", "pay-001", "pay-002", "pay-007"]
    assert found.held == ("pay-001", "pay-002")
    assert world.counting[ServiceKey("vms", "shop")].instances[0] is moved


def test_group_that_vanished_keeps_its_attributes_while_it_is_held() -> None:
    key = ServiceKey("vms", "shop")
    world = World()
    world.take([group(key, [vm("shop", number) for number in range(20)], {"host": "shop.example"})])

    world.take([InstanceGroup(key)])

    assert world.counting[key].attributes == (("host", "shop.example"),)
    assert len(world.counting[key].held) == 20


def test_held_instances_that_come_back_are_no_longer_held() -> None:
    world = World()
    world.says(shop=range(20), pay=range(20))
    world.says(shop=range(5), pay=range(10))

    world.says(pay=range(20))

    assert world.guard.held == 15
    assert ServiceKey("vms", "pay") not in world.guard.effective


def test_recovery_frees_what_is_still_lost() -> None:
    world = World()
    world.says(shop=range(40), pay=range(10))
    world.says(shop=range(10), pay=range(5))

    world.says(shop=range(38))

    assert world.guard.trip is None
    assert world.guard.held == 0
    assert world.served("shop") == 38
    assert world.served("pay") == 5


def test_release_frees_and_counts_anew() -> None:
    world = World()
    world.says(shop=range(40))
    world.says(shop=range(20))

    world.release()
    world.says(1, shop=range(11))

    assert world.guard.trip is None
    assert world.guard.held == 0
    assert world.served() == 11

    world.says(1, shop=range(5))

    assert world.guard.trip is not None
    assert world.guard.trip.peak == 20


def test_release_of_nothing_changes_nothing() -> None:
    world = World()
    world.says(shop=range(40))

    assert world.guard.release(world.now) == []


def test_time_out_frees() -> None:
    world = World()
    world.says(shop=range(40))
    world.says(shop=range(20))

    world.expire(599)
    assert world.served() == 40

    world.expire(1)
    assert world.served() == 20
    assert world.guard.trip is None


def test_time_out_never_leaves_a_source_without_served_instances() -> None:
    world = World()
    world.says(shop=range(40))
    world.says(shop=[])

    world.expire(10_000)
    assert world.served() == 40

    world.says(shop=[1])
    world.expire(1)
    assert world.served() == 1


def test_time_out_of_a_quiet_guard_frees_nothing() -> None:
    assert World().guard.expire(10_000) == []


def test_draining_is_no_loss() -> None:
    world = World()
    world.says(shop=range(40))

    world.says(1, shop={**dict.fromkeys(range(20), READY), **dict.fromkeys(range(20, 40), DRAINING)})
    world.says(1, shop=range(20))

    assert world.guard.trip is None
    assert world.served() == 20


def test_instance_of_weight_zero_is_draining() -> None:
    key = ServiceKey("vms", "shop")
    world = World()
    world.says(shop=range(40))

    world.take([group(key, [vm("shop", number, weight=0 if number < 30 else None) for number in range(40)])])
    world.take([group(key, [vm("shop", number) for number in range(30, 40)])])

    assert world.guard.trip is None


def test_draining_does_not_add_to_the_next_real_loss() -> None:
    world = World()
    world.says(shop=range(60))
    world.says(1, shop={**dict.fromkeys(range(40), READY), **dict.fromkeys(range(40, 60), DRAINING)})

    world.says(1, shop=range(31))  # 9 of 40: under min_removed

    assert world.guard.trip is None


def test_draining_while_the_guard_holds_counts_towards_recovery() -> None:
    world = World()
    world.says(shop=range(100))
    world.says(1, shop=range(50))

    drained = dict.fromkeys(range(50, 95), DRAINING)
    world.says(1, shop={**dict.fromkeys(range(50), READY), **drained})

    assert world.guard.trip is None
    assert world.served() == 50


def test_replacing_all_instances_in_one_event_is_no_loss() -> None:
    world = World()
    world.says(shop=range(40))

    world.says(shop=range(100, 140))

    assert world.guard.trip is None
    assert world.served() == 40


def test_other_bounds_hold_from_the_next_event_on() -> None:
    world = World()
    world.says(shop=range(10))

    world.guard.settings = GuardSettings(min_removed=1, max_removed_percent=5)
    world.says(shop=range(9))

    assert world.guard.held == 1


@pytest.mark.parametrize(
    ("left", "is_suspect", "trips"), [(35, True, True), (36, True, False), (35, False, False)]
)
def test_half_of_both_bounds_is_enough_while_the_registry_is_suspect(
    left: int, is_suspect: bool, trips: bool
) -> None:
    world = World()
    world.says(shop=range(40))

    world.guard.is_suspect = is_suspect
    world.says(shop=range(left))

    assert (world.guard.trip is not None) is trips


def test_half_of_one_is_one() -> None:
    assert GuardSettings(min_removed=1).tightened.min_removed == 1


def test_holding_nothing_returns_the_new_group_itself() -> None:
    key = ServiceKey("vms", "shop")
    new = group(key, [vm("shop", 1)])

    assert hold(group(key, [vm("shop", 1), vm("shop", 2, UNREADY)]), new) is new


STATES = st.dictionaries(st.integers(0, 30), st.sampled_from([*Health]), max_size=30)


class AnyHistory(RuleBasedStateMachine):
    """Whatever a registry says, and whenever."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(GuardSettings(min_removed=3, max_removed_percent=25, window=60, hold=100))

    @rule(after=st.sampled_from([0.0, 1.0, 59.0, 61.0]), shop=STATES, pay=STATES)
    def sync(self, after: float, shop: Mapping[int, Health], pay: Mapping[int, Health]) -> None:
        self.world.says(after, shop=shop, pay=pay)

    @rule(after=st.sampled_from([0.0, 30.0]), shop=STATES)
    def update(self, after: float, shop: Mapping[int, Health]) -> None:
        before, tripped = self._published(), self.world.guard.trip is not None
        self.world.says(after, shop=shop)
        if tripped and self.world.guard.trip is not None:
            drained = {f"shop-{number:03}" for number, health in shop.items() if health is DRAINING}
            assert before - drained <= self._published(), "something was lost while the guard holds"

    @rule()
    def release(self) -> None:
        self.world.release()
        assert self.world.guard.held == 0

    @rule(after=st.sampled_from([1.0, 101.0]))
    def expire(self, after: float) -> None:
        had_some = bool(self._published())
        self.world.expire(after)
        assert bool(self._published()) is had_some

    def _published(self) -> set[str]:
        groups = self.world.counting.values()
        return {found.id for each in groups for found in each.instances if found.health.is_served}

    @invariant()
    def what_counts_is_the_registry_and_what_is_held(self) -> None:
        guard, catalog = self.world.guard, self.world.catalog
        for key, counting in self.world.counting.items():
            said = catalog.get(key)
            held = set(counting.held)
            assert counting == guard.effective.get(key, said)
            assert {found.id for found in said.instances} <= {found.id for found in counting.instances}
            assert [i for i in counting.instances if i.id not in held] == [
                i for i in said.instances if i.id not in held
            ]
        assert guard.held == sum(len(found.held) for found in self.world.counting.values())
        assert (guard.trip is not None) or guard.held == 0

    @invariant()
    def guard_holds_only_while_the_true_count_is_out_of_bounds(self) -> None:
        guard, catalog = self.world.guard, self.world.catalog
        served = sum(found.health.is_served for each in catalog.groups("vms") for found in each.instances)
        assert guard._tally.served == served
        if guard.trip is not None:
            lost = guard.trip.peak - served
            assert lost >= 3
            assert lost * 100 > guard.trip.peak * 25


AnyHistory.TestCase.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)
TestAnyHistory = AnyHistory.TestCase


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 40), st.integers(0, 60)), min_size=1, max_size=12))
def test_guard_trips_when_and_only_when_the_windows_peak_says_so(steps: list[tuple[float, int]]) -> None:
    world = World()
    world.says(shop=range(60))
    history = [(world.now, 60)]

    for after, count in steps:
        world.says(after, shop=range(count))
        start = world.now - 60
        recent = [number for at, number in history if at > start]
        before = [number for at, number in history if at <= start][-1:]  # Was in force as the window began.
        peak = max([*recent, *before, count])
        history.append((world.now, count))
        expected = peak - count >= 10 and (peak - count) * 100 > peak * 20
        assert (world.guard.trip is not None) is expected
        if expected:
            return


def test_emptied_source_is_held_until_most_of_it_is_back() -> None:
    world = World()
    world.says(shop=range(5))

    world.note(
        world.guard.judge(world.catalog.compare([group(ServiceKey("vms", "shop"), [])]), 1000.0, emptied=True)
    )
    world.catalog.store(world.catalog.compare([group(ServiceKey("vms", "shop"), [])]))
    assert (world.served(), world.guard.held) == (5, 5)

    world.says(30.0, shop=range(3))
    assert (world.served(), world.guard.held) == (5, 2)

    world.says(30.0, shop=range(4))
    assert (world.served(), world.guard.held) == (4, 0)


class Sources:
    """Several sources whose guards share what is lost overall."""

    def __init__(self, *names: str, each: int) -> None:
        self.overall = Overall(SETTINGS)
        self.worlds = {name: World() for name in names}
        for world in self.worlds.values():
            world.guard = SourceGuard(SETTINGS, self.overall)
            world.says(shop=range(each))

    def says(self, name: str, left: int) -> int:
        """Let one source say how many instances are left, and return how many count."""
        world = self.worlds[name]
        world.says(shop=range(left))
        return world.served()


def test_many_small_sources_do_not_lose_everything_together() -> None:
    sources = Sources(*"abcdef", each=6)

    counts = [sources.says(name, 0) for name in "abcdef"]

    assert counts == [0, 6, 6, 6, 6, 6], "a loses 6 of 36; with b it would be 12, a third"
    assert sources.worlds["b"].guard.trip == Trip(1000.0, 6, Cause.OVERALL)


def test_loss_that_was_held_for_all_goes_when_all_can_bear_it_again() -> None:
    sources = Sources(*"abcdef", each=8)
    assert [sources.says("a", 0), sources.says("b", 7)] == [0, 7]
    assert sources.says("c", 7) == 8, "the tenth loss of 48"

    world = sources.worlds["c"]
    world.expire(30.0)
    assert world.served() == 8
    world.expire(31.0)
    assert world.served() == 7


def test_what_is_released_or_taken_out_is_no_loss_to_others() -> None:
    sources = Sources(*"abcdef", each=12)
    assert sources.says("a", 0) == 12
    sources.worlds["a"].release()
    sources.worlds["b"].guard.leave(1000.0)

    assert sources.says("c", 11) == 11


def test_ordinary_change_passes_while_another_source_is_held() -> None:
    sources = Sources("a", "b", each=20)
    assert sources.says("a", 1) == 20

    assert sources.says("b", 19) == 19


def test_what_is_held_can_be_kept_and_held_again() -> None:
    world = World()
    world.says(shop=range(20), other=range(3))
    world.says(5.0, shop=range(2))
    world.says(5.0, shop=range(1))
    kept = world.guard.keep()
    assert kept is not None
    assert kept.trip == Trip(1005.0, 23)
    assert set(kept.since["shop"].values()) == {1005.0, 1010.0}

    again = World()
    again.take([without_held(found) for found in world.counting.values()])
    again.guard.restore(kept.moved(-500.0).moved(500.0), world.counting, again.now)

    assert (again.guard.held, again.guard.trip) == (19, Trip(1000.0, 23)), "no hold begins in the future"
    again.says(5.0, shop=range(18))
    assert again.guard.held == 0
    assert again.guard.keep() is None
