"""Dubbo's URLs as node names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshbridge.adapters.zookeeper.layouts import dubbo_url
from meshbridge.adapters.zookeeper.layouts.dubbo_url import DubboUrl
from meshbridge.adapters.zookeeper.layouts.fields import Refused


@pytest.mark.parametrize(
    ("plain", "expected"),
    [
        (
            "dubbo://10.4.0.7:20880/com.acme.X?version=1.2.0&a=b=c",
            DubboUrl("dubbo", "10.4.0.7", 20880, "com.acme.X", {"version": "1.2.0", "a": "b=c"}),
        ),
        ("TRI://vm1.corp:50051/shop/com.acme.X", DubboUrl("tri", "vm1.corp", 50051, "shop/com.acme.X", {})),
        ("dubbo://[fd00::7]:20880/x", DubboUrl("dubbo", "fd00::7", 20880, "x", {})),
        ("dubbo://fd00:0:0:0:0:0:0:7:20880/x", DubboUrl("dubbo", "fd00:0:0:0:0:0:0:7", 20880, "x", {})),
        ("dubbo://user:hush@10.4.0.7:1/x", DubboUrl("dubbo", "10.4.0.7", 1, "x", {})),
        ("override://0.0.0.0/x?k", DubboUrl("override", "0.0.0.0", 0, "x", {})),
        ("dubbo://h:1/x?version=0.0.0&=v", DubboUrl("dubbo", "h", 1, "x", {})),
    ],
)
def test_a_name_becomes_a_url(plain: str, expected: DubboUrl) -> None:
    assert dubbo_url.parse(dubbo_url.encode(plain)) == expected


@pytest.mark.parametrize("name", ["", "x", "dubbo%3A%2F%2Fh%3Aport%2Fx", "%3A%2F%2Fh", "d" * 70_000, "%zz%"])
def test_a_name_that_is_no_url_is_refused(name: str) -> None:
    with pytest.raises(Refused):
        dubbo_url.parse(name)


@given(st.text(max_size=200))
def test_decoding_undoes_encoding(text: str) -> None:
    assert dubbo_url.decode(dubbo_url.encode(text)) == text


def test_lower_case_escapes_are_read() -> None:
    assert dubbo_url.parse("dubbo%3a%2f%2f10.4.0.7%3a20880%2fx%3fweight%3d5").get("weight") == "5"


@pytest.mark.parametrize(
    "plain",
    [
        "dubbo://user:hush@10.4.0.7:20880/x?token=hush",
        "dubbo://10.4.0.7:20880?token=hush",
        "dubbo://10.4.0.7:20880&token=hush",
    ],
)
def test_what_may_be_shown_of_a_name_has_no_secrets(plain: str) -> None:
    assert dubbo_url.place_of(dubbo_url.encode(plain)) == "dubbo://10.4.0.7:20880"
    assert "hush" not in dubbo_url.place_of(dubbo_url.encode(dubbo_url.encode(plain)))


KEYS = st.sampled_from(["application", "group", "version", "pid", "timestamp", "weight", "a b", ""])
PAIRS = st.lists(st.tuples(KEYS, st.sampled_from(["", "1", "0.0.0", "ä&=?%26", "x+y"])), max_size=8)


@given(PAIRS, st.booleans(), st.sampled_from(["dubbo", "tri", "Dubbo"]), st.sampled_from(["10.4.0.7", "::1"]))
def test_the_short_way_to_a_services_name_is_the_long_one(
    pairs: list[tuple[str, str]], is_lower: bool, protocol: str, host: str
) -> None:
    query = "&".join(f"{key}={value}" for key, value in pairs)
    name = dubbo_url.encode(f"{protocol}://{host}:20880/com.acme.X?{query}")
    name = name.replace("%3D", "%3d") if is_lower else name

    found = dubbo_url.naming(name, dubbo_url.usual(name))

    whole = dubbo_url.parse(name)
    expected = (whole.get("application"), whole.get("group"), whole.get("version"), whole.protocol)
    assert tuple(found) == expected


def test_names_that_differ_in_place_and_start_alone_have_the_same_terms() -> None:
    names = [
        dubbo_url.encode(f"dubbo://10.4.0.{n}:2088{n}/com.acme.X?a=1&pid={n}&side=provider&timestamp={n}")
        for n in range(3)
    ]

    found = [dubbo_url.usual(name) for name in names]

    assert [(parts.host, parts.port) for parts in found if parts] == [
        (f"10.4.0.{n}", 20880 + n) for n in range(3)
    ]
    assert len({parts.terms for parts in found if parts}) == 1


@pytest.mark.parametrize(
    "url", ["dubbo://[::1]:1/x", "dubbo://10.4.0.7/x", "dubbo://user:hush@10.4.0.7:1/x", "x"]
)
def test_names_of_an_unusual_form_are_left_to_the_long_way(url: str) -> None:
    assert dubbo_url.usual(dubbo_url.encode(url)) is None
