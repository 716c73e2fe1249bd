import pytest

from meshbridge.schemas import protobuf


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0, "00"),
        (127, "7f"),
        (128, "8001"),
        (300, "ac02"),
        ((1 << 64) - 1, "ff" * 9 + "01"),
        (-1, "ff" * 9 + "01"),
    ],
)
def test_varint_has_seven_bits_in_a_byte(number, expected) -> None:
    assert protobuf.varint(number).hex() == expected


def test_pieces_are_as_in_the_encoding_guide() -> None:
    assert protobuf.tag(2, protobuf.DELIMITED) == b"\x12"
    assert protobuf.string(2, "testing") == b"\x12\x07testing"
    assert protobuf.delimited(3, protobuf.uint32(1, 150)) == b"\x1a\x03\x08\x96\x01"
    assert protobuf.head(1, 300) + b"x" * 300 == protobuf.delimited(1, b"x" * 300)


def test_defaults_are_left_out_but_items_and_messages_are_not() -> None:
    assert protobuf.string(1, "") == protobuf.uint32(1, 0) == protobuf.int32(1, 0) == b""
    assert protobuf.strings(1, ["", "a"]) == b"\x0a\x00\x0a\x01a"
    assert protobuf.delimited(1, b"") == b"\x0a\x00"


def test_maps_are_sorted_and_their_entries_whole() -> None:
    assert (
        protobuf.string_map(1, {"b": "", "a": "x"}) == b"\x0a\x06\x0a\x01a\x12\x01x\x0a\x05\x0a\x01b\x12\x00"
    )
    assert protobuf.uint32_map(1, {"a": 0}) == b"\x0a\x05\x0a\x01a\x10\x00"


@pytest.mark.parametrize("number", [-1, 1 << 32])
def test_uint32_refuses_what_does_not_fit(number) -> None:
    with pytest.raises(ValueError, match="not a uint32"):
        protobuf.uint32(1, number)


@pytest.mark.parametrize("number", [-(1 << 31) - 1, 1 << 31])
def test_int32_refuses_what_does_not_fit(number) -> None:
    with pytest.raises(ValueError, match="not an int32"):
        protobuf.int32(1, number)


def test_broken_unicode_is_refused() -> None:
    with pytest.raises(UnicodeEncodeError):
        protobuf.string(1, "\ud800")
