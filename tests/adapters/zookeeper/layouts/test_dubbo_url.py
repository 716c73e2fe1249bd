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
