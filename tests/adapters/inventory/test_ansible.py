"""Ansible's structure where golden files would say too little: limits, cycles, ranges."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshbridge.adapters.inventory.formats import ansible
from meshbridge.adapters.inventory.formats.checks import Refused
from meshbridge.adapters.inventory.formats.options import AnsibleNames
from meshbridge.adapters.inventory.formats.ranges import expand
from meshbridge.schemas.errors import PayloadError

NAMES = AnsibleNames(groups={"web": "web"})


@pytest.mark.parametrize(
    ("root", "message"),
    [
        ({"web": {"children": ["a"]}, "a": {"children": ["web"]}}, "a group contains itself"),
        ({"web": {"hosts": {"n[1:300000]": None}}}, "more than 200000 hosts"),
        ({"web": {"hosts": {"n[1:500][1:500]": None}}}, "more than 200000 hosts"),
        ({"web": {"hosts": {"a[1:150000]": None, "b[1:150000]": None}}}, "more than 200000 hosts"),
        ({"web": {"hosts": {"n[5:1]": None}}}, "is empty"),
        ({"web": {"hosts": {"n[1:5:0]": None}}}, "can't be counted"),
        ({"web": {"hosts": {"n[1:a]": None}}}, "can't be counted"),
        ({"web": {"hosts": 5}}, "hosts of group web: a mapping is needed"),
        ({"web": "text"}, "group web: a mapping is needed"),
        (["text"], "an inventory is a mapping"),
    ],
)
def test_an_inventory_that_is_refused(root, message) -> None:
    with pytest.raises(PayloadError, match=message):
        ansible.parse([root], "a.yaml", NAMES)


def test_without_a_mapped_group_nothing_can_be_read() -> None:
    with pytest.raises(PayloadError, match=r"ansible\.groups.* maps no group"):
        ansible.parse([{"web": {"hosts": ["a"]}}], "a.json", AnsibleNames())


def test_a_group_reached_twice_is_read_once() -> None:
    tree = {
        "web": {"children": ["left", "right"]},
        "left": {"children": ["leaf"]},
        "right": {"children": ["leaf"]},
    }
    root = {**tree, "leaf": {"hosts": ["h"], "vars": {"mesh_port": 80}}}

    found = ansible.parse([root], "a.json", NAMES)

    assert [record.instance.id for record in found.records] == ["web/h/80"]


def test_the_number_of_variables_kept_is_bounded() -> None:
    variables = {f"v{number:03}": "x" for number in range(100)} | {"mesh_port": 80}

    found = ansible.parse([json.loads(json.dumps({"web": {"hosts": {"h": variables}}}))], "a.yaml", NAMES)

    assert len(found.records[0].instance.metadata) == 65


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("plain", ["plain"]),
        ("pg[01:03]", ["pg01", "pg02", "pg03"]),
        ("n[8:10].x", ["n8.x", "n9.x", "n10.x"]),
        ("n[0:10:5]", ["n0", "n5", "n10"]),
        ("db-[a:c]", ["db-a", "db-b", "db-c"]),
        ("r[1:2]n[1:2]", ["r1n1", "r1n2", "r2n1", "r2n2"]),
        ("[::1]", ["[::1]"]),
    ],
)
def test_ranges(pattern, expected) -> None:
    assert expand(pattern, 100) == expected


@given(st.text("[]:01a9z-", max_size=12))
def test_any_pattern_expands_or_is_refused(pattern) -> None:
    with suppress(Refused):
        assert 1 <= len(expand(pattern, 50)) <= 50
