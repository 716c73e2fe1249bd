"""The few pieces of protobuf's wire format that meshbridge writes by hand.

Joining such pieces in the order of field numbers, maps sorted by key, gives what protobuf calls deterministic
output, without filling message objects first.
Format: https://protobuf.dev/programming-guides/encoding/
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache

VARINT = 0
DELIMITED = 2

_MAX_UINT32 = (1 << 32) - 1
_MAX_INT32 = (1 << 31) - 1


@lru_cache(maxsize=4096)
def varint(number: int) -> bytes:
    """Return the number as a varint; a negative one as its 64-bit two's complement."""
    rest = number & (1 << 64) - 1
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def tag(field: int, wire_type: int) -> bytes:
    """Return what stands before a value of this field."""
    return varint(field << 3 | wire_type)


@lru_cache(maxsize=4096)
def head(field: int, length: int) -> bytes:
    """Return what stands before `length` bytes of a delimited value."""
    return tag(field, DELIMITED) + varint(length)


def delimited(field: int, payload: bytes) -> bytes:
    """Return a message or bytes field, also when it is empty."""
    return head(field, len(payload)) + payload


def string(field: int, text: str) -> bytes:
    """Return a string field, nothing for "".

    Raises:
        UnicodeEncodeError: the text has lone surrogates.
    """
    return delimited(field, text.encode()) if text else b""


def strings(field: int, texts: Iterable[str]) -> bytes:
    """Return a repeated string field; empty items are kept."""
    return b"".join([delimited(field, text.encode()) for text in texts])


@lru_cache(maxsize=4096)
def uint32(field: int, number: int) -> bytes:
    """Return a uint32 or enum field, nothing for 0.

    Raises:
        ValueError: the number has no place in 32 bits.
    """
    if not 0 <= number <= _MAX_UINT32:
        raise ValueError(f"{number} is not a uint32")
    return tag(field, VARINT) + varint(number) if number else b""


def int32(field: int, number: int) -> bytes:
    """Return an int32 field, nothing for 0.

    Raises:
        ValueError: the number has no place in 32 bits.
    """
    if not -_MAX_INT32 - 1 <= number <= _MAX_INT32:
        raise ValueError(f"{number} is not an int32")
    return tag(field, VARINT) + varint(number) if number else b""


def string_map(field: int, pairs: Mapping[str, str]) -> bytes:
    """Return a map<string, string> field, sorted by key."""
    return b"".join([_string_entry(field, key, pairs[key]) for key in sorted(pairs)])


def uint32_map(field: int, pairs: Mapping[str, int]) -> bytes:
    """Return a map<string, uint32> field, sorted by key.

    Raises:
        ValueError: a number has no place in 32 bits.
    """
    return b"".join([_uint32_entry(field, key, pairs[key]) for key in sorted(pairs)])


# An entry of a map has both its fields, defaults too: hence `delimited` and not `string`.


@lru_cache(maxsize=1024)
def _string_entry(field: int, key: str, value: str) -> bytes:
    return delimited(field, _map_key(key) + delimited(2, value.encode()))


@lru_cache(maxsize=1024)
def _uint32_entry(field: int, key: str, value: int) -> bytes:
    number = uint32(2, value) or tag(2, VARINT) + varint(0)
    return delimited(field, _map_key(key) + number)


@lru_cache(maxsize=1024)
def _map_key(key: str) -> bytes:
    return delimited(1, key.encode())
