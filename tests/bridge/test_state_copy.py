import pytest

from meshbridge.bridge.pipeline.bounds import Cause, Held, Trip
from meshbridge.bridge.state_copy import FORMAT, Copy, OtherFormat, decode_copy, encode_copy, united
from meshbridge.schemas.registry import Instance, InstanceGroup, ServiceKey

SHOP = ServiceKey("vms", "shop")
A, B, C = (Instance(name, f"10.0.0.{number}") for number, name in enumerate("abc", start=1))


def held(**since: float) -> Held:
    return Held(Trip(min(since.values()), 3, Cause.SOURCE), {"shop": since})


def copy(saved: float, *instances: Instance, hold: Held | None = None) -> Copy:
    ids = tuple(sorted(hold.since["shop"])) if hold else ()
    found = InstanceGroup(SHOP, instances, held=ids)
    return decode_copy(encode_copy("vms", "f1", [found], saved, hold))


def test_copy_comes_back_as_it_was() -> None:
    found = copy(1000.0, A, B, hold=held(b=990.0))

    assert found.groups == [InstanceGroup(SHOP, (A, B), held=("b",))]
    assert found.header.held == held(b=990.0)
    assert (found.header.source, found.header.fingerprint, found.header.saved) == ("vms", "f1", 1000.0)


def test_copy_of_another_release_is_told_from_a_damaged_one() -> None:
    content = encode_copy("vms", "f1", [], 1000.0).replace(f'"format":{FORMAT}'.encode(), b'"format":1')

    with pytest.raises(OtherFormat, match="format 1 is not"):
        decode_copy(content)


def test_newest_copy_counts_with_what_any_replica_holds() -> None:
    newest = copy(1000.0, A, C, hold=held(c=995.0))
    older = copy(900.0, A, B, hold=held(b=890.0))

    [found] = (one := united([older, newest])).groups

    assert [each.id for each in found.instances] == ["a", "b", "c"]
    assert found.held == ("b", "c")
    assert one.header.saved == 1000.0
    assert one.header.held is not None
    assert one.header.held.since == {"shop": {"b": 890.0, "c": 995.0}}


def test_held_service_that_the_newest_copy_lacks_comes_with_the_union() -> None:
    empty = decode_copy(encode_copy("vms", "f1", [], 1000.0))
    older = copy(900.0, A, B, hold=held(b=890.0))

    found = united([empty, older])

    assert found.groups == [InstanceGroup(SHOP, (B,), held=("b",))]
    assert found.header.held == held(b=890.0)


def test_instance_that_is_back_is_not_held_by_the_union() -> None:
    newest = copy(1000.0, A, B)
    older = copy(900.0, A, B, hold=held(b=890.0))

    assert united([newest, older]).groups == newest.groups
