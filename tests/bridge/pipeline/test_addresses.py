import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshbridge.bridge.pipeline.addresses import VirtualAddresses
from meshbridge.bridge.pipeline.values import MeshKey

TINY = "241.0.0.0/28"
KEYS = [MeshKey("ns", f"host-{number}.mesh") for number in range(12)]


def addresses(made: VirtualAddresses, keys: set[MeshKey]) -> dict[MeshKey, str]:
    return {key: made.get(key) for key in sorted(keys)}


def fresh(keys: set[MeshKey]) -> dict[MeshKey, str]:
    made = VirtualAddresses(TINY)
    for key in sorted(keys):
        made.take(key)
    return addresses(made, keys)


@pytest.mark.parametrize(
    ("key", "address"),
    [
        (MeshKey("meshbridge", "shop.vms.mesh"), "241.236.85.123"),
        (MeshKey("legacy", "shop.vms.mesh"), "241.87.233.238"),
    ],
)
def test_address_never_changes_from_one_release_to_the_next(key: MeshKey, address: str) -> None:
    made = VirtualAddresses("241.0.0.0/8")

    assert made.take(key) == set()

    assert made.get(key) == address


def test_host_that_asked_for_none_has_none() -> None:
    assert VirtualAddresses(TINY).get(KEYS[0]) == ""
    assert VirtualAddresses(TINY).free(KEYS[0]) == set()


def test_no_two_hosts_share_an_address_and_all_are_of_the_network() -> None:
    made = VirtualAddresses("241.0.0.0/16")
    keys = [MeshKey("ns", f"host-{number}") for number in range(5000)]

    for key in keys:
        made.take(key)

    found = [made.get(key) for key in keys]
    network = ipaddress.ip_network("241.0.0.0/16")
    assert len(set(found)) == len(keys)
    assert all(ipaddress.ip_address(one) in network for one in found)
    assert not {"241.0.0.0", "241.0.255.255", ""} & set(found)


@given(st.lists(st.tuples(st.booleans(), st.sampled_from(KEYS)), max_size=40))
def test_addresses_depend_on_the_hosts_that_there_are_and_on_nothing_else(
    steps: list[tuple[bool, MeshKey]],
) -> None:
    made = VirtualAddresses(TINY)
    present: set[MeshKey] = set()

    for comes, key in steps:
        before = addresses(made, present)
        moved = made.take(key) if comes else made.free(key)
        present = present | {key} if comes else present - {key}
        after = addresses(made, present)

        assert after == fresh(present)
        assert {one for one in after if one in before and before[one] != after[one]} == moved


@given(st.permutations(KEYS))
def test_only_members_of_a_collision_move(keys: list[MeshKey]) -> None:
    made = VirtualAddresses(TINY)
    alone = {key: fresh({key})[key] for key in keys}

    for key in keys:
        made.take(key)

    for key in keys:
        rivals = [other for other in keys if other != key and made.get(other) == alone[key]]
        assert made.get(key) == alone[key] or rivals


def test_network_that_is_full_leaves_a_host_without_an_address() -> None:
    made = VirtualAddresses("241.0.0.0/30")

    for key in KEYS:
        made.take(key)

    found = [made.get(key) for key in KEYS]
    assert sorted(filter(None, found)) == ["241.0.0.1", "241.0.0.2"]
