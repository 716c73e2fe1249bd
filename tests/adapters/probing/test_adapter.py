"""Tests of the wrapper between a fake registry and fake checks, on a simulated clock."""

import asyncio
import pathlib
from collections.abc import Callable
from typing import Any

import pytest

from meshbridge.adapters.base import AdapterContext
from meshbridge.adapters.probing.adapter import Probing
from meshbridge.adapters.probing.settings import ProbeSettings
from meshbridge.schemas.errors import ConfigError, RegistryUnavailable
from meshbridge.schemas.registry import (
    FullSync,
    GroupUpdate,
    Health,
    InstanceGroup,
    SourceReport,
    SourceState,
)

pytestmark = pytest.mark.looptime

MakeGroup = Callable[..., InstanceGroup]


def sync(*groups: InstanceGroup) -> FullSync:
    return FullSync(groups, 0.0)


def update(group: InstanceGroup) -> GroupUpdate:
    return GroupUpdate(group, 0.0)


async def test_registrys_word_passes_at_once_before_the_first_verdict(
    scene: Any, make_group: MakeGroup
) -> None:
    scene.start(initial_delay="1m")

    scene.say(sync(make_group(1, health=Health.UNKNOWN), make_group(2, name="shop", health=Health.UNREADY)))
    await asyncio.sleep(59.0)

    assert scene.healths("pay") == {"1": "unknown"}
    assert scene.healths("shop") == {"2": "unready"}
    assert scene.checks == []


async def test_many_groups_of_a_full_sync_arrive_as_one(scene: Any, make_group: MakeGroup) -> None:
    scene.start()

    scene.say(sync(*(make_group(1, name=f"service-{number}") for number in range(600))))
    await asyncio.sleep(0.001)

    assert len(scene.events[0].groups) == 600


async def test_an_unknown_instance_becomes_ready_with_its_first_pass(
    scene: Any, make_group: MakeGroup
) -> None:
    scene.start()

    scene.say(sync(make_group(1)))
    await asyncio.sleep(11.0)

    assert scene.healths() == {"1": "ready"}


async def test_an_instance_falls_after_three_failures_and_rises_after_two_passes(
    scene: Any, make_group: MakeGroup
) -> None:
    scene.start(jitter=0, rise=2)
    scene.say(sync(make_group(1, 2, health=Health.READY)))
    await asyncio.sleep(15.0)

    scene.failures["10.0.0.2"] = "connection refused"
    await asyncio.sleep(20.0)
    after_two = scene.healths()
    await asyncio.sleep(10.3)
    after_three = scene.healths()
    scene.failures.clear()
    await asyncio.sleep(10.0)
    after_one_pass = scene.healths()
    await asyncio.sleep(10.3)

    assert after_two == {"1": "ready", "2": "ready"}
    assert after_three == after_one_pass == {"1": "ready", "2": "unready"}
    assert scene.healths() == {"1": "ready", "2": "ready"}


async def test_only_the_group_of_the_changed_instance_is_emitted(scene: Any, make_group: MakeGroup) -> None:
    scene.start(fall=1)
    scene.failures["10.0.0.1"] = "connection refused"

    scene.say(sync(make_group(1, health=Health.READY), make_group(2, name="shop", health=Health.READY)))
    await asyncio.sleep(15.0)

    updates = [event.group.key.name for event in scene.events if isinstance(event, GroupUpdate)]
    assert updates == ["pay"]


async def test_a_check_that_never_ends_fails_by_its_timeout(scene: Any, make_group: MakeGroup) -> None:
    scene.start(fall=1, timeout="2s")
    scene.hanging.add("10.0.0.1")

    scene.say(sync(make_group(1, health=Health.READY)))
    await asyncio.sleep(15.0)

    [note] = scene.groups["pay"].notes
    assert note.reason == "probe of port 80 failed: no answer within 2s"


async def test_a_check_that_breaks_fails_and_the_others_go_on(scene: Any, make_group: MakeGroup) -> None:
    scene.start(fall=1)
    scene.failures["10.0.0.1"] = "bug"

    scene.say(sync(make_group(1, 2)))
    await asyncio.sleep(15.0)

    assert scene.healths() == {"1": "unready", "2": "ready"}


async def test_verdicts_survive_the_registrys_updates_and_full_syncs(
    scene: Any, make_group: MakeGroup
) -> None:
    scene.start(fall=1)
    scene.failures["10.0.0.1"] = "connection refused"
    scene.say(sync(make_group(1, 2)))
    await asyncio.sleep(15.0)

    scene.say(update(make_group(1, 2, 3)))
    await asyncio.sleep(0.001)
    after_update = scene.healths()
    scene.say(sync(make_group(1, 3)))
    await asyncio.sleep(0.001)

    assert after_update == {"1": "unready", "2": "ready", "3": "unknown"}
    assert scene.healths() == {"1": "unready", "3": "unknown"}


async def test_instances_that_leave_are_not_checked_and_come_back_unjudged(
    scene: Any, make_group: MakeGroup
) -> None:
    scene.start(fall=1)
    scene.failures["10.0.0.1"] = "connection refused"
    scene.say(sync(make_group(1), make_group(2, name="shop")))
    await asyncio.sleep(15.0)

    scene.say(sync(make_group(2, name="shop")))
    await asyncio.sleep(0.1)
    scene.checks.clear()
    await asyncio.sleep(100.0)
    checked = {address for _, address in scene.checks}
    scene.say(update(make_group(1)))
    await asyncio.sleep(0.001)

    assert checked == {"10.0.0.2"}
    assert scene.healths() == {"1": "unknown"}


async def test_a_verdict_on_an_instance_that_left_meanwhile_is_dropped(
    scene: Any, make_group: MakeGroup
) -> None:
    scene.start(fall=1, interval="1s", jitter=0)
    scene.hanging.add("10.0.0.1")
    scene.say(sync(make_group(1)))
    await asyncio.sleep(1.0)
    assert scene.under_way == 1

    scene.say(update(make_group()))
    await asyncio.sleep(20.0)

    assert scene.healths() == {}
    assert len(scene.checks) == 1
    assert dict(scene.reports[-1].details) == {"probes": "0 targets, 0 unready"}


async def test_verdicts_that_wait_for_a_slow_consumer_are_not_lost_to_an_update(
    scene: Any, make_group: MakeGroup
) -> None:
    scene.start(fall=1)
    scene.say(sync(make_group(1, 2)))
    await asyncio.sleep(15.0)

    scene.open.clear()
    scene.failures["10.0.0.1"] = "connection refused"
    await asyncio.sleep(15.0)
    scene.say(update(make_group(1, 2, 3)))
    scene.failures["10.0.0.2"] = "connection refused"
    await asyncio.sleep(15.0)
    scene.open.set()
    await asyncio.sleep(1.0)

    assert set(scene.healths()) == {"1", "2", "3"}
    assert (scene.healths()["1"], scene.healths()["2"]) == ("unready", "unready")


async def test_a_verdict_while_an_update_is_being_taken_comes_after_it(
    scene: Any, make_group: MakeGroup
) -> None:
    scene.start(fall=1)
    scene.say(sync(make_group(1, 2)))
    await asyncio.sleep(15.0)

    scene.open.clear()
    scene.say(update(make_group(1, 2, 3)))
    await asyncio.sleep(0.1)
    scene.failures["10.0.0.1"] = "connection refused"
    await asyncio.sleep(15.0)
    scene.open.set()
    await asyncio.sleep(1.0)

    assert scene.healths() == {"1": "unready", "2": "ready", "3": "ready"}


async def test_too_many_failures_at_once_freeze_health_and_recovery_thaws_it(
    scene: Any, make_group: MakeGroup
) -> None:
    numbers = range(1, 11)
    scene.start()
    scene.say(sync(make_group(*numbers, health=Health.READY)))
    await asyncio.sleep(30.0)
    before = scene.healths()

    scene.failures.update({f"10.0.0.{number}": "timeout" for number in range(1, 7)})
    await asyncio.sleep(100.0)
    during, frozen = scene.healths(), scene.reports[-1]
    del scene.failures["10.0.0.6"]
    await asyncio.sleep(30.0)

    assert during == before
    assert frozen.state is SourceState.SYNCED
    assert dict(frozen.details) == {"probes": "frozen: 6 of 10 failing"}
    assert "frozen" in frozen.reason
    assert [id for id, health in scene.healths().items() if health == "unready"] == ["1", "2", "3", "4", "5"]
    assert scene.reports[-1] == SourceReport(SourceState.SYNCED, "", (("probes", "10 targets, 5 unready"),))


@pytest.mark.parametrize(("earlier", "lost"), [(Health.READY, 0), (Health.UNKNOWN, 9)])
async def test_targets_that_passed_before_a_restart_count_when_most_fail_after_it(
    scene: Any, make_group: MakeGroup, earlier: Health, lost: int
) -> None:
    everyone = range(1, 11)
    scene.previous = {"pay": make_group(*everyone, health=earlier)}
    scene.failures = {f"10.0.0.{number}": "unreachable" for number in everyone[1:]}
    scene.start(interval="1s", fall=2)
    scene.say(FullSync((make_group(*everyone),), 0.0))

    await asyncio.sleep(10)

    assert list(scene.healths().values()).count("unready") == lost


async def test_losses_just_before_a_panic_are_taken_back(scene: Any, make_group: MakeGroup) -> None:
    scene.start(fall=1)
    scene.say(sync(make_group(*range(1, 11), health=Health.READY)))
    await asyncio.sleep(30.0)

    scene.failures.update({f"10.0.0.{number}": "timeout" for number in range(1, 11)})
    await asyncio.sleep(30.0)

    assert set(scene.healths().values()) == {"ready"}


async def test_a_network_that_never_worked_takes_nothing_out(scene: Any, make_group: MakeGroup) -> None:
    scene.failures.update({f"10.0.0.{number}": "timeout" for number in range(1, 11)})
    scene.start()

    scene.say(sync(make_group(*range(1, 11))))
    await asyncio.sleep(100.0)

    assert set(scene.healths().values()) == {"unknown"}


async def test_machines_that_are_dead_from_the_start_fall_once_others_pass(
    scene: Any, make_group: MakeGroup
) -> None:
    scene.failures.update({f"10.0.0.{number}": "timeout" for number in range(1, 6)})
    scene.start()
    scene.say(sync(make_group(*range(1, 6))))
    await asyncio.sleep(60.0)
    while_nothing_passes = set(scene.healths().values())

    del scene.failures["10.0.0.5"]
    await asyncio.sleep(60.0)

    assert while_nothing_passes == {"unknown"}
    assert [id for id, health in scene.healths().items() if health == "ready"] == ["5"]
    assert set(scene.healths().values()) == {"ready", "unready"}


async def test_the_report_of_a_freeze_follows_the_numbers(scene: Any, make_group: MakeGroup) -> None:
    numbers = range(1, 41)
    scene.start()
    scene.say(sync(make_group(*numbers)))
    await asyncio.sleep(15.0)

    scene.failures.update({f"10.0.0.{number}": "timeout" for number in numbers})
    await asyncio.sleep(60.0)

    assert dict(scene.reports[-1].details) == {"probes": "frozen: 40 of 40 failing"}


async def test_the_registrys_reports_pass_with_the_state_of_the_checks(
    scene: Any, make_group: MakeGroup
) -> None:
    scene.start()
    scene.say(sync(make_group(1)))
    await asyncio.sleep(15.0)

    scene.say(SourceReport(SourceState.STALE, "timed out", (("layout", "csv"),), suspect=True))
    await asyncio.sleep(0.001)

    details = (("layout", "csv"), ("probes", "1 targets, 0 unready"))
    assert scene.reports[-1] == SourceReport(SourceState.STALE, "timed out", details, suspect=True)


async def test_checks_go_on_while_the_registry_is_stale_and_its_state_stays_stale(
    scene: Any, make_group: MakeGroup
) -> None:
    scene.start()
    scene.say(sync(make_group(1)), SourceReport(SourceState.STALE, "timed out"))
    await asyncio.sleep(15.0)

    scene.failures["10.0.0.1"] = "connection refused"
    await asyncio.sleep(45.0)

    assert scene.healths() == {"1": "unready"}
    assert scene.reports[-1].state is SourceState.STALE


async def test_the_inner_adapters_error_comes_out_as_it_is(scene: Any, make_group: MakeGroup) -> None:
    cause = OSError("down")
    error = RegistryUnavailable("vms", "read", "down")
    error.__cause__ = cause
    running = scene.start()
    scene.say(sync(make_group(1)))
    await asyncio.sleep(15.0)

    scene.say(error)
    await asyncio.wait([running])

    assert running.exception() is error
    assert error.__cause__ is cause
    assert {task.get_name() for task in asyncio.all_tasks()}.isdisjoint({"vms probes", "vms verdicts"})


async def test_a_second_run_begins_with_a_full_sync_that_has_the_verdicts(
    scene: Any, make_group: MakeGroup
) -> None:
    probing = scene.make(fall=1)
    scene.failures["10.0.0.1"] = "connection refused"
    running = scene.run(probing)
    scene.say(sync(make_group(1)))
    await asyncio.sleep(15.0)
    scene.say(RegistryUnavailable("vms", "read", "down"))
    await asyncio.wait([running])
    scene.events.clear()

    scene.run(probing)
    scene.failures.clear()
    await asyncio.sleep(15.0)
    before_sync = list(scene.events)
    scene.say(sync(make_group(1)))
    await asyncio.sleep(0.001)

    assert before_sync == []
    assert isinstance(scene.events[0], FullSync)
    assert scene.healths() == {"1": "ready"}


async def test_an_inner_adapter_that_ends_ends_the_checks(scene: Any) -> None:
    running = scene.start()

    scene.say(None)
    await asyncio.wait([running], timeout=1.0)

    assert running.done()
    assert running.exception() is None


async def test_cancelling_ends_everything_at_once(scene: Any, make_group: MakeGroup) -> None:
    others = asyncio.all_tasks()
    running = scene.start(timeout="10s")
    scene.hanging.update({"10.0.0.1", "10.0.0.2"})
    scene.say(sync(make_group(1, 2, 3)))
    await asyncio.sleep(10.5)
    begun = asyncio.get_running_loop().time()

    running.cancel()
    await asyncio.wait([running])

    assert running.cancelled()
    assert scene.under_way == 0
    assert asyncio.get_running_loop().time() - begun < 0.1
    assert asyncio.all_tasks() == others


async def test_the_budget_bounds_the_checks_under_way(scene: Any, make_group: MakeGroup) -> None:
    scene.start(concurrency=3, timeout="5s")
    scene.hanging.update(f"10.0.0.{number}" for number in range(1, 21))

    scene.say(sync(make_group(*range(1, 21))))
    await asyncio.sleep(60.0)

    assert scene.most_under_way == 3


def test_an_unreadable_tls_file_is_a_configuration_error(scene: Any, tmp_path: pathlib.Path) -> None:
    http = {"scheme": "https", "tls": {"ca_file": str(tmp_path / "missing.pem")}}
    settings = ProbeSettings.model_validate({"http": http})

    with pytest.raises(ConfigError, match=r"probe\.tls"):
        Probing(scene.registry, settings, AdapterContext("vms"))


def test_the_name_is_the_sources(scene: Any) -> None:
    assert scene.make().name == "vms"
