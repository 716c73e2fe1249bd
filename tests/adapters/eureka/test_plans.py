"""When to read everything, which server, and what leases tell."""

from itertools import pairwise

from meshbridge.adapters.eureka.instances import Entry
from meshbridge.adapters.eureka.leases import GRACE, Leases, count_leases
from meshbridge.adapters.eureka.schedule import GAP, Schedule
from meshbridge.adapters.eureka.servers import disagreement, rank


def test_everything_is_read_first_and_then_at_intervals() -> None:
    schedule = Schedule(poll=5, full=300)

    assert schedule.full_due(0.0)
    schedule.full_taken(0.0, took=0.1)
    for now in range(5, 300, 5):
        schedule.delta_taken(now, matches=True)
        assert not schedule.full_due(now)
    assert schedule.full_due(300.0)
    assert schedule.pause == 5


def test_gap_makes_a_full_read() -> None:
    schedule = Schedule(poll=5, full=300)
    schedule.full_taken(0.0, took=0.1)

    assert not schedule.full_due(GAP)
    assert schedule.full_due(GAP + 1)


def test_first_mismatch_waits_and_the_second_reads_everything() -> None:
    schedule = Schedule(poll=5, full=300)
    schedule.full_taken(0.0, took=0.1)

    schedule.delta_taken(5.0, matches=False)
    assert schedule.is_mismatched
    assert not schedule.full_due(5.0)
    schedule.delta_taken(10.0, matches=False)
    assert schedule.full_due(10.0)


def test_mismatches_that_stay_are_read_for_less_and_less_often() -> None:
    schedule = Schedule(poll=5, full=300)
    schedule.full_taken(0.0, took=0.1)
    fulls = []
    for now in range(5, 2000, 5):
        schedule.delta_taken(now, matches=False)
        if schedule.full_due(now):
            schedule.full_taken(now, took=0.1)
            fulls.append(now)

    gaps = [later - earlier for earlier, later in pairwise(fulls)]
    assert gaps[:4] == [10, 20, 40, 80]
    assert max(gaps) == 300
    schedule.delta_taken(2005, matches=True)
    schedule.delta_taken(2010, matches=False)
    schedule.delta_taken(2015, matches=False)
    assert schedule.full_due(2015)


def test_without_deltas_every_read_is_full_and_takes_a_share_of_the_time() -> None:
    schedule = Schedule(poll=1, full=300)
    schedule.full_taken(0.0, took=0.2)
    assert schedule.has_delta

    schedule.delta_refused(1.0)

    assert not schedule.has_delta
    assert schedule.full_due(2.0)
    assert schedule.pause == 4.0
    schedule.full_taken(290.0, took=0.2)
    assert not schedule.full_due(302.0)
    schedule.delta_taken(302.0, matches=True)
    assert schedule.has_delta


def test_news_is_followed_by_a_full_read() -> None:
    schedule = Schedule(poll=5, full=300, confirm=30)
    schedule.full_taken(0.0, took=0.1)

    schedule.delta_taken(5.0, matches=True, is_news=True)
    schedule.delta_taken(30.0, matches=True, is_news=True)
    assert not schedule.full_due(34.0)
    assert schedule.full_due(35.0)
    schedule.full_taken(35.0, took=2.0)
    schedule.delta_taken(40.0, matches=True, is_news=True)
    assert not schedule.full_due(79.0), "full reads take a share of the time only"
    assert schedule.full_due(80.0)


def test_request_moves_a_full_read_forward_only() -> None:
    schedule = Schedule(poll=5, full=300)
    schedule.full_taken(0.0, took=0.1)

    schedule.request_full(400.0)
    assert not schedule.full_due(149.0)
    schedule.request_full(20.0)
    assert schedule.full_due(20.0)


SERVERS = {"own": 0, "first": 1, "second": 1, "far": 2}


def test_servers_are_tried_by_zone_and_then_the_current_one_first() -> None:
    hashes = {"own": "UP_10_", "first": "UP_10_", "second": "UP_10_", "far": "UP_10_"}

    assert rank(SERVERS, hashes, "") == ["own", "first", "second", "far"]
    assert rank(SERVERS, hashes, "second") == ["own", "second", "first", "far"]


def test_servers_that_list_too_little_or_do_not_answer_come_last() -> None:
    hashes = {"own": "UP_5_DOWN_3_", "second": "UP_10_", "far": None}

    assert rank(SERVERS, hashes, "own") == ["second", "far", "own", "first"]
    assert rank(SERVERS, {}, "first") == ["own", "first", "second", "far"]


def test_a_difference_of_a_few_is_no_disagreement() -> None:
    assert disagreement({}) == ""
    assert disagreement({"a": "UP_95_", "b": "UP_100_", "c": None}) == ""
    assert disagreement({"a": "", "b": "UP_100_"}) == "a: 0, b: 100"


def test_leases_that_are_long_over_tell_of_self_preservation() -> None:
    entries = [
        Entry("alive", "UP", expires=1_000_000),
        Entry("over", "UP", expires=1_000_000 - GRACE - 1),
        Entry("down", "DOWN", expires=1),
        Entry("unknown", "UP"),
    ]

    leases = count_leases(Leases(), entries, 1_000_000)

    assert leases == Leases(total=2, overdue=1)
    assert leases.text.startswith("suspected: 1 of 2")
    assert count_leases(Leases(), entries, 0) == Leases(total=2)
    assert Leases().text == "not noticed"
