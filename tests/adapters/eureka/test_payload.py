import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshbridge.adapters.eureka import payload
from meshbridge.adapters.eureka.payload import Record, Refused
from meshbridge.schemas.errors import PayloadError


def application(*instances: object, name: object = "SHOP") -> payload.Raw:
    return payload.Raw(json.dumps({"name": name, "instance": list(instances)}).encode())


def test_outline_gives_the_hash_and_undecoded_applications() -> None:
    body = (
        b'{"applications":{"versions__delta":"1","apps__hashcode":"UP_1_","application":[{"name":"A"},{}]}}'
    )

    outline = payload.read_outline(body)

    assert outline.hash_code == "UP_1_"
    assert [bytes(raw) for raw in outline.applications] == [b'{"name":"A"}', b"{}"]


def test_object_in_place_of_a_list_is_a_list_of_one() -> None:
    body = b'{"applications":{"application":{"name":"A","instance":{"instanceId":"a1","status":"UP"}}}}'

    outline = payload.read_outline(body)
    name, records = payload.read_application(outline.applications[0])

    assert outline.hash_code is None
    assert name == "a"
    assert [record.instance_id for record in records] == ["a1"]


@pytest.mark.parametrize("text", ['{"applications":{}}', '{"applications":{"application":null}}'])
def test_missing_list_is_empty(text: str) -> None:
    assert payload.read_outline(text.encode()).applications == ()


def test_application_without_instances_is_empty() -> None:
    assert payload.read_application(payload.Raw(b'{"name":"A"}')) == ("a", [])
    assert payload.read_application(payload.Raw(b'{"name":"A","instance":null,"x":NaN}')) == ("a", [])


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"{}", b'{"applications":{"application":7}}', b"[" * 100_000, b"\xff"],
)
def test_anything_else_is_refused(body: bytes) -> None:
    with pytest.raises(PayloadError, match="the answer"):
        payload.read_outline(body)


@pytest.mark.parametrize(
    "raw", [b'{"name":" "}', b"7", b'{"instance":[]}', b'{"name":7}', b'{"name":"A","instance":[{]}']
)
def test_application_that_can_not_be_placed_is_refused(raw: bytes) -> None:
    with pytest.raises(PayloadError, match="an application"):
        payload.read_application(payload.Raw(raw))


def test_malformed_instance_is_named_and_its_neighbours_are_read() -> None:
    name, records = payload.read_application(
        application(
            {"instanceId": "a", "status": "UP"},
            {"instanceId": "b", "status": "DOWN", "hostName": 7, "actionType": "DELETED"},
            {"hostName": "c", "status": {}},
            "d",
        )
    )

    assert name == "shop"
    assert isinstance(records[0], Record)
    assert [(r.id, r.status, r.action) for r in records[1:] if isinstance(r, Refused)] == [
        ("b", "DOWN", "DELETED"),
        ("c", "", ""),
        ("#3", "", ""),
    ]


def test_text_that_is_no_utf8_costs_its_own_characters_only() -> None:
    raw = payload.Raw(b'{"name":"A","instance":[{"instanceId":"a\xff"},{"instanceId":"\\ud800"}]}')

    _, records = payload.read_application(raw)

    assert records[0].instance_id == "a\ufffd"
    assert records[1].id == "?"


def test_single_malformed_instance_in_place_of_a_list_is_read_with_care() -> None:
    raw = payload.Raw(b'{"name":"A","instance":{"instanceId":"a","status":7}}')

    assert [record.id for record in payload.read_application(raw)[1]] == ["a"]


def test_instances_are_counted_by_the_hash() -> None:
    assert payload.instance_count("") == 0
    assert payload.instance_count("UP_" + "9" * 5000 + "_DOWN_2_") == 2
    assert payload.instance_count("DOWN_1_OUT_OF_SERVICE_2_UP_19_") == 22


KEYS = st.sampled_from(["applications", "application", "name", "instance", "status"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner),
)


@given(JSON)
def test_any_json_is_read_or_refused(value: object) -> None:
    try:
        outline = payload.read_outline(json.dumps({"applications": value}).encode())
    except PayloadError:
        return
    for raw in outline.applications:
        try:
            payload.read_application(raw)
        except PayloadError:
            continue


@pytest.mark.parametrize("value", ["x", "", [1], True, 1.5])
def test_time_that_is_none_is_unknown_and_costs_nothing_else(value: object) -> None:
    item = {"instanceId": "i", "lastUpdatedTimestamp": value, "lastDirtyTimestamp": "8", "status": "UP"}

    _, (record,) = payload.read_application(application(item))

    assert (record.status, record.updated, record.dirty) == ("UP", None, 8)
