"""Entries of health/service, and the instances they become.

`pytest tests/adapters --update-golden` writes the expected files anew; the diff is the change of behaviour.
"""

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshbridge.adapters.consul.payload import parse
from meshbridge.adapters.consul.readings import Readings
from meshbridge.adapters.consul.records import Kind, ParseOptions, Scope
from meshbridge.schemas.errors import PayloadError
from meshbridge.schemas.registry import Health, Instance

GOLDEN = Path(__file__).parent / "golden"
OPTIONS = ParseOptions(exclude_tags=("management",), exclude_external_sources=frozenset({"kubernetes"}))


def entry(id_: str = "a", checks: object = (), **service: object) -> dict[str, object]:
    made = {"ID": id_, "Service": "shop", "Port": 8080, **service}
    return {"Node": {"Node": "n1", "Address": "10.0.0.9"}, "Service": made, "Checks": list(checks)}


def read(*entries: object, **options: object) -> dict[str, Instance]:
    return parse(json.dumps(entries).encode(), ParseOptions(**options)).instances


@pytest.mark.parametrize("case", sorted(GOLDEN.iterdir()), ids=lambda case: case.name)
def test_entries_become_the_expected_group(case: Path, update_golden: bool) -> None:
    expected = case / "expected.json"
    parsed = parse((case / "input.json").read_bytes(), OPTIONS)
    readings = Readings("consul", {})
    readings.put("shop", parsed, 17)
    found = msgspec.to_builtins(readings.group("shop")) | {"left_out": sorted(parsed.left_out)}
    text = json.dumps(found, indent=2) + "\n"

    if update_golden:
        expected.write_text(text)

    assert text == expected.read_text()


@pytest.mark.parametrize("body", [b"", b"{}", b"<html>", b"[{]", b"null", b"[" * 100_000])
def test_an_answer_that_is_no_list_is_refused(body: bytes) -> None:
    with pytest.raises(PayloadError):
        parse(body, OPTIONS)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda of: (
            st.lists(of) | st.dictionaries(st.sampled_from(["Node", "Service", "ID", "Port", "Meta"]), of)
        ),
    )
)
def test_odd_records_never_hide_their_neighbours(odd: object) -> None:
    parsed = parse(json.dumps([odd, entry("good")]).encode(), OPTIONS)

    assert "n1/good" in parsed.instances


def test_a_tagged_address_is_used_where_there_is_one() -> None:
    tagged = {"wan": {"Address": "198.51.100.1", "Port": 443}, "lan": {"Address": "198.51.100.2"}}
    node = {"Node": "n1", "Address": "10.0.0.9", "TaggedAddresses": {"wan": "198.51.100.9"}}

    def address(tag: str, **service: object) -> tuple[str, int]:
        made = entry(**service) | {"Node": node}
        found = read(made, address_tag=tag)["n1/a"]
        return found.address, found.ports[0].number

    assert address("wan", Address="10.0.0.1", TaggedAddresses=tagged) == ("198.51.100.1", 443)
    assert address("lan", Address="10.0.0.1", TaggedAddresses=tagged) == ("198.51.100.2", 8080)
    assert address("wan", Address="10.0.0.1") == ("10.0.0.1", 8080)
    assert address("wan") == ("198.51.100.9", 8080)
    assert address("lan") == ("10.0.0.9", 8080)


@pytest.mark.parametrize("policy", [Health.READY, Health.UNREADY, Health.DRAINING])
def test_warnings_are_what_the_policy_says(policy: Health) -> None:
    check = {"CheckID": "c", "Status": "warning"}

    found = read(entry(checks=[check], Weights={"Passing": 7, "Warning": 2}), warning=policy)["n1/a"]

    assert (found.health, found.weight) == (policy, 2)


def test_a_tag_can_be_needed() -> None:
    found = read(entry("a", Tags=["blue"]), entry("b", Tags=["green"]), entry("c"), tags=("b*",))

    assert found.keys() == {"n1/a"}


def test_proxies_are_taken_when_wanted_and_say_what_they_stand_for() -> None:
    proxy = entry(Kind="connect-proxy", Proxy={"DestinationServiceName": "shop"})

    found = read(proxy, kinds=frozenset({Kind.CONNECT_PROXY}))["n1/a"]

    assert dict(found.metadata)["consul-proxy-for"] == "shop"
    assert dict(found.metadata)["consul-kind"] == "connect-proxy"


def test_the_scope_is_metadata() -> None:
    found = read(entry(), scope=Scope("dc2", "team", "part", "peer"))["n1/a"]

    wanted = {"consul-namespace": "team", "consul-partition": "part", "consul-peer": "peer"}
    assert wanted.items() <= dict(found.metadata).items()


def test_secrets_are_no_metadata_and_chosen_keys_are_labels() -> None:
    meta = {"db_password": "x", "Api-Token": "y", "team": "money", "version": "v1"}

    found = read(entry(Meta=meta, Tags=["version=v0", "canary=yes"]), labels=("version", "canary"))["n1/a"]

    assert dict(found.labels) == {"version": "v1", "canary": "yes"}
    assert {"db_password", "Api-Token"} & dict(found.metadata).keys() == set()
    assert dict(found.metadata)["team"] == "money"


def test_too_many_keys_are_cut_with_a_note() -> None:
    meta = {f"key{number:03}": "x" for number in range(200)}

    parsed = parse(json.dumps([entry(Meta=meta)]).encode(), OPTIONS)

    assert len(parsed.instances["n1/a"].metadata) <= 140
    assert "metadata left out" in parsed.notes[0].reason


def put(readings: Readings, *entries: object) -> set[str]:
    readings.put("shop", parse(json.dumps(entries).encode(), OPTIONS), 17)
    return {instance.id for instance in readings.group("shop").instances}


def test_a_record_that_turns_bad_keeps_its_last_good_reading() -> None:
    readings = Readings("consul", {})
    put(readings, entry("a"), entry("b"))

    assert put(readings, entry("a", Port=70_000), entry("b")) == {"n1/a", "n1/b"}
    assert put(readings, entry("a", Port="x")) == {"n1/a"}
    assert put(readings, entry("b")) == {"n1/b"}


def test_a_record_nobody_can_identify_keeps_whatever_is_missing() -> None:
    readings = Readings("consul", {})
    put(readings, entry("a"), entry("b"), entry("c"))

    assert put(readings, {"Node": 7}, entry("b"), entry("c", Tags=["management"])) == {"n1/a", "n1/b"}


def test_readings_begin_with_what_was_known() -> None:
    before = Readings("consul", {})
    put(before, entry("a"))

    after = Readings("consul", {"shop": before.group("shop"), "empty": before.group("empty")})

    assert list(after.names) == ["shop"]
    assert after.groups() == before.groups()
    assert after.instances == 1


def test_readings_know_what_runs_on_a_node() -> None:
    readings = Readings("consul", {})
    put(readings, entry("a"))

    assert list(readings.on_nodes({"n1", "n2"})) == ["shop"]
    assert list(readings.on_nodes({"n2"})) == []
    assert list(readings.on_nodes(set())) == []


def test_indexes_can_be_forgotten() -> None:
    readings = Readings("consul", {})
    put(readings, entry("a"))
    assert readings.of("shop").index == 17

    readings.forget_indexes()

    assert readings.of("shop").index == 0


def test_equal_answers_change_nothing_and_a_service_without_anything_is_dropped() -> None:
    readings = Readings("consul", {})
    parsed = parse(json.dumps([entry("a")]).encode(), OPTIONS)

    assert readings.put("shop", parsed, 17)
    assert not readings.put("shop", parsed, 18)
    assert readings.put("shop", parse(b"[]", OPTIONS), 19)
    assert "shop" not in readings
    assert not readings.put("shop", parse(b"[]", OPTIONS), 19)
