"""What explains a move of the catalog's index."""

import pytest

from meshbridge.adapters.consul import trail as module
from meshbridge.adapters.consul.trail import Doubt, Trail


@pytest.fixture
def trail() -> Trail:
    made = Trail()
    made.begin(100)
    return made


def test_a_catalog_that_did_not_move_raises_no_doubt(trail: Trail) -> None:
    trail.move(100)
    trail.explain(99)

    assert trail.doubt is Doubt.NONE


def test_a_move_that_no_read_service_explains_is_grave(trail: Trail) -> None:
    trail.move(101)

    assert trail.doubt is Doubt.GRAVE


@pytest.mark.parametrize("is_answer_first", [True, False])
def test_a_move_that_an_answer_explains_raises_no_doubt(trail: Trail, is_answer_first: bool) -> None:
    if is_answer_first:
        trail.explain(101)
    trail.move(101)
    trail.explain(101)

    assert trail.doubt is Doubt.NONE


def test_a_write_before_the_explained_one_leaves_slight_doubt_until_it_is_explained(trail: Trail) -> None:
    trail.move(103)
    trail.explain(103)
    trail.explain(101)
    assert trail.doubt is Doubt.SLIGHT

    trail.explain(102)
    assert trail.doubt is Doubt.NONE


def test_what_was_settled_is_no_longer_in_doubt_and_what_came_since_is(trail: Trail) -> None:
    trail.move(105)
    trail.explain(106)
    trail.settle(105)
    assert trail.doubt is Doubt.NONE

    trail.move(107)
    assert trail.doubt is Doubt.GRAVE
    trail.explain(107)
    assert trail.doubt is Doubt.NONE


def test_a_catalog_that_begins_anew_is_in_no_doubt(trail: Trail) -> None:
    trail.move(105)

    trail.begin(7)

    assert trail.doubt is Doubt.NONE


def test_too_many_indexes_lead_to_doubt_not_to_memory(trail: Trail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST", 3)

    for index in range(101, 110):
        trail.explain(index)
    trail.move(109)

    assert trail.doubt is Doubt.SLIGHT
