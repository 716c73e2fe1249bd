import asyncio

import pytest

from meshbridge.bridge.kubernetes.pace import Pace, Repairs, backoff
from meshbridge.bridge.kubernetes.queue import Phase, Queue, phase
from meshbridge.schemas.resource import Kind, ResourceKey

pytestmark = pytest.mark.looptime


def key(name: str, kind: Kind = Kind.SERVICE_ENTRY) -> ResourceKey:
    return ResourceKey(kind, "a", name)


def queue() -> Queue:
    return Queue(asyncio.get_running_loop().time)


async def test_workloads_come_before_their_services_and_leave_after_them() -> None:
    line = queue()
    for name, kind, wanted in (
        ("leaving", Kind.WORKLOAD_ENTRY, False),
        ("service-leaving", Kind.SERVICE_ENTRY, False),
        ("service", Kind.SERVICE_ENTRY, True),
        ("workload", Kind.WORKLOAD_ENTRY, True),
    ):
        line.add(key(name, kind), phase(kind, wanted=wanted))

    taken = [(await line.take()).name for _ in range(4)]

    assert taken == ["workload", "service", "service-leaving", "leaving"]


async def test_object_stands_in_line_once() -> None:
    line = queue()

    for _ in range(3):
        line.add(key("a"), Phase.SERVICES)

    assert await line.take() == key("a")
    assert line.is_idle is False
    line.done(key("a"))
    assert len(line) == 0
    assert line.is_idle


async def test_what_changes_while_it_is_looked_at_is_looked_at_again() -> None:
    line = queue()
    line.add(key("a"), Phase.SERVICES)
    await line.take()

    line.add(key("a"), Phase.SERVICES)
    line.add_later(key("a"), Phase.SERVICES, 100.0)

    assert len(line) == 1
    line.done(key("a"))
    assert await line.take() == key("a")


async def test_later_is_later_unless_something_happens_before() -> None:
    line = queue()
    loop = asyncio.get_running_loop()
    line.add_later(key("a"), Phase.SERVICES, 10.0)
    line.add_later(key("b"), Phase.SERVICES, 20.0)
    begun = loop.time()

    line.add(key("b"), Phase.SERVICES)

    assert await line.take() == key("b")
    assert loop.time() - begun < 1.0
    assert await line.take() == key("a")
    assert loop.time() - begun >= 10.0
    line.done(key("a"))
    line.done(key("b"))
    assert len(line) == 0


async def test_cleared_queue_is_empty() -> None:
    line = queue()
    line.add(key("a"), Phase.SERVICES)
    line.add_later(key("b"), Phase.SERVICES, 1.0)

    line.clear()

    assert len(line) == 0


def test_pauses_grow_and_have_an_end() -> None:
    assert 0.1 <= backoff(1) <= 0.2
    assert 5.0 <= backoff(50) <= 10.0


async def test_failures_that_were_under_way_together_count_once() -> None:
    loop = asyncio.get_running_loop()
    pace = Pace(loop.time)
    await pace.ready()
    begun = loop.time()

    for _ in range(8):
        pace.failed(2.0)
    await pace.ready()

    assert 2.0 <= loop.time() - begun <= 2.5
    pace.succeeded()


def test_fight_is_many_repairs_in_a_short_time() -> None:
    repairs = Repairs()
    for second in range(5):
        assert not repairs.is_fight(key("a"), float(second))
        repairs.note(key("a"), float(second))

    assert repairs.is_fight(key("a"), 5.0)
    assert not repairs.is_fight(key("b"), 5.0)
    assert not repairs.is_fight(key("a"), 601.0)
    repairs.forget(key("a"))
    assert not repairs.is_fight(key("a"), 5.0)
