"""Requests that kazoo lacks, as bytes."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshbridge.adapters.zookeeper import wire
from meshbridge.adapters.zookeeper.session import Content, Refusal

STAT = struct.pack("!qqqqiiiqiiq", 1, 2, 3, 4, 5, 6, 7, 0x1000, 3, 9, 10)


def buffer(value: bytes) -> bytes:
    return struct.pack("!i", len(value)) + value


def test_add_watch_asks_for_a_recursive_one() -> None:
    request = wire.AddWatch("/dubbo")

    assert request.type == 106
    assert request.serialize() == buffer(b"/dubbo") + struct.pack("!i", 1)
    assert request.deserialize(b"", 0)


def test_multi_read_asks_for_each_path_without_a_watch() -> None:
    request = wire.MultiRead(wire.GET_DATA, ["/a", "/b"])

    header = struct.pack("!i?i", 4, False, -1)
    end = struct.pack("!i?i", -1, True, -1)
    assert request.type == 22
    assert request.serialize() == header + buffer(b"/a") + b"\0" + header + buffer(b"/b") + b"\0" + end


def test_answers_of_a_multi_read_are_read_in_order() -> None:
    body = b"".join(
        [
            b"skipped",
            struct.pack("!i?i", 4, False, 0) + buffer(b"abc") + STAT,
            struct.pack("!i?i", -1, False, -101) + struct.pack("!i", -101),
            struct.pack("!i?i", 8, False, 0) + struct.pack("!i", 2) + buffer(b"x") + buffer(b"\xff"),
            struct.pack("!i?i", -1, False, -102) + struct.pack("!i", -102),
            struct.pack("!i?i", -1, True, -1),
        ]
    )

    found = wire.MultiRead(wire.GET_DATA, []).deserialize(body, 7)

    assert found == [Content(b"abc", True, 9), Refusal.MISSING, ("x", "\ufffd"), Refusal.DENIED]


def test_another_error_is_none_of_the_nodes() -> None:
    body = struct.pack("!i?i", -1, False, -4) + struct.pack("!i", -4)

    with pytest.raises(ValueError, match="error -4"):
        wire.MultiRead(wire.GET_DATA, []).deserialize(body, 0)


def test_reading_one_node_leaves_a_watch() -> None:
    request = wire.ReadOne(wire.GET_CHILDREN, "/a")

    assert request.type == 8
    assert request.serialize() == buffer(b"/a") + b"\1"
    assert request.deserialize(struct.pack("!i", 1) + buffer(b"x"), 0) == ("x",)


def test_no_data_is_empty_data() -> None:
    found = wire.ReadOne(wire.GET_DATA, "/a").deserialize(struct.pack("!i", -1) + STAT, 0)

    assert found == Content(b"", True, 9)


def test_an_event_has_a_kind_and_a_path() -> None:
    assert wire.read_event(struct.pack("!ii", 3, 3) + buffer(b"/a/b"), 0) == (3, "/a/b")


@given(
    st.lists(st.text(max_size=30) | st.just("p" * 100_000), max_size=60),
    st.integers(min_value=1, max_value=20),
)
def test_batches_hold_everything_and_stay_small(paths: list[str], operations: int) -> None:
    found = list(wire.batches(paths, operations))

    assert [path for batch in found for path in batch] == paths
    for batch in found:
        assert 0 < len(batch) <= operations
        size = len(wire.MultiRead(wire.GET_DATA, batch).serialize())
        assert size <= wire.MAX_REQUEST + 9 or len(batch) == 1
