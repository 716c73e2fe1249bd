"""Tests of when targets are checked, on a simulated clock."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable

import pytest

from meshbridge.adapters.probing.roster import Target
from meshbridge.adapters.probing.schedule import Schedule
from meshbridge.adapters.probing.settings import ProbeSettings
from meshbridge.schemas.registry import ServiceKey

pytestmark = pytest.mark.looptime

Log = list[tuple[float, Target]]


def make_target(**probe: object) -> Target:
    settings = ProbeSettings.model_validate({"tcp": {}, **probe})
    return Target(("10.0.0.1", 80, ""), settings, users={ServiceKey("vms", "pay"): True})


@pytest.fixture
async def run() -> AsyncIterator[Callable[[Schedule, float], Log]]:
    """Starts a schedule whose checks take so many seconds, and returns the log it writes."""
    tasks = []

    def start(schedule: Schedule, seconds: float = 0.0) -> Log:
        log: Log = []

        async def check(target: Target) -> None:
            log.append((asyncio.get_running_loop().time(), target))
            await asyncio.sleep(seconds)

        tasks.append(asyncio.create_task(schedule.run(check)))
        return log

    yield start
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_checks_follow_each_other_by_the_interval_and_its_jitter(
    run: Callable[..., Log],
) -> None:
    schedule = Schedule(512)
    schedule.add(make_target(jitter=0.1))

    log = run(schedule)
    await asyncio.sleep(1000)

    gaps = [later[0] - earlier[0] for earlier, later in itertools.pairwise(log)]
    assert 90 <= len(gaps) <= 111
    assert all(8.999 <= gap <= 11.001 for gap in gaps)
    assert max(gaps) - min(gaps) > 0.5


async def test_first_check_comes_within_an_interval_after_the_initial_delay(run: Callable[..., Log]) -> None:
    schedule = Schedule(512)
    for _ in range(200):
        schedule.add(make_target(initial_delay="30s", jitter=0))

    log = run(schedule)
    await asyncio.sleep(39.999)

    assert 199 <= len(log) <= 200
    assert min(moment for moment, _ in log) >= 29.999
    first_half = sum(moment < 35.0 for moment, _ in log)
    assert 60 <= first_half <= 140, "targets spread over the interval"


async def test_no_more_checks_are_under_way_than_the_budget_allows(run: Callable[..., Log]) -> None:
    schedule = Schedule(2)
    for _ in range(6):
        schedule.add(make_target(interval="1s"))

    log = run(schedule, seconds=10.0)
    await asyncio.sleep(25.0)

    assert [round(moment) // 10 for moment, _ in sorted(log, key=lambda entry: entry[0])] == [
        0,
        0,
        1,
        1,
        2,
        2,
    ]
    assert len({id(target) for _, target in log}) == 6, "everybody gets a turn before anyone gets a second"


async def test_a_target_that_left_is_not_checked_again(run: Callable[..., Log]) -> None:
    schedule = Schedule(512)
    target = make_target()
    schedule.add(target)
    log = run(schedule)
    await asyncio.sleep(25.0)
    before = len(log)

    target.users.clear()
    await asyncio.sleep(100.0)

    assert before >= 2
    assert len(log) == before


async def test_a_target_added_later_does_not_wait_for_those_that_are_due_later(
    run: Callable[..., Log],
) -> None:
    schedule = Schedule(512)
    schedule.add(make_target(interval="1h", initial_delay="1h"))
    log = run(schedule)
    await asyncio.sleep(1.0)

    quick = make_target(interval="1s")
    schedule.add(quick)
    await asyncio.sleep(1.1)

    assert next(target for _, target in log) is quick


async def test_an_idle_schedule_waits_for_its_first_target(run: Callable[..., Log]) -> None:
    schedule = Schedule(512)
    log = run(schedule)
    await asyncio.sleep(100.0)

    schedule.add(make_target())
    await asyncio.sleep(10.1)

    assert log
