"""Tests of the groups and targets of a source."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshbridge.adapters.probing import roster as module
from meshbridge.adapters.probing.roster import Roster, Target
from meshbridge.adapters.probing.settings import ProbeSettings
from meshbridge.adapters.probing.verdict import Count
from meshbridge.schemas.registry import Health, Instance, InstanceGroup, Note, Port, ServiceKey, group

PAY = ServiceKey("vms", "pay")
SHOP = ServiceKey("vms", "shop")


def make_roster(rejected: list[str] | None = None, **settings: float) -> Roster:
    probe = ProbeSettings.model_validate({"tcp": {}, "fall": 1, **settings})
    return Roster(probe, (rejected if rejected is not None else []).append)


def make_group(
    *numbers: int, key: ServiceKey = PAY, health: Health = Health.READY, probe: str = ""
) -> InstanceGroup:
    instances = [Instance(str(n), f"10.0.0.{n}", (Port("web", 80),), health=health) for n in numbers]
    return group(key, instances, {"probe": probe} if probe else {})


def healths(one: InstanceGroup | None) -> list[str]:
    assert one is not None
    return [instance.health.value for instance in one.instances]


def find(roster: Roster, number: int) -> Target:
    return next(target for target in roster.targets() if target.address == f"10.0.0.{number}")


def test_group_without_verdicts_is_passed_on_as_the_same_object() -> None:
    roster, pay = make_roster(), make_group(1, 2)

    roster.replace(pay)

    assert roster.effective(pay) is pay


def test_a_failed_target_makes_its_instance_unready_and_says_why() -> None:
    roster = make_roster()
    roster.replace(make_group(1, 2))

    changed = roster.judge(find(roster, 2), "connection refused")

    assert changed == [PAY]
    refreshed = roster.refresh(PAY)
    assert healths(refreshed) == ["ready", "unready"]
    assert refreshed is not None
    assert refreshed.notes == (Note("2", "probe of port 80 failed: connection refused"),)


def test_a_verdict_that_changes_no_health_gives_no_update() -> None:
    roster = make_roster()
    roster.replace(make_group(1, health=Health.UNREADY))

    assert roster.judge(find(roster, 1), "") == [PAY]
    assert roster.refresh(PAY) is None


def test_an_unchanged_verdict_touches_no_group() -> None:
    roster = make_roster()
    roster.replace(make_group(1))
    roster.judge(find(roster, 1), "")

    assert roster.judge(find(roster, 1), "") == []


def test_a_service_that_left_gives_no_update() -> None:
    roster = make_roster()

    assert roster.refresh(PAY) is None


def test_a_target_keeps_its_verdict_while_its_address_and_port_stay() -> None:
    roster = make_roster()
    roster.replace(make_group(1, 2))
    roster.judge(find(roster, 1), "refused")

    new = roster.replace(make_group(1, 3))

    assert [target.address for target in new] == ["10.0.0.3"]
    assert healths(roster.effective(make_group(1, 3))) == ["unready", "ready"]


def test_targets_of_a_group_that_becomes_empty_are_forgotten() -> None:
    roster = make_roster()
    roster.replace(make_group(1))
    left = find(roster, 1)

    roster.replace(make_group())

    assert not left.users
    assert list(roster.targets()) == []
    assert roster.effective(make_group()) == make_group()


def test_equal_address_and_port_are_checked_once_for_all_groups() -> None:
    roster = make_roster()
    roster.replace(make_group(1))
    assert roster.replace(make_group(1, key=SHOP)) == []

    changed = roster.judge(find(roster, 1), "refused")

    assert changed == [PAY, SHOP]
    roster.keep_only({SHOP})
    assert len(list(roster.targets())) == 1
    assert healths(roster.refresh(SHOP)) == ["unready"]


def test_a_workload_groups_probe_replaces_the_sources_own() -> None:
    roster = make_roster()

    [target] = roster.replace(make_group(1, probe='{"tcpSocket": {"port": 99}, "periodSeconds": 3}'))

    assert target.port == 99
    assert target.probe.interval == 3.0


def test_an_exec_probe_leaves_a_note_and_the_registrys_health() -> None:
    rejected: list[str] = []
    roster = make_roster(rejected)
    pay = make_group(1, probe='{"exec": {"command": ["true"]}}')

    assert roster.replace(pay) == []
    roster.replace(pay)

    [note] = roster.effective(pay).notes
    assert (note.record, "exec" in note.reason) == ("probe", True)
    assert healths(roster.effective(pay)) == ["ready"]
    assert rejected == ["probe"]


def test_an_instance_without_ports_is_noted_and_its_neighbours_are_checked() -> None:
    roster = make_roster()
    pay = group(PAY, [Instance("bare", "10.0.0.9"), *make_group(1).instances])

    assert len(roster.replace(pay)) == 1
    assert roster.effective(pay).notes == (Note("bare", "has no port to probe"),)


def test_the_memory_of_parsed_probes_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_PROBES", 2)
    rejected: list[str] = []
    roster = make_roster(rejected)

    for text in ("1", "2", "3", "1"):
        roster.replace(make_group(1, probe=text))

    assert rejected == ["probe"] * 4


def test_earlier_groups_lose_what_probes_made_of_them() -> None:
    found = module.unjudged(
        group(PAY, [*make_group(1).instances, *make_group(2, health=Health.UNREADY).instances])
    )
    draining = make_group(3, health=Health.DRAINING)

    assert healths(found) == ["ready", "unknown"]
    assert module.unjudged(draining) == draining


def test_a_panic_freezes_and_undoes_recent_losses() -> None:
    roster = make_roster()
    roster.replace(make_group(1, 2, 3, 4))
    for number in (1, 2, 3, 4):
        roster.judge(find(roster, number), "")
    changed = []
    for number in (1, 2, 3):
        roster.judge(find(roster, number), "timeout")
        changed += roster.review()

    assert changed == [PAY]
    assert roster.frozen
    assert roster.summary() == "frozen: 3 of 4 failing"
    assert roster.refresh(PAY) is None, "nothing was published in between"


def test_a_thaw_lets_the_next_failures_fall() -> None:
    roster = make_roster()
    roster.replace(make_group(1, 2, 3, 4))
    for number in (1, 2, 3, 4):
        roster.judge(find(roster, number), "")
    for number in (1, 2, 3):
        roster.judge(find(roster, number), "timeout")
        roster.review()

    roster.judge(find(roster, 1), "")
    assert roster.review() == []
    roster.judge(find(roster, 2), "timeout")

    assert not roster.frozen
    assert healths(roster.refresh(PAY)) == ["ready", "unready", "ready", "ready"]
    assert roster.summary() == "4 targets, 1 unready"


def test_failing_targets_that_leave_end_the_panic() -> None:
    roster = make_roster()
    roster.replace(make_group(1, 2, 3, 4))
    for number in (1, 2, 3, 4):
        roster.judge(find(roster, number), "")
    for number in (1, 2, 3):
        roster.judge(find(roster, number), "timeout")
        roster.review()

    roster.replace(make_group(3, 4))
    roster.review()

    assert not roster.frozen


steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("group"),
            st.sampled_from([PAY, SHOP]),
            st.sets(st.integers(1, 6)),
            st.sampled_from([Health.READY, Health.UNREADY]),
        ),
        st.tuples(st.just("check"), st.integers(0, 11), st.booleans()),
        st.tuples(st.just("keep"), st.sets(st.sampled_from([PAY, SHOP]))),
    ),
    max_size=40,
)


@given(steps)
def test_numbers_kept_step_by_step_equal_a_recount(steps: list[tuple]) -> None:  # type: ignore[type-arg]
    roster = make_roster()

    for kind, *what in steps:
        targets = list(roster.targets())
        if kind == "group":
            roster.replace(make_group(*what[1], key=what[0], health=what[2]))
        elif kind == "keep":
            roster.keep_only(what[0])
        elif targets:
            roster.judge(targets[what[0] % len(targets)], "" if what[1] else "refused")
        roster.review()

    recount = Count()
    for target in roster.targets():
        recount = recount.plus(target.tally())
    assert roster.count == recount
