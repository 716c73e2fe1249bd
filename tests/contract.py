"""The clauses of adapters/base.py as tests, for every adapter that brings a harness.

`tests/adapters/test_contract.py` collects these functions once for each harness it finds in
`tests/adapters/*/harness.py`; the tests against real servers do the same with theirs.
A harness is the outside world of an adapter: a registry that can be filled, spoilt and broken.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Protocol

import pytest
import structlog

from meshbridge.adapters.base import Adapter, AdapterConfig, AdapterContext
from meshbridge.schemas.errors import RegistryError
from meshbridge.schemas.registry import (
    FullSync,
    GroupUpdate,
    InstanceGroup,
    SourceEvent,
    SourceReport,
    SourceState,
)

SOURCE = "tested"
A, B, C = "192.0.2.1", "192.0.2.2", "192.0.2.3"


class Harness(Protocol):
    """A registry under the tests' control. Changes may take a moment to reach the adapter."""

    kind: str
    """Key in ADAPTERS."""
    label: str
    """Name of the test's parameter."""
    secret: str
    """A text that must never show, "" when the adapter needs no secret."""

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    def config(self) -> AdapterConfig: ...
    async def register(self, service: str, address: str) -> None: ...
    async def deregister(self, service: str, address: str) -> None: ...
    async def corrupt(self, service: str, address: str) -> None:
        """Make the record of a registered instance malformed."""

    async def shuffle(self) -> None:
        """Keep the state, and give it in another order."""

    async def break_(self) -> None:
        """Make every read fail."""

    async def heal(self) -> None: ...


class Counts:
    """Metrics that can be looked at."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()

    def attempt(self) -> None:
        self.seen["attempt"] += 1

    def success(self) -> None:
        self.seen["success"] += 1

    def error(self, reason: str) -> None:
        self.seen["error"] += 1
        self.seen[f"error {reason}"] += 1

    def rejected(self, reason: str) -> None:
        self.seen["rejected"] += 1
        self.seen[f"rejected {reason}"] += 1

    def strategy(self, name: str) -> None:
        self.seen[f"strategy {name}"] += 1

    def level(self, what: str, value: float) -> None:
        self.seen[f"level {what}"] += 1


class Watch:
    """A running adapter, everything it said, and what that amounts to."""

    def __init__(self, adapter: Adapter, delay: float = 0.0, counts: Counts | None = None) -> None:
        self.adapter = adapter
        self.counts = counts or Counts()
        """What the adapter counts, if it was made with these."""
        self.events: list[SourceEvent] = []
        self.groups: dict[str, InstanceGroup] = {}
        self._delay = delay
        self._settled = asyncio.Event()
        self.task = asyncio.create_task(adapter.run(self._emit), name="adapter under test")

    @property
    def data(self) -> list[FullSync | GroupUpdate]:
        return [event for event in self.events if not isinstance(event, SourceReport)]

    @property
    def updates(self) -> list[InstanceGroup]:
        return [event.group for event in self.events if isinstance(event, GroupUpdate)]

    @property
    def report(self) -> SourceReport | None:
        """The newest report."""
        return next((event for event in reversed(self.events) if isinstance(event, SourceReport)), None)

    @property
    def details(self) -> dict[str, str]:
        return dict(self.report.details) if self.report else {}

    @property
    def is_synced(self) -> bool:
        return bool(self.data)

    @property
    def is_in_trouble(self) -> bool:
        """Whether it said that it can't read: by a report, or by raising."""
        if self.task.done():
            return isinstance(self.task.exception(), RegistryError)
        return self.report is not None and self.report.state in (SourceState.STALE, SourceState.DENIED)

    def addresses(self, service: str) -> set[str]:
        found = self.groups.get(service)
        return {instance.address for instance in found.instances} if found else set()

    def notes(self, service: str) -> list[str]:
        return [f"{note.record}: {note.reason}" for note in self.groups[service].notes]

    async def settled(self) -> None:
        """Return once it has given data and said how it fares; raise what `run()` raised before that."""
        waiting = asyncio.create_task(self._settled.wait(), name="waits for the first report")
        await asyncio.wait([self.task, waiting], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if self.task.done():
            await self.task

    async def stop(self) -> None:
        self.task.cancel()
        with suppress(asyncio.CancelledError, RegistryError):
            await self.task

    async def _emit(self, event: SourceEvent) -> None:
        await asyncio.sleep(self._delay)
        self.events.append(event)
        if isinstance(event, FullSync):
            self.groups = {group.key.name: group for group in event.groups}
        elif isinstance(event, GroupUpdate):
            self.groups[event.group.key.name] = event.group
        elif self.is_synced:
            self._settled.set()


@asynccontextmanager
async def watching(adapter: Adapter, delay: float = 0.0) -> AsyncIterator[Watch]:
    watch = Watch(adapter, delay)
    try:
        yield watch
    finally:
        await watch.stop()


def build(harness: Harness, counts: Counts | None = None) -> Adapter:
    return harness.config().build(AdapterContext(SOURCE, counts or Counts()))


async def test_c1_the_first_data_event_of_an_empty_registry_is_a_full_sync(harness, eventually) -> None:
    async with watching(build(harness)) as watch:
        await eventually(lambda: watch.is_synced)

        assert isinstance(watch.data[0], FullSync), f"the first data event is {watch.data[0]}"
        assert not any(group.instances for group in watch.data[0].groups), "an empty registry has instances"


async def test_c2_keys_carry_the_source_and_are_unique(harness, eventually) -> None:
    for service in ("orders", "payments"):
        await harness.register(service, A)
        await harness.register(service, B)

    async with watching(build(harness)) as watch:
        await eventually(lambda: watch.is_synced)

        keys = [group.key for group in watch.data[0].groups]
        assert {(key.source, key.name) for key in keys} == {(SOURCE, "orders"), (SOURCE, "payments")}, keys
        assert len(set(keys)) == len(keys), f"keys are there twice: {keys}"
        ids = [instance.id for group in watch.data[0].groups for instance in group.instances]
        assert len(set(ids)) == 4, f"ids are not unique: {ids}"


async def test_c3_an_added_instance_arrives_with_the_whole_set(harness, eventually) -> None:
    await harness.register("payments", A)

    async with watching(build(harness)) as watch:
        await eventually(lambda: watch.addresses("payments") == {A})
        await harness.register("payments", B)
        await eventually(lambda: len(watch.data) > 1)

        assert {i.address for i in watch.data[1].group.instances} == {A, B}, watch.data[1]


async def test_c3_a_change_of_one_service_says_nothing_of_the_others(harness, eventually) -> None:
    await harness.register("orders", A)
    await harness.register("payments", A)

    async with watching(build(harness)) as watch:
        await eventually(lambda: watch.is_synced)
        await harness.register("payments", B)
        await eventually(lambda: watch.addresses("payments") == {A, B})

        updated = [event.group.key.name for event in watch.data[1:]]
        assert updated == ["payments"], f"updates came for {updated}"


async def test_c4_the_last_instance_leaving_gives_an_empty_group(harness, eventually) -> None:
    await harness.register("payments", A)

    async with watching(build(harness)) as watch:
        await eventually(lambda: watch.addresses("payments") == {A})
        await harness.deregister("payments", A)
        await eventually(lambda: len(watch.data) > 1)

        assert isinstance(watch.data[1], GroupUpdate), watch.data[1]
        assert watch.data[1].group.instances == (), watch.data[1]


async def test_c5_a_failing_first_read_raises_and_emits_nothing(harness) -> None:
    await harness.register("payments", A)
    await harness.break_()

    watch = Watch(build(harness))
    done, _ = await asyncio.wait([watch.task], timeout=5)

    assert done, "run() goes on although nothing can be read"
    assert isinstance(watch.task.exception(), RegistryError), f"it raised {watch.task.exception()!r}"
    assert not watch.data, f"it emitted {watch.data}"


async def test_c5_a_failing_later_read_is_said_and_changes_nothing(harness, eventually) -> None:
    await harness.register("payments", A)

    async with watching(build(harness)) as watch:
        await eventually(lambda: watch.addresses("payments") == {A})
        await harness.break_()
        await eventually(lambda: watch.is_in_trouble)

        assert len(watch.data) == 1, f"it emitted {watch.data[1:]}"


async def test_c6_a_record_that_turns_bad_keeps_its_last_good_reading(harness, eventually) -> None:
    counts = Counts()
    await harness.register("payments", A)
    await harness.register("payments", B)

    async with watching(build(harness, counts)) as watch:
        await eventually(lambda: watch.addresses("payments") == {A, B})
        await harness.corrupt("payments", A)
        await harness.register("payments", C)
        await eventually(lambda: C in watch.addresses("payments"))

        assert watch.addresses("payments") == {A, B, C}, watch.groups["payments"]
        assert watch.groups["payments"].notes, "the bad record passed without a note"
        assert counts.seen["rejected"] > 0, "the bad record was not counted"


async def test_c6_a_kept_record_leaves_when_it_is_removed(harness, eventually) -> None:
    await harness.register("payments", A)
    await harness.register("payments", B)

    async with watching(build(harness)) as watch:
        await eventually(lambda: watch.addresses("payments") == {A, B})
        await harness.corrupt("payments", A)
        await eventually(lambda: watch.groups["payments"].notes)
        await harness.deregister("payments", A)
        await eventually(lambda: watch.addresses("payments") == {B})

        assert not watch.groups["payments"].notes, watch.groups["payments"].notes


async def test_c6_a_record_that_was_always_bad_does_not_hide_its_neighbours(harness, eventually) -> None:
    counts = Counts()
    await harness.register("payments", A)
    await harness.register("payments", B)
    await harness.corrupt("payments", A)

    async with watching(build(harness, counts)) as watch:
        await eventually(lambda: watch.is_synced)

        assert watch.addresses("payments") == {B}, watch.groups
        assert watch.groups["payments"].notes, "the bad record passed without a note"
        assert counts.seen["rejected"] > 0, "the bad record was not counted"


async def test_c7_after_an_outage_everything_missed_arrives(harness, eventually) -> None:
    adapter = build(harness)
    await harness.register("orders", A)
    await harness.register("payments", A)
    async with watching(adapter) as watch:
        await eventually(lambda: watch.is_synced)
        await harness.break_()
        await eventually(lambda: watch.is_in_trouble)

    await harness.deregister("orders", A)
    await harness.register("payments", B)
    await harness.heal()
    async with watching(adapter) as watch:
        await eventually(lambda: watch.is_synced)

        assert isinstance(watch.data[0], FullSync), f"the first data event is {watch.data[0]}"
        assert watch.addresses("payments") == {A, B}, watch.groups
        assert watch.addresses("orders") == set(), watch.groups


async def test_c8_cancelling_ends_it_within_a_second_and_leaves_no_task(harness, eventually) -> None:
    before = asyncio.all_tasks()
    await harness.register("payments", A)
    watch = Watch(build(harness))
    await eventually(lambda: watch.is_synced)

    watch.task.cancel()
    done, _ = await asyncio.wait([watch.task], timeout=1)

    assert done, "run() did not end within a second"
    assert watch.task.cancelled(), f"it raised {watch.task.exception()!r}"
    assert asyncio.all_tasks() <= before, f"tasks are left: {asyncio.all_tasks() - before}"


async def test_c9_run_may_be_called_again(harness, eventually) -> None:
    adapter = build(harness)
    await harness.register("payments", A)
    await harness.break_()
    with pytest.raises(RegistryError):
        await adapter.run(_ignore)
    await harness.heal()

    syncs = []
    for _ in range(2):
        async with watching(adapter) as watch:
            await eventually(lambda watch=watch: watch.is_synced)
            syncs.append(watch.data[0])

    assert syncs[0].groups == syncs[1].groups, "two runs over one state differ"
    assert {i.address for i in syncs[0].groups[0].instances} == {A}, syncs[0]


async def test_c10_the_order_of_the_reply_does_not_matter(harness, eventually) -> None:
    for address in (A, B, C):
        await harness.register("orders", address)
        await harness.register("payments", address)

    seen = []
    for _ in range(2):
        async with watching(build(harness)) as watch:
            await eventually(lambda watch=watch: watch.is_synced)
            seen.append(watch.groups)
        await harness.shuffle()

    assert seen[0] == seen[1], "the same state in another order gives other groups"


async def test_c11_no_secret_shows(harness, eventually) -> None:
    if not harness.secret:
        pytest.skip("this adapter knows no secret")
    counts = Counts()
    adapter = build(harness, counts)
    await harness.register("payments", A)

    with structlog.testing.capture_logs() as logs:
        async with watching(adapter) as watch:
            await eventually(lambda: watch.is_synced)
            await harness.break_()
            await eventually(lambda: watch.is_in_trouble)
            events = repr(watch.events)
        with pytest.raises(RegistryError) as raised:
            await build(harness, counts).run(_ignore)

    shown = [repr(adapter), repr(harness.config()), events, repr(logs), repr(counts.seen), repr(raised.value)]
    for text in [*shown, str(raised.value)]:
        assert harness.secret not in text, f"the secret shows in {text}"


async def test_c12_the_counters_move(harness, eventually) -> None:
    counts = Counts()
    await harness.register("payments", A)

    async with watching(build(harness, counts)) as watch:
        await eventually(lambda: watch.is_synced)
        assert counts.seen["attempt"] > 0, "no attempt was counted"
        assert counts.seen["success"] > 0, "no success was counted"
        assert counts.seen["error"] == 0, f"errors were counted: {counts.seen}"

        await harness.break_()
        await eventually(lambda: watch.is_in_trouble)
        assert counts.seen["error"] > 0, "no error was counted"


async def test_c13_a_slow_consumer_gets_the_last_state(harness, eventually) -> None:
    addresses = {f"192.0.2.{number}" for number in range(10, 25)}

    async with watching(build(harness), delay=0.05) as watch:
        await eventually(lambda: watch.is_synced)
        for address in sorted(addresses):
            await harness.register("payments", address)
            await asyncio.sleep(0.01)  # Spreads the changes over several reads.

        await eventually(lambda: watch.addresses("payments") == addresses, within=10)


async def _ignore(event: SourceEvent) -> None:
    """Take an event and forget it."""


TESTS: dict[str, Callable[..., object]] = {
    name: value for name, value in globals().items() if name.startswith("test_")
}
