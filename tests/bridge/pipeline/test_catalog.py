from meshbridge.bridge.pipeline.catalog import Catalog, Change
from meshbridge.schemas.registry import Instance, InstanceGroup, Note, Port, ServiceKey, group

KEY = ServiceKey("vms", "shop")


def vm(name: str, address: str = "10.0.0.1") -> Instance:
    return Instance(name, address, (Port("http", 80),))


def stored(*groups: InstanceGroup) -> Catalog:
    catalog = Catalog()
    catalog.store(catalog.compare(groups))
    return catalog


def test_unchanged_instances_stay_the_same_objects() -> None:
    kept, moved = vm("a"), vm("b")
    catalog = stored(group(KEY, [kept, moved]))

    [change] = catalog.compare([group(KEY, [vm("a"), vm("b", "10.0.0.9"), vm("c")])])

    a, b, c = change.new.instances
    assert a is kept
    assert b == vm("b", "10.0.0.9")
    assert c == vm("c")


def test_equal_group_is_no_change() -> None:
    catalog = stored(group(KEY, [vm("a")]))

    assert catalog.compare([group(KEY, [vm("a")])]) == []


def test_comparing_stores_nothing() -> None:
    catalog = Catalog()

    changes = catalog.compare([group(KEY, [vm("a")])])

    assert changes == [Change(InstanceGroup(KEY), group(KEY, [vm("a")]))]
    assert catalog.get(KEY) == InstanceGroup(KEY)
    assert list(catalog.groups("vms")) == []


def test_changed_attributes_are_a_change_though_the_instances_are_shared() -> None:
    catalog = stored(group(KEY, [vm("a")]))
    before = catalog.get(KEY).instances[0]

    [change] = catalog.compare([group(KEY, [vm("a")], {"host": "shop.example"})])

    assert change.new.attributes == (("host", "shop.example"),)
    assert change.new.instances[0] is before


def test_missing_names_the_groups_that_a_full_sync_lacks() -> None:
    other = ServiceKey("vms", "pay")
    catalog = stored(group(KEY, [vm("a")]), group(other, [vm("b")]))

    changes = catalog.missing("vms", ["shop"])

    assert changes == [Change(group(other, [vm("b")]), InstanceGroup(other))]
    assert catalog.missing("vms", ["shop", "pay"]) == []
    assert catalog.missing("other", []) == []


def test_empty_group_removes() -> None:
    catalog = stored(group(KEY, [vm("a")]))

    catalog.store(catalog.compare([group(KEY, [])]))

    assert list(catalog.groups("vms")) == []
    assert catalog.compare([group(KEY, [])]) == []


def test_removing_a_group_that_is_not_there_changes_nothing() -> None:
    catalog = Catalog()

    catalog.store([Change(InstanceGroup(KEY), InstanceGroup(KEY))])

    assert list(catalog.groups("vms")) == []


def test_group_with_notes_alone_is_kept_for_explaining() -> None:
    noted = group(KEY, [], notes=[Note("vms.yaml:3", "port 0 is none")])

    catalog = stored(noted)

    assert list(catalog.groups("vms")) == [noted]


def test_sources_do_not_mix() -> None:
    elsewhere = ServiceKey("other", "shop")
    catalog = stored(group(KEY, [vm("a")]), group(elsewhere, [vm("b")]))

    catalog.forget("vms")
    catalog.forget("never-known")

    assert list(catalog.groups("vms")) == []
    assert catalog.get(elsewhere) == group(elsewhere, [vm("b")])
