import pytest

from meshbridge.bridge.pipeline.sources import Source, waiting_for
from meshbridge.schemas.registry import FullSync, Instance, ServiceKey, SourceReport, SourceState, group


def source(name: str = "vms", **fields: bool) -> Source:
    found = Source(name, "inventory", fields.pop("required", True), since=100.0)
    for field, value in fields.items():
        setattr(found, field, value)
    return found


def test_report_changes_the_state_and_says_so() -> None:
    found = source()

    assert found.report(SourceReport(SourceState.STALE, "refused", (("a", "b"),)), 110.0)
    assert (found.state, found.since, found.error) == (SourceState.STALE, 110.0, "refused")
    assert found.details == (("a", "b"),)
    assert found.last_success is None


def test_report_of_the_same_state_keeps_its_beginning_and_takes_the_newest_reason() -> None:
    found = source()
    found.report(SourceReport(SourceState.STALE, "refused"), 110.0)

    assert not found.report(SourceReport(SourceState.STALE, "timed out"), 120.0)
    assert (found.since, found.error) == (110.0, "timed out")


def test_sync_ends_trouble() -> None:
    found = source(is_retained=True)
    found.report(SourceReport(SourceState.DENIED, "forbidden"), 110.0)

    found.sync(120.0)

    assert (found.state, found.since, found.error) == (SourceState.SYNCED, 120.0, "")
    assert (found.is_synced, found.is_retained, found.last_success) == (True, False, 120.0)


def test_second_sync_keeps_the_beginning_of_the_state() -> None:
    found = source()
    found.sync(120.0)

    found.sync(130.0)

    assert (found.since, found.last_success) == (120.0, 130.0)


def test_data_after_a_report_of_trouble_does_not_end_it() -> None:
    found = source()
    found.report(SourceReport(SourceState.STALE, "one file is unreadable"), 110.0)

    found.succeed(120.0)

    assert (found.state, found.error, found.last_success) == (
        SourceState.STALE,
        "one file is unreadable",
        120.0,
    )


def test_synced_report_clears_the_error() -> None:
    found = source()
    found.report(SourceReport(SourceState.STALE, "refused"), 110.0)

    found.report(SourceReport(SourceState.SYNCED, "told while frozen"), 120.0)

    assert found.error == ""


@pytest.mark.parametrize(
    ("fields", "age", "hold", "waits"),
    [
        ({}, 0.0, True, True),
        ({}, 1e9, True, True),
        ({}, 59.0, False, True),
        ({}, 60.0, False, False),
        ({"required": False}, 59.0, True, True),
        ({"required": False}, 60.0, True, False),
        ({"is_synced": True}, 0.0, True, False),
        ({"is_retained": True}, 0.0, True, False),
        ({"required": False, "is_retained": True}, 0.0, True, False),
    ],
)
def test_first_answers_wait_for_a_source(
    fields: dict[str, bool], age: float, hold: bool, waits: bool
) -> None:
    found = waiting_for([source("known", is_synced=True), source("asked", **fields)], age, 60.0, hold=hold)

    assert found == (["asked"] if waits else [])


NOTHING = FullSync((), 0.0)


def test_nothing_at_all_is_believed_only_where_it_is_meant() -> None:
    something = FullSync((group(ServiceKey("vms", "shop"), [Instance("a", "10.0.0.1")]),), 0.0)
    shell = FullSync((group(ServiceKey("vms", "shop"), []),), 0.0)

    assert source().believes(something)
    assert not source().believes(NOTHING)
    assert not source().believes(shell)
    assert source(allow_empty=True).believes(NOTHING)
    assert source().believes(FullSync((), 0.0, empty_is_meant=True))


def test_doubted_source_is_empty_and_says_what_to_do() -> None:
    found = source()

    assert found.doubt(110.0)
    assert not found.doubt(120.0)

    assert (found.state, found.since, found.last_success) == (SourceState.EMPTY, 110.0, 120.0)
    assert found.error == (
        "empty, and never seen otherwise; set allow_empty: true, or say `meshbridge release vms`, "
        "if that is meant"
    )
    assert not found.is_known


def test_doubt_outlives_reports_and_ends_with_a_sync() -> None:
    found = source()
    found.doubt(110.0)

    assert not found.report(SourceReport(SourceState.SYNCED), 120.0)
    assert found.report(SourceReport(SourceState.STALE, "refused"), 130.0)
    assert found.error.startswith("refused; empty, and never seen otherwise")

    found.sync(140.0)
    assert (found.state, found.error, found.is_known) == (SourceState.SYNCED, "", True)
