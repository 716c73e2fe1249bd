"""The services of a root, kept in step with its mirror."""

from meshbridge.adapters.zookeeper.groups import Groups
from meshbridge.adapters.zookeeper.layouts.json_layout import JsonLayout
from meshbridge.adapters.zookeeper.layouts.layout import Node
from meshbridge.adapters.zookeeper.layouts.options import JsonOptions
from meshbridge.adapters.zookeeper.tree import Differences
from meshbridge.schemas.registry import Instance, ServiceKey, group


class Forgetful(JsonLayout):
    """Never says whom a change touches."""

    def services(self, path: str, tree: object) -> None:
        return None


def node(address: str) -> Node:
    return Node(f'{{"address": "{address}", "port": 80}}'.encode(), ephemeral=True)


def edits(put: dict[str, Node] | None = None, gone: tuple[str, ...] = ()) -> Differences:
    made = Differences()
    made.put = sorted((put or {}).items())
    made.gone = list(gone)
    return made


def groups_of(layout: JsonLayout | None = None, **previous: object) -> Groups:
    return Groups("zk", layout or JsonLayout(JsonOptions()), previous)


def test_an_edit_touches_its_service_alone() -> None:
    groups = groups_of()

    assert groups.apply(edits({"orders/a": node("10.0.0.1"), "pay/b": node("10.0.0.2")})) == {"orders", "pay"}
    assert groups.apply(edits(gone=("orders",))) == {"orders"}


def test_many_edits_touch_all() -> None:
    assert groups_of().apply(edits({f"orders/{n}": node("10.0.0.1") for n in range(501)})) is None


def test_an_edit_whose_services_are_unknown_touches_all() -> None:
    assert groups_of(Forgetful(JsonOptions())).apply(edits({"orders/a": node("10.0.0.1")})) is None


def test_a_service_that_did_not_change_is_no_news() -> None:
    groups = groups_of()
    groups.apply(edits({"orders/a": node("10.0.0.1")}))

    assert groups.renew("orders") is not None
    assert groups.renew("orders") is None
    assert groups.renew("never-there") is None


def test_a_service_that_left_is_told_once_and_forgotten() -> None:
    groups = groups_of()
    groups.apply(edits({"orders/a": node("10.0.0.1")}))
    groups.renew("orders")

    groups.apply(edits(gone=("orders",)))
    renewal = groups.renew("orders")

    assert renewal is not None
    assert renewal.loses
    assert renewal.new.instances == ()
    assert groups.all() == ()
    assert groups.names() == set()


def test_instances_stay_where_nothing_may_be_lost() -> None:
    known = group(ServiceKey("zk", "orders"), [Instance(id="orders/old", address="10.0.0.9")])
    groups = groups_of(orders=known)
    groups.apply(edits({"orders/a": node("10.0.0.1")}))

    renewal = groups.renew("orders", keep=True)

    assert renewal is not None
    assert not renewal.loses
    assert [found.id for found in renewal.new.instances] == ["orders/a", "orders/old"]
    assert groups.renew("orders", keep=True) is None


def test_a_record_is_refused_once() -> None:
    groups = groups_of()
    groups.apply(edits({"orders/a": Node(b"{"), "orders/b": node("10.0.0.1")}))

    first = groups.renew("orders")
    groups.apply(edits({"orders/c": node("10.0.0.2")}))
    second = groups.renew("orders")

    assert first is not None
    assert list(first.refused()) == ["orders/a"]
    assert not first.loses
    assert second is not None
    assert list(second.refused()) == []
