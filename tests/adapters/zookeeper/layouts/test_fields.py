"""What fields must look like, whatever layout they come from."""

import pytest

from meshbridge.adapters.zookeeper.layouts import fields
from meshbridge.adapters.zookeeper.layouts.fields import Refused


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("10.4.0.7", "10.4.0.7"),
        ("[fd00::7]", "fd00::7"),
        ("fd00:0:0:0:0:0:0:2%eth0", "fd00::2"),
        ("VM1.Corp.", "vm1.corp"),
    ],
)
def test_an_address_is_brought_into_its_plain_form(given: str, expected: str) -> None:
    assert fields.address(given) == expected


@pytest.mark.parametrize(
    "given",
    ["", None, {}, "0.0.0.0", "::", "fe80::1%eth0", "224.0.0.1", "10.4.0.300", "a b", "a_b", "-", "x" * 300],
)
def test_what_is_no_address_for_other_machines_is_refused(given: object) -> None:
    with pytest.raises(Refused):
        fields.address(given)


@pytest.mark.parametrize("given", [None, "", 0, -1, 65536, "1e3", "٣", 1.5, True, [], "99999999"])
def test_what_is_no_port_is_refused(given: object) -> None:
    with pytest.raises(Refused):
        fields.port(given)


@pytest.mark.parametrize("given", [8080, "8080", 8080.0, " 8080 "], ids=repr)
def test_a_port_is_a_number_or_says_one(given: object) -> None:
    assert fields.port(given) == 8080


@pytest.mark.parametrize(
    ("given", "expected"),
    [(None, 5), ("", 5), ("x", 5), (-1, 5), (1.5, 5), (0, 0), ("30", 30), (10**9 + 1, 10**9)],
)
def test_a_weight_is_a_whole_number(given: object, expected: int) -> None:
    assert fields.weight(given, 5) == expected


@pytest.mark.parametrize(
    "key", ["token", "access_token", "X-Api-Key", "db.password", "PASSWD", "clientSecret", "private-key"]
)
def test_secrets_do_not_travel(key: str) -> None:
    assert fields.metadata({key: "hush", "zone": "b"}) == {"zone": "b"}


def test_metadata_is_bounded_and_flat() -> None:
    wide = {f"k{number}": "v" for number in range(100)}

    assert len(fields.metadata(wide)) == 64
    assert len(fields.metadata({"a": "v" * 5000})["a"]) == 1024
    assert fields.metadata(
        {"": "v", "a\n": "v", "b": "v\x00", "c": [], "d": {}, "e": None, "f": True, "g": 1.5}
    ) == {
        "f": "true",
        "g": "1.5",
    }


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({}, ""),
        ({"region": "eu"}, "eu"),
        ({"zone": "b"}, "/b"),
        ({"region": "eu", "az": "b"}, "eu/b"),
        ({"zone": "a/b"}, ""),
    ],
)
def test_a_locality_is_made_of_region_and_zone(known: dict[str, str], expected: str) -> None:
    assert fields.locality(known) == expected


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff", b"{", b'{"a":' * 100_000, b" " * (2 << 20)])
def test_bytes_that_are_no_object_are_refused(data: bytes) -> None:
    with pytest.raises(Refused):
        fields.decoded(data)


def test_what_is_shown_is_short_and_without_a_password() -> None:
    assert fields.shown("user:hush@vm1") == "'vm1'"
    assert len(fields.shown("x" * 500)) == 80


def test_label_values_are_made_legal() -> None:
    assert dict(fields.mesh_labels({"version": "1.0 beta", "tag": ""})) == {"version": "1.0-beta"}
