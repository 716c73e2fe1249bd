"""The last good reading of every document, and the groups they make together."""

from hypothesis import given
from hypothesis import strategies as st

from meshbridge.adapters.inventory.formats import detect
from meshbridge.adapters.inventory.formats.options import FormatOptions
from meshbridge.adapters.inventory.formats.record import Parsed
from meshbridge.adapters.inventory.readings import Readings, seeds


def table(*rows: str) -> Parsed:
    text = "\n".join(["service,address,port", *rows])
    return detect.parse(text.encode(), "a.csv", FormatOptions())


def read(readings: Readings, *rows: str) -> set[str]:
    return readings.put("a.csv", readings.keeping("a.csv", table(*rows)))


def addresses(readings: Readings, service: str) -> list[str]:
    return [instance.address for instance in readings.combined(service).group.instances]


def test_only_services_that_differ_are_named() -> None:
    readings = Readings("vms")

    assert read(readings, "a,192.0.2.1,80", "b,192.0.2.2,80") == {"a", "b"}
    assert read(readings, "a,192.0.2.1,80", "b,192.0.2.3,80") == {"b"}
    assert read(readings, "# a comment", "a,192.0.2.1,80", "b,192.0.2.3,80") == set()
    assert readings.drop("a.csv") == {"a", "b"}
    assert readings.services == []


def test_a_bad_record_is_recognised_by_its_address() -> None:
    readings = Readings("vms")
    read(readings, "a,192.0.2.1,80", "a,192.0.2.2,80", "a,192.0.2.3,80")

    read(readings, "a,192.0.2.3,80", "a,192.0.2.2,0")

    assert addresses(readings, "a") == ["192.0.2.2", "192.0.2.3"]


def test_a_bad_record_is_recognised_by_its_line() -> None:
    readings = Readings("vms")
    read(readings, "a,192.0.2.1,80", "a,192.0.2.2,80")

    read(readings, "a,192.0.2.1,80", "a,192.0.2.,80")

    assert addresses(readings, "a") == ["192.0.2.1", "192.0.2.2"]


def test_a_bad_record_stays_kept_while_it_stays_bad() -> None:
    readings = Readings("vms")
    read(readings, "a,192.0.2.1,80")

    for _ in range(3):
        read(readings, "b,192.0.2.9,80", "a,192.0.2.1,0")

    assert addresses(readings, "a") == ["192.0.2.1"]


def test_a_removed_record_is_not_kept_by_another_one_s_mistake() -> None:
    readings = Readings("vms")
    read(readings, "a,192.0.2.1,80", "a,192.0.2.2,80")

    read(readings, "b,192.0.2.999,80", "a,192.0.2.2,80")

    assert addresses(readings, "a") == ["192.0.2.2"]


def test_seeds_give_back_what_each_document_said() -> None:
    readings = Readings("vms")
    read(readings, "a,192.0.2.1,80", "b,192.0.2.2,80")
    groups = {name: readings.combined(name).group for name in readings.services}

    again = Readings("vms")
    for document, parsed in seeds(groups).items():
        again.put(document, parsed)

    assert {name: again.combined(name).group for name in again.services} == groups


rows = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(1, 5), st.sampled_from(["80", "81", "0"])).map(
        lambda row: f"{row[0]},192.0.2.{row[1]},{row[2]}"
    ),
    max_size=8,
)


@given(st.lists(rows, min_size=1, max_size=4), rows)
def test_updates_lead_to_what_a_fresh_reading_of_good_rows_has(history, last) -> None:
    good = [row for row in last if not row.endswith(",0")]
    readings = Readings("vms")
    sent = {}
    for step in [*history, good]:
        for service in read(readings, *step):
            sent[service] = readings.combined(service).group

    fresh = Readings("vms")
    read(fresh, *good)

    expected = {name: fresh.combined(name).group.instances for name in fresh.services}
    assert {name: group.instances for name, group in sent.items() if group.instances} == expected
