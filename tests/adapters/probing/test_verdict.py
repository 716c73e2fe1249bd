"""Tests of verdicts, combined health and the panic decision."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshbridge.adapters.probing.verdict import Count, Track, combine, is_panic, judge, restore, tally
from meshbridge.schemas.registry import Health

outcomes = st.lists(st.booleans(), max_size=30)
thresholds = st.integers(min_value=1, max_value=5)


def judged(results: list[bool], rise: int = 1, fall: int = 3, frozen: bool = False) -> Track:
    track = Track()
    for passed in results:
        track = judge(track, passed, rise=rise, fall=fall, frozen=frozen)
    return track


def test_first_pass_makes_a_verdict_when_rise_is_one() -> None:
    assert judged([True]).verdict is True


def test_verdict_falls_with_the_third_failure_in_a_row() -> None:
    assert judged([True, False, False]).verdict is True
    assert judged([True, False, False, False]).verdict is False


def test_one_pass_between_failures_starts_the_count_again() -> None:
    assert judged([True, False, False, True, False, False]).verdict is True


def test_there_is_no_verdict_before_enough_results_agree() -> None:
    assert judged([False, False, True, False], rise=2).verdict is None


@given(outcomes, thresholds, thresholds)
def test_verdict_is_that_of_the_last_run_of_equal_results_that_was_long_enough(
    results: list[bool], rise: int, fall: int
) -> None:
    expected, run = None, 0
    for position, passed in enumerate(results):
        run = run + 1 if position and results[position - 1] is passed else 1
        if run >= (rise if passed else fall):
            expected = passed

    assert judged(results, rise, fall).verdict is expected


@given(outcomes, outcomes, thresholds, thresholds)
def test_frozen_verdicts_never_change_but_for_a_first_pass(
    before: list[bool], during: list[bool], rise: int, fall: int
) -> None:
    track = start = judged(before, rise, fall)

    for passed in during:
        track = judge(track, passed, rise=rise, fall=fall, frozen=True)

    assert track.verdict is start.verdict or (start.verdict is None and track.verdict is True)


def test_after_the_thaw_the_next_failure_counts_those_of_the_freeze() -> None:
    track = judged([True])
    for _ in range(5):
        track = judge(track, False, rise=1, fall=3, frozen=True)

    assert judge(track, False, rise=1, fall=3, frozen=False).verdict is False


def test_restoring_a_recent_loss_gives_back_what_was_before_and_keeps_its_failures() -> None:
    assert restore(judged([True, False, False, False])) == Track(True, -3, 0, proven=True)
    assert restore(judged([False, False, False])) == Track(None, -3)


def test_restoring_an_old_loss_or_a_passing_target_changes_nothing() -> None:
    for track in (judged([True]), judged([False] * 6)):
        assert restore(track) is track


@pytest.mark.parametrize(
    ("registry", "verdict", "expected"),
    [
        (Health.READY, None, Health.READY),
        (Health.UNKNOWN, None, Health.UNKNOWN),
        (Health.UNKNOWN, True, Health.READY),
        (Health.READY, True, Health.READY),
        (Health.READY, False, Health.UNREADY),
        (Health.UNKNOWN, False, Health.UNREADY),
        (Health.UNREADY, True, Health.UNREADY),
        (Health.UNREADY, None, Health.UNREADY),
        (Health.DRAINING, True, Health.DRAINING),
        (Health.DRAINING, False, Health.DRAINING),
    ],
)
def test_health_is_the_worse_of_both(registry: Health, verdict: bool | None, expected: Health) -> None:
    assert combine(registry, verdict) is expected


def test_a_target_that_never_passed_counts_apart() -> None:
    assert tally(Track(), wanted=True) == Count(unproven=1)
    assert tally(judged([False]), wanted=True) == Count(unproven=1, unproven_failing=1)


def test_a_loss_counts_as_recent_for_two_more_checks() -> None:
    counts = [tally(judged([True] + [False] * failures), wanted=True) for failures in range(1, 6)]

    failing = Count(passing=1, failing=1)
    lost = Count(passing=1, failing=1, lost=1, unready=1)
    assert counts == [failing, failing, lost, lost, Count(unready=1)]


def test_a_target_its_registry_does_not_serve_is_no_loss() -> None:
    assert tally(judged([True, False]), wanted=False) == Count()


@pytest.mark.parametrize(
    ("failing", "passing", "expected"),
    [(51, 100, True), (50, 100, False), (3, 4, True), (2, 2, False), (0, 0, False)],
)
def test_panic_needs_more_than_the_share_and_at_least_the_minimum(
    failing: int, passing: int, expected: bool
) -> None:
    count = Count(passing, failing, lost=1)

    assert is_panic(count, percent=50, minimum=3, frozen=False) is expected


def test_failures_begin_no_panic_before_something_is_lost_and_end_none_after() -> None:
    count = Count(passing=10, failing=10)

    assert not is_panic(count, percent=50, minimum=3, frozen=False)
    assert is_panic(count, percent=50, minimum=3, frozen=True)


def test_targets_that_never_passed_matter_only_where_nothing_passes() -> None:
    alone = Count(unproven=5, unproven_failing=5, lost=1)

    assert is_panic(alone, percent=50, minimum=3, frozen=False)
    assert not is_panic(alone.plus(Count(passing=1)), percent=50, minimum=3, frozen=False)


@given(st.integers(0, 1000), st.integers(1, 10), st.booleans())
def test_a_hundred_percent_never_panics(targets: int, minimum: int, frozen: bool) -> None:
    count = Count(targets, targets, targets, targets, targets)

    assert not is_panic(count, percent=100, minimum=minimum, frozen=frozen)
