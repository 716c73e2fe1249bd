"""Indexes, the budget of connections, the token bucket and the lists that tell of changes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshbridge.adapters.consul import lists
from meshbridge.adapters.consul.bucket import TokenBucket
from meshbridge.adapters.consul.budget import Budget, choose
from meshbridge.adapters.consul.index import Movement, movement, next_index, parse_index
from meshbridge.adapters.consul.lists import FailingCheck
from meshbridge.schemas.errors import PayloadError


@pytest.mark.parametrize(
    ("text", "index"), [(None, 0), ("", 0), ("17", 17), ("-3", 0), ("x", 0), ("9" * 30, 0), ("²", 0)]
)
def test_an_index_that_cannot_be_read_is_none(text: str | None, index: int) -> None:
    assert parse_index(text) == index


@pytest.mark.parametrize(
    ("last", "found", "moved", "following"),
    [
        (0, 17, Movement.AHEAD, 17),
        (17, 18, Movement.AHEAD, 18),
        (17, 17, Movement.SAME, 17),
        (17, 16, Movement.BACK, 0),
        (17, 1, Movement.UNKNOWN, 1),
        (17, 0, Movement.UNKNOWN, 1),
        (0, 0, Movement.UNKNOWN, 1),
    ],
)
def test_indexes_follow_the_rules_of_blocking_queries(
    last: int, found: int, moved: Movement, following: int
) -> None:
    assert movement(last, found) is moved
    assert next_index(last, found) == following


def test_a_budget_leaves_room_for_lists_and_reads() -> None:
    assert Budget(150).slots == 138
    assert Budget(16).slots == 4


def test_many_refusals_at_once_halve_the_budget_once() -> None:
    budget = Budget(150)

    assert budget.refuse(100.0)
    assert not budget.refuse(101.0)
    assert budget.current == 75
    assert budget.refuse(111.0)
    assert budget.current == 37


def test_a_budget_never_falls_below_what_one_service_needs() -> None:
    budget = Budget(16)

    assert budget.refuse(0.0)
    assert not budget.refuse(100.0)
    assert (budget.current, budget.slots) == (13, 1)


def test_a_budget_grows_back_in_quiet_times() -> None:
    budget = Budget(150)
    budget.refuse(0.0)
    budget.refuse(20.0)

    assert not budget.recover(300.0)
    assert budget.recover(320.0)
    assert budget.current == 74
    assert budget.recover(620.0)
    assert budget.recover(920.0)
    assert budget.current == 150
    assert not budget.recover(2000.0)


def test_all_services_are_waited_for_where_there_is_room() -> None:
    assert choose(["a", "b"], {}, 2) == {"a", "b"}


def test_beyond_it_those_that_changed_last_are() -> None:
    assert choose(["a", "b", "c", "d"], {"c": 5.0, "d": 7.0}, 3) == {"d", "c", "a"}


@given(st.sets(st.text(max_size=3)), st.dictionaries(st.text(max_size=3), st.floats(0, 9)), st.integers(1, 9))
def test_never_more_services_than_slots_are_chosen(
    services: set[str], changed: dict[str, float], slots: int
) -> None:
    chosen = choose(services, changed, slots)

    assert chosen <= services
    assert len(chosen) == min(len(services), slots)


def test_a_bucket_lets_a_burst_through_and_then_an_even_rate() -> None:
    now = [100.0]
    bucket = TokenBucket(2.0, 2, lambda: now[0])

    waits = [bucket.take() for _ in range(4)]
    now[0] += 60.0

    assert waits == pytest.approx([0.0, 0.0, 0.5, 1.0])
    assert bucket.take() == 0.0


def test_tags_are_compared_as_sets() -> None:
    before = lists.parse_catalog(b'{"a": ["x", "y"], "b": [], "c": null, "": []}')
    now = lists.parse_catalog(b'{"a": ["y", "x"], "b": ["z"], "d": []}')

    assert lists.differing(before, now) == {"b", "c", "d"}
    assert before.keys() == {"a", "b", "c"}


def test_services_are_wanted_by_name() -> None:
    names = ["consul", "shop-a", "shop-b", "other"]

    assert lists.wanted(names, [], ["consul"]) == {"shop-a", "shop-b", "other"}
    assert lists.wanted(names, ["shop-*"], ["*-b"]) == {"shop-a"}


def test_nodes_differ_by_address_and_metadata() -> None:
    before = lists.parse_nodes(
        json.dumps([{"Node": "a", "Address": "1"}, {"Node": "b", "Meta": {}}]).encode()
    )
    now = lists.parse_nodes(json.dumps([{"Node": "a", "Address": "2"}, {"Node": "b", "Meta": {}}]).encode())

    assert lists.differing_nodes(before, now) == {"a"}


def test_a_check_of_a_node_touches_the_node_and_output_touches_nothing() -> None:
    check = {"Node": "n", "CheckID": "c", "Status": "critical", "ServiceName": "s", "Output": "x"}
    before = lists.parse_checks(json.dumps([check]).encode())
    now = lists.parse_checks(
        json.dumps([check | {"Output": "y"}, {"Node": "n2", "CheckID": "_node_maintenance"}]).encode()
    )

    assert before == {FailingCheck("n", "c", "s")}
    assert lists.touched(before, now) == (set(), {"n2"})
    assert lists.touched(before, frozenset()) == ({"s"}, set())


@pytest.mark.parametrize("parse", [lists.parse_catalog, lists.parse_nodes, lists.parse_checks])
@pytest.mark.parametrize("body", [b"", b"[1]", b"<html>", b'{"a": 1}', b"[" * 100_000])
def test_a_list_of_another_shape_is_refused(parse: object, body: bytes) -> None:
    with pytest.raises(PayloadError):
        parse(body)


def test_a_peering_lists_what_it_imports() -> None:
    body = b'{"State": "FAILING", "StreamStatus": {"ImportedServices": ["a", "b"]}}'

    assert lists.parse_imported(body).keys() == {"a", "b"}
    assert lists.parse_imported(b'{"State": "ACTIVE", "StreamStatus": {"ImportedServices": null}}') == {}


@pytest.mark.parametrize(
    "body",
    [b"[]", b"<", b'{"State": "PENDING", "StreamStatus": {}}', b'{"StreamStatus": {"ImportedServices": []}}'],
)
def test_a_peering_that_does_not_know_its_services_is_no_empty_one(body: bytes) -> None:
    with pytest.raises(PayloadError):
        lists.parse_imported(body)
