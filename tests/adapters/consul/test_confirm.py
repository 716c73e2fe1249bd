"""When an answer with less than before is believed."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshbridge.adapters.consul.confirm import Standing, Verdict, is_grave, judge

GOOD = Standing(index=50, knows_leader=True)
PLAIN = dataclasses.replace(GOOD, is_plain=True)


def verdict(standing: Standing, known: str = "ab", found: str = "", last: int = 50) -> Verdict:
    return judge(known, found, standing, last=last, max_lag=30.0)


def test_an_answer_with_everything_is_taken() -> None:
    assert verdict(GOOD, "ab", "abc") is Verdict.TAKE


def test_a_waiting_answer_with_less_is_confirmed() -> None:
    assert verdict(GOOD, "ab", "a") is Verdict.CONFIRM


def test_a_plain_answer_with_less_is_taken() -> None:
    assert verdict(PLAIN, "ab", "a") is Verdict.TAKE


@pytest.mark.parametrize("index", [0, 1])
def test_an_unknown_index_proves_nothing(index: int) -> None:
    assert verdict(dataclasses.replace(GOOD, index=index), "ab", "ab") is Verdict.CONFIRM
    assert verdict(dataclasses.replace(PLAIN, index=index)) is Verdict.DOUBT
    assert verdict(dataclasses.replace(PLAIN, index=index), "ab", "abc") is Verdict.TAKE


def test_an_answer_that_lags_is_confirmed_and_the_leader_is_believed() -> None:
    assert verdict(dataclasses.replace(GOOD, index=49), "ab", "ab") is Verdict.CONFIRM
    assert verdict(dataclasses.replace(PLAIN, index=49)) is Verdict.TAKE


def test_a_server_without_a_leader_is_not_believed() -> None:
    assert verdict(dataclasses.replace(GOOD, knows_leader=False), "ab", "ab") is Verdict.CONFIRM
    assert verdict(dataclasses.replace(PLAIN, knows_leader=False)) is Verdict.DOUBT


def test_a_streaming_answer_never_knows_a_leader_and_that_means_nothing() -> None:
    streaming = dataclasses.replace(GOOD, knows_leader=False, is_streaming=True)

    assert verdict(streaming, "ab", "ab") is Verdict.TAKE


def test_a_server_that_lost_its_leader_long_ago_is_not_believed() -> None:
    assert verdict(dataclasses.replace(PLAIN, lag=31.0)) is Verdict.DOUBT
    assert verdict(dataclasses.replace(PLAIN, lag=29.0)) is Verdict.TAKE


def test_what_acls_hide_is_denied() -> None:
    assert verdict(dataclasses.replace(PLAIN, is_filtered=True)) is Verdict.DENIED
    assert verdict(dataclasses.replace(PLAIN, is_filtered=True), "ab", "ab") is Verdict.TAKE


@given(
    st.sets(st.sampled_from("abcd")),
    st.sets(st.sampled_from("abcd")),
    st.builds(
        Standing,
        index=st.integers(0, 100),
        is_plain=st.booleans(),
        is_streaming=st.booleans(),
        knows_leader=st.sampled_from([None, True, False]),
        lag=st.floats(0, 100),
        is_filtered=st.booleans(),
    ),
    st.integers(0, 100),
)
def test_nothing_leaves_but_by_a_plain_answer_with_a_real_index(
    known: set[str], found: set[str], standing: Standing, last: int
) -> None:
    decided = judge(known, found, standing, last=last, max_lag=30.0)

    if not known <= found and decided is Verdict.TAKE:
        assert standing.is_plain
        assert standing.index > 1
        assert not standing.is_filtered
        assert standing.lag <= 30
    assert standing.is_plain is False or decided is not Verdict.CONFIRM


@pytest.mark.parametrize(
    ("known", "lost", "expected"),
    [(0, 0, False), (5, 1, False), (1, 1, True), (5, 5, True), (100, 9, False), (100, 10, True)],
)
def test_the_last_instances_and_many_at_once_are_a_grave_loss(known: int, lost: int, expected: bool) -> None:
    assert is_grave(known, lost) is expected
