import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from structlog.testing import capture_logs

from meshbridge.bridge.config.rules import Defaults, Rule
from meshbridge.bridge.pipeline.bounds import GuardSettings
from meshbridge.bridge.pipeline.mesh import Mesh
from meshbridge.bridge.pipeline.outside import Clocks, GateSettings, Kept
from meshbridge.bridge.pipeline.publish import TICK, Publisher
from meshbridge.bridge.pipeline.rules import Rules
from meshbridge.bridge.pipeline.sources import Source
from meshbridge.schemas.errors import SinkError
from meshbridge.schemas.registry import (
    FullSync,
    GroupUpdate,
    Instance,
    InstanceGroup,
    Port,
    ServiceKey,
    SourceReport,
    SourceState,
    group,
)
from meshbridge.schemas.resource import Publication

pytestmark = pytest.mark.looptime

SHOP = ServiceKey("vms", "shop")
EMPTY = FullSync((), 0.0, empty_is_meant=True)
STRICT = GateSettings()
QUIET = 5 * TICK
"""Enough for everything that happens to have happened."""


def vm(number: int) -> Instance:
    return Instance(f"vm-{number:05}", f"10.{number // 250}.0.{number % 250}", (Port("http", 80, "http"),))


def sync(*groups: InstanceGroup, observed: float = 0.0) -> FullSync:
    return FullSync(groups, observed)


def update(key: ServiceKey, *numbers: int, observed: float = 0.0) -> GroupUpdate:
    return GroupUpdate(group(key, map(vm, numbers)), observed)


@dataclass
class Counts:
    """Everything the publisher counted."""

    seen: list[str] = field(default_factory=list)

    def published(self, publication: Publication) -> None:
        self.seen.append(f"published {publication.generation}")

    def sink_failed(self, sink: str) -> None:
        self.seen.append(f"failed {sink}")

    def tripped(self, source: str) -> None:
        self.seen.append(f"tripped {source}")

    def problems(self, stage: str, count: int) -> None:
        self.seen.append(f"{count} problems of {stage}")

    def quarantined(self, reason: str) -> None:
        self.seen.append(f"quarantined {reason}")


class Shelf:
    """A sink that keeps what it gets, or refuses it."""

    def __init__(self, name: str = "shelf") -> None:
        self.name = name
        self.got: list[Publication] = []
        self.refuses = False

    async def apply(self, publication: Publication) -> None:
        if self.refuses:
            raise SinkError(self.name, "it is full", retryable=True)
        self.got.append(publication)

    @property
    def names(self) -> list[str]:
        """Names of what there is by the newest publication."""
        return sorted(
            key.name for kind in self.got[-1].snapshot.collections.values() for key in kind.resources
        )


class World:
    """A running publisher on the loop's own clock."""

    def __init__(self, gate: GateSettings, sinks: list[Shelf], written: list[Mapping[str, Any]]) -> None:
        loop = asyncio.get_running_loop()
        rules = Rules([Rule.model_validate(rule) for rule in written], Defaults())
        mesh = Mesh(rules, ["vms", "zk"], GuardSettings())
        self.sinks = sinks
        self.counts = Counts()
        clocks = Clocks(loop.time, lambda: 1000.0 + loop.time())
        self.publisher = Publisher(mesh, sinks, self.counts, gate, clocks)

    def add(self, name: str = "vms", required: bool = True) -> Source:
        self.publisher.sources[name] = Source(name, "inventory", required, since=0.0)
        return self.publisher.sources[name]

    async def says(self, event: FullSync | GroupUpdate | SourceReport, name: str = "vms") -> None:
        await self.publisher.submit(name, event)

    async def quiet(self, seconds: float = QUIET) -> list[Publication]:
        await asyncio.sleep(seconds)
        return self.sinks[0].got


@asynccontextmanager
async def running(
    *written: Mapping[str, Any], gate: GateSettings = STRICT, sinks: list[Shelf] | None = None
) -> AsyncIterator[World]:
    world = World(gate, sinks or [Shelf()], list(written))
    task = asyncio.create_task(world.publisher.run(), name="publisher under test")
    try:
        yield world
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_nothing_is_published_before_required_sources_have_synced() -> None:
    async with running() as world:
        world.add("vms")
        world.add("zk")

        await world.says(sync(group(SHOP, [vm(1)])))
        assert await world.quiet(100.0) == []
        assert world.publisher.waiting_for() == ["zk"]

        await world.says(EMPTY, "zk")
        [publication] = await world.quiet()
        assert world.sinks[0].names == ["shop.vms.mesh"]
        assert (publication.generation, len(publication.delta.added)) == (1, 1)
        assert world.publisher.waiting_for() == []


async def test_first_publication_is_made_though_there_is_nothing_in_it() -> None:
    async with running() as world:
        world.add()
        await world.says(EMPTY)

        [publication] = await world.quiet()

        assert len(publication.snapshot) == 0
        assert world.publisher.generation == 1


async def test_report_opens_no_gate() -> None:
    async with running() as world:
        world.add()

        await world.says(SourceReport(SourceState.SYNCED))

        assert await world.quiet() == []


async def test_optional_source_is_waited_for_until_the_grace_is_over() -> None:
    async with running(gate=GateSettings(grace=60.0)) as world:
        world.add("vms")
        world.add("zk", required=False)
        await world.says(sync(group(SHOP, [vm(1)])))

        assert await world.quiet(59.0) == []
        assert len(await world.quiet(1.0 + TICK)) == 1


async def test_startup_serve_waits_for_no_source_beyond_the_grace() -> None:
    async with running(gate=GateSettings(hold=False, grace=10.0)) as world:
        world.add("vms")
        world.add("zk")
        await world.says(sync(group(SHOP, [vm(1)])))

        assert await world.quiet(9.0) == []
        await world.quiet(1.0 + TICK)
        assert world.sinks[0].names == ["shop.vms.mesh"]


async def test_retained_copy_counts_as_known() -> None:
    async with running() as world:
        source = world.add()

        await world.publisher.restore("vms", Kept([group(SHOP, [vm(1)])], 1000.0))
        await world.quiet()

        assert world.sinks[0].names == ["shop.vms.mesh"]
        assert source.is_retained
        assert world.publisher.unsaved == set()


async def test_sync_after_a_retained_copy_publishes_the_difference_alone() -> None:
    async with running() as world:
        source = world.add()
        pay = ServiceKey("vms", "pay")
        await world.publisher.restore("vms", Kept([group(SHOP, [vm(1)]), group(pay, [vm(2)])], 1000.0))
        await world.quiet()

        await world.says(sync(group(SHOP, [vm(1)])))
        publications = await world.quiet()

        assert [key.name for key in publications[1].delta.removed] == ["pay.vms.mesh"]
        assert publications[1].delta.added == publications[1].delta.changed == ()
        assert not source.is_retained
        assert world.publisher.unsaved == {"vms"}


async def test_every_change_is_one_publication_with_a_higher_generation() -> None:
    async with running() as world:
        world.add()
        await world.says(sync(group(SHOP, [vm(1)])))
        await world.quiet()

        await world.says(update(SHOP, 1, 2))
        publications = await world.quiet()

        assert [found.generation for found in publications] == [1, 2]
        assert [found.key.name for found in publications[1].delta.changed] == ["shop.vms.mesh"]
        assert world.counts.seen == ["published 1", "published 2"]


async def test_unchanged_event_publishes_nothing() -> None:
    async with running() as world:
        source = world.add()
        await world.says(sync(group(SHOP, [vm(1)])))
        await world.quiet()
        world.publisher.unsaved.clear()

        await world.says(update(SHOP, 1))
        await world.says(sync(group(SHOP, [vm(1)])))

        assert len(await world.quiet()) == 1
        assert world.publisher.unsaved == set()
        assert source.last_success == 1000.0 + QUIET


async def test_change_that_makes_no_difference_to_resources_publishes_nothing() -> None:
    async with running({"match": {"service": "secret"}, "drop": True}) as world:
        world.add()
        await world.says(sync(group(SHOP, [vm(1)])))
        await world.quiet()

        await world.says(update(ServiceKey("vms", "secret"), 2))

        assert len(await world.quiet()) == 1


async def test_full_sync_is_published_as_a_whole() -> None:
    async with running() as world:
        world.add()
        groups = [group(ServiceKey("vms", f"s{number:04}"), [vm(number)]) for number in range(3000)]

        await world.says(sync(*groups))
        publications = await world.quiet()

        assert [len(found.snapshot) for found in publications] == [3000]


async def test_other_tasks_get_their_turn_while_much_is_worked_off() -> None:
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with running() as world:
        world.add()
        groups = [group(ServiceKey("vms", f"s{number:04}"), [vm(number)]) for number in range(2000)]
        other = asyncio.create_task(turn(), name="other")

        await world.says(sync(*groups))
        compared = turns
        await world.publisher.wait_newer(0, within=QUIET)
        other.cancel()

    assert compared >= 4  # 500 groups at a time
    assert turns - compared >= 4


async def test_waiting_for_a_newer_generation_ends_with_it_or_with_the_time() -> None:
    async with running() as world:
        loop = asyncio.get_running_loop()
        world.add()
        assert await world.publisher.wait_newer(0, within=3.0) == 0
        assert loop.time() == 3.0

        waiting = [
            asyncio.create_task(world.publisher.wait_newer(wanted, within=100.0), name="waiting")
            for wanted in (0, 1)
        ]
        await world.says(sync(group(SHOP, [vm(1)])))
        assert await waiting[0] == 1
        assert not waiting[1].done()
        await world.says(update(SHOP, 1, 2))
        assert await waiting[1] == 2
        assert await world.publisher.wait_newer(0, within=100.0) == 2
        assert loop.time() == 3.0


async def test_failing_sink_stops_no_other() -> None:
    sinks = [Shelf("broken"), Shelf("whole")]
    async with running(sinks=sinks) as world:
        sinks[0].refuses = True
        world.add()

        with capture_logs() as logs:
            await world.says(sync(group(SHOP, [vm(1)])))
            await world.quiet()

        assert len(sinks[1].got) == 1
        assert world.counts.seen == ["failed broken", "published 1"]
        assert [entry["sink"] for entry in logs if entry["event"] == "sink failed"] == ["broken"]


async def test_sink_that_fails_unforeseen_ends_nothing() -> None:
    class Odd(Shelf):
        async def apply(self, publication: Publication) -> None:
            raise RuntimeError("a bug")

    shelf = Shelf()
    async with running(sinks=[shelf, Odd("odd")]) as world:
        world.add()
        with capture_logs() as logs:
            await world.says(sync(group(SHOP, [vm(1)])))
            await world.quiet()
            await world.says(update(SHOP, 1, 2))
            await world.quiet()

        assert len(shelf.got) == 2
        assert world.counts.seen.count("failed odd") == 2
        assert isinstance(logs[0]["exc_info"], RuntimeError)


ONE_HOST = {"set": {"host": "{service}.mesh"}}


async def test_renamed_source_hands_its_services_over_in_one_publication() -> None:
    async with running(ONE_HOST) as world:
        world.add("zk")
        await world.says(sync(group(ServiceKey("zk", "shop"), [vm(1), vm(2)])), "zk")
        await world.quiet()

        await world.publisher.remove("zk", ["vms"])
        world.add("vms")
        await world.quiet()
        await world.says(sync(group(SHOP, [vm(1)])))
        _, newest = await world.quiet()

        assert [found.key.name for found in newest.delta.changed] == ["shop.mesh"]
        assert not newest.delta.removed
        assert "zk" not in world.publisher.mesh.guards


async def test_source_that_is_taken_out_leaves_after_the_grace_though_the_new_one_is_unread() -> None:
    async with running(gate=GateSettings(grace=30.0)) as world:
        world.add("zk")
        await world.says(sync(group(ServiceKey("zk", "shop"), [vm(1)])), "zk")
        await world.quiet()

        await world.publisher.remove("zk", ["vms"])
        world.add("vms")

        assert len(await world.quiet(29.0)) == 1
        await world.quiet()
        assert world.sinks[0].names == []


async def test_source_that_comes_back_while_it_leaves_stays() -> None:
    async with running(gate=GateSettings(grace=30.0)) as world:
        world.add("zk")
        await world.says(sync(group(ServiceKey("zk", "shop"), [vm(1)])), "zk")
        await world.quiet()

        await world.publisher.remove("zk", ["vms"])
        world.add("vms")
        await world.quiet()
        world.add("zk")

        assert len(await world.quiet(100.0)) == 1


async def test_late_event_of_a_removed_source_is_ignored() -> None:
    async with running() as world:
        world.add("vms")
        world.add("zk")
        await world.says(sync(group(SHOP, [vm(1)])))
        await world.says(EMPTY, "zk")
        await world.quiet()

        # All wait for the same lock, in this order.
        large = sync(*(group(ServiceKey("zk", f"s{n}"), [vm(n)], {"host": "one.mesh"}) for n in range(1000)))
        await asyncio.gather(
            world.says(large, "zk"), world.publisher.remove("vms"), world.says(update(SHOP, 1, 2))
        )
        await world.says(SourceReport(SourceState.STALE, "too late"))
        await world.quiet()

        assert world.sinks[0].names == ["one.mesh"]
        assert list(world.publisher.sources) == ["zk"]


async def test_source_that_suspects_its_registry_tightens_the_guard_until_it_no_longer_does() -> None:
    async with running() as world:
        world.add()
        await world.says(sync(group(SHOP, map(vm, range(40)))))

        with capture_logs() as logs:
            for suspect in (True, True, False):
                await world.says(SourceReport(SourceState.SYNCED, suspect=suspect))
                assert world.publisher.mesh.guard("vms").is_suspect is suspect

        assert [entry["event"] for entry in logs if "suspect" in entry["event"]] == [
            "registry suspect, guard tightened",
            "registry no longer suspect",
        ]


async def test_guard_that_trips_is_counted_and_said_and_so_is_its_recovery() -> None:
    async with running() as world:
        world.add()
        await world.says(sync(group(SHOP, map(vm, range(20)))))
        await world.quiet()

        with capture_logs() as logs:
            await world.says(update(SHOP, 1))
            await world.says(update(SHOP, 1, 2))
            await world.says(update(SHOP, *range(20)))

        assert world.counts.seen == ["published 1", "tripped vms"]
        holds, recovered = [entry for entry in logs if entry["event"].startswith("guard")]
        assert (holds["event"], holds["instances"], holds["served_before"]) == ("guard holds", 19, 20)
        assert recovered["event"] == "guard recovered"
        assert len(await world.quiet()) == 1


async def test_release_frees_what_is_held_and_says_how_much() -> None:
    async with running() as world:
        world.add()
        await world.says(sync(group(SHOP, map(vm, range(20)))))
        await world.says(update(SHOP, 1))
        await world.quiet()
        world.publisher.unsaved.clear()

        assert world.publisher.release("vms") == 19
        publications = await world.quiet()

        assert len(publications) == 2
        assert world.publisher.unsaved == {"vms"}
        with pytest.raises(KeyError):
            world.publisher.release("unknown")


async def test_held_instances_leave_after_their_time_without_any_event() -> None:
    async with running() as world:
        world.add()
        await world.says(sync(group(SHOP, map(vm, range(20)))))
        await world.says(update(SHOP, 1))
        await world.quiet()
        world.publisher.unsaved.clear()

        assert len(await world.quiet(590.0)) == 1
        assert len(await world.quiet(10.0)) == 2
        assert world.publisher.unsaved == {"vms"}


async def test_quarantined_services_are_counted_by_reason() -> None:
    async with running() as world:
        world.add()
        refused = group(ServiceKey("vms", "a"), [vm(1)], {"export_to": ".,*"})
        odd = Instance("x", "10.0.0.9", (Port("http", 80),), weight="heavy")  # type: ignore[arg-type]

        with capture_logs() as logs:
            await world.says(sync(refused, group(ServiceKey("vms", "b"), [odd]), group(SHOP, [vm(2)])))
            await world.quiet()

        assert sorted(world.counts.seen) == ["published 1", "quarantined bug", "quarantined refused"]
        assert world.sinks[0].names == ["shop.vms.mesh"]
        said = {entry["service"]: entry["error"] for entry in logs if entry["event"] == "service quarantined"}
        assert "exportTo" in said["meshbridge/a.vms.mesh"]
        assert "Traceback" in said["meshbridge/b.vms.mesh"]


async def test_publication_names_the_oldest_event_of_each_source() -> None:
    async with running() as world:
        world.add("vms")
        world.add("zk")
        await world.says(sync(group(SHOP, [vm(1)]), observed=5.0))
        await world.says(update(SHOP, 1, 2, observed=6.0))
        await world.says(FullSync((), 3.0, empty_is_meant=True), "zk")
        await world.quiet()
        await world.says(update(SHOP, 1, observed=7.0))
        await world.quiet()

        assert [dict(found.oldest) for found in world.sinks[0].got] == [{"vms": 5.0}, {"vms": 7.0}]


async def test_time_of_creation_is_kept_until_the_resource_is_gone() -> None:
    async with running() as world:
        world.add()
        await world.says(sync(group(SHOP, [vm(1)])))
        await world.quiet()
        [key] = world.publisher.created

        await world.says(update(SHOP, 1, 2))
        await world.quiet()
        assert world.publisher.created == {key: 1000.0}

        await world.says(update(SHOP))
        await world.quiet()
        assert world.publisher.created == {}

        await world.says(update(SHOP, 1))
        await world.quiet()
        assert world.publisher.created == {key: 1000.0 + 3 * QUIET}


async def test_change_of_state_is_said_once() -> None:
    async with running() as world:
        world.add()

        with capture_logs() as logs:
            for _ in range(3):
                await world.says(SourceReport(SourceState.DENIED, "forbidden"))

        assert [(entry["event"], entry["state"]) for entry in logs] == [("source state", "denied")]


async def test_other_rules_are_published_as_one_change() -> None:
    async with running() as world:
        world.add()
        await world.says(sync(group(SHOP, [vm(1)])))
        await world.quiet()
        rules = Rules([], Defaults(host="{service}.new"))

        await world.publisher.reconfigure(lambda mesh: mesh.configure(rules, ["vms"], GuardSettings()))
        publications = await world.quiet()

        assert world.sinks[0].names == ["shop.new"]
        assert len(publications) == 2


async def test_events_of_several_sources_at_once_all_arrive() -> None:
    async with running() as world:
        events: list[Awaitable[None]] = []
        for number in range(20):
            world.add(f"s{number}")
            key = ServiceKey(f"s{number}", "shop")
            events.append(world.says(sync(group(key, [vm(number)])), f"s{number}"))
        world.publisher.mesh.configure(Rules([], Defaults()), list(world.publisher.sources), GuardSettings())

        await asyncio.gather(*events)
        await world.quiet()

        assert len(world.sinks[0].names) == 20


async def test_empty_registry_that_was_never_seen_otherwise_opens_no_gate() -> None:
    async with running() as world:
        source = world.add()
        with capture_logs() as logs:
            await world.says(sync())
            await world.says(SourceReport(SourceState.SYNCED))
            await world.says(sync())

        assert await world.quiet(1000.0) == []
        assert source.state is SourceState.EMPTY
        assert world.publisher.waiting_for() == ["vms"]
        assert [line["event"] for line in logs] == ["source is empty"]


@pytest.mark.parametrize("whole", [True, False])
async def test_registry_that_fills_up_again_counts_as_read_when_nothing_more_comes(whole: bool) -> None:
    async with running(gate=GateSettings(refill=30.0)) as world:
        source = world.add()
        await world.says(sync())
        await world.says(update(SHOP))
        await world.says(SourceReport(SourceState.SYNCED))
        assert await world.quiet(100.0) == []

        for number in range(1, 5):
            had = range(1, number + 1)
            await world.says(sync(group(SHOP, map(vm, had))) if whole else update(SHOP, *had))
            assert await world.quiet(20.0) == []
        assert "filling up" in source.error

        [publication] = await world.quiet(15.0)
        assert len(publication.snapshot) == 1
        assert (source.state, source.error) == (SourceState.SYNCED, "")


async def test_empty_registry_counts_as_read_when_somebody_releases_it() -> None:
    async with running() as world:
        world.add()
        await world.says(sync())
        assert await world.quiet() == []

        assert world.publisher.release("vms") == 0

        assert len(await world.quiet()) == 1
        assert world.publisher.unsaved == {"vms"}


@pytest.mark.parametrize("meant", ["configured", "said by the registry"])
async def test_empty_registry_counts_as_read_where_that_is_meant(meant: str) -> None:
    async with running() as world:
        world.add().allow_empty = meant == "configured"

        await world.says(FullSync((), 0.0, empty_is_meant=meant != "configured"))

        assert len(await world.quiet()) == 1


async def test_empty_optional_registry_is_waited_for_until_grace() -> None:
    async with running(gate=GateSettings(grace=30.0)) as world:
        world.add(required=False)
        await world.says(sync())

        assert await world.quiet(25.0) == []
        assert len(await world.quiet(10.0)) == 1


@pytest.mark.parametrize("earlier", ["read", "retained"])
async def test_registry_that_comes_back_empty_loses_nothing_however_little_it_had(earlier: str) -> None:
    async with running() as world:
        source = world.add()
        had = group(SHOP, [vm(1), vm(2)])
        await (
            world.says(sync(had))
            if earlier == "read"
            else world.publisher.restore("vms", Kept([had], 1000.0))
        )
        assert len(await world.quiet()) == 1

        await world.says(sync())
        await world.says(sync())

        assert len(await world.quiet(10_000.0)) == 1
        assert world.publisher.mesh.guard("vms").held == 2
        assert source.is_synced

        assert world.publisher.release("vms") == 2
        assert len((await world.quiet())[-1].snapshot) == 0


async def test_registry_that_says_emptiness_is_meant_is_believed() -> None:
    async with running() as world:
        world.add()
        await world.says(sync(group(SHOP, [vm(1), vm(2)])))
        await world.quiet()

        await world.says(EMPTY)

        assert len((await world.quiet())[-1].snapshot) == 0


async def test_what_could_not_be_read_for_too_long_leaves_where_that_is_configured() -> None:
    async with running(gate=GateSettings(max_outage=100.0)) as world:
        source = world.add()
        await world.says(sync(group(SHOP, [vm(1)])))
        assert len(await world.quiet(1000.0)) == 1, "a source that is read well has no age"

        await world.says(SourceReport(SourceState.STALE, "refused"))
        assert len(await world.quiet(90.0)) == 1
        assert source.as_of(1e9) == pytest.approx(2000.0, abs=1.0)

        assert len((await world.quiet(20.0))[-1].snapshot) == 0
        assert source.as_of(1e9) is None

        await world.says(sync(group(SHOP, [vm(2)])))
        assert len((await world.quiet())[-1].snapshot) == 1


async def test_what_is_kept_of_a_source_can_be_restored_with_its_holds() -> None:
    async with running() as world:
        source = world.add()
        assert world.publisher.kept("vms") is None
        await world.says(sync(group(SHOP, map(vm, range(20)))))
        await world.says(sync(group(SHOP, map(vm, range(3)))))
        kept = world.publisher.kept("vms")
        assert kept is not None
        assert kept.held is not None
        assert kept.held.trip.since == pytest.approx(1000.0, abs=1.0)
        assert source.as_of(5000.0) == 5000.0
    async with running() as world:
        source = world.add()
        await world.publisher.restore("vms", kept)

        [publication] = await world.quiet()
        assert len(publication.snapshot) == 1
        assert world.publisher.mesh.guard("vms").held == 17
        assert source.as_of(5000.0) == kept.as_of
        await world.says(sync(group(SHOP, map(vm, range(20)))))
        assert world.publisher.mesh.guard("vms").held == 0
