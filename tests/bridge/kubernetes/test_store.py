import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshbridge.bridge.kubernetes.objects import Observed, observe
from meshbridge.bridge.kubernetes.store import Store
from meshbridge.schemas.errors import PayloadError
from meshbridge.schemas.resource import Kind, ResourceKey


def seen(name: str, version: int, host: str = "", *, ours: bool = True, namespace: str = "a") -> Observed:
    return Observed(
        key=ResourceKey(Kind.SERVICE_ENTRY, namespace, name),
        uid=name,
        resource_version=str(version),
        labels=(),
        annotations=(),
        appliers=("us",) if ours else (),
        has_owner=False,
        is_deleting=False,
        hosts=(host or f"{name}.mesh",),
        digest=b"",
    )


def store() -> Store:
    return Store(lambda found: "us" in found.appliers)


def test_older_state_never_replaces_a_newer_one() -> None:
    known = store()

    assert known.put(seen("x", 5))
    assert not known.put(seen("x", 4))
    assert not known.put(seen("x", 5))
    assert not known.remove(seen("x", 4).key, "4")

    assert known.get(seen("x", 5).key) == seen("x", 5)
    assert known.remove(seen("x", 6).key, "6")
    assert known.get(seen("x", 5).key) is None
    assert not known.remove(seen("x", 6).key, "7")


def test_list_takes_away_what_it_lacks_but_not_what_is_newer() -> None:
    known = store()
    for one in (seen("gone", 3), seen("stays", 4), seen("new", 9), seen("elsewhere", 2, namespace="b")):
        known.put(one)

    news = list(known.replace(Kind.SERVICE_ENTRY, "a", [seen("stays", 4), seen("added", 5)], "6"))

    assert [key.name for key in news] == ["added", "gone"]
    assert sorted(key.name for key in known.ours) == ["added", "elsewhere", "new", "stays"]
    assert known.owned == 4


def test_rivals_are_others_with_the_host_in_the_same_namespace() -> None:
    known = store()
    mine = seen("mine", 1, "shop.mesh")
    known.put(mine)
    assert known.rival(seen("x", 0).key, ["shop.mesh"]) == ""

    known.put(seen("theirs", 2, "shop.mesh", ours=False))
    known.put(seen("far", 3, "pay.mesh", ours=False, namespace="b"))

    assert known.has_foreign_hosts("a")
    assert not known.has_foreign_hosts("c")
    assert known.rival(mine.key, ["shop.mesh"]) == "ServiceEntry a/theirs"
    assert known.rival(mine.key, ["pay.mesh"]) == ""
    known.put(seen("theirs", 4, "other.mesh", ours=False))
    assert known.rival(mine.key, ["shop.mesh"]) == ""


def test_object_that_becomes_ours_is_no_rival_any_more() -> None:
    known = store()
    known.put(seen("x", 1, "shop.mesh", ours=False))

    known.put(seen("x", 2, "shop.mesh"))

    assert known.is_ours(seen("x", 0).key)
    assert not known.has_foreign_hosts("a")


@given(st.permutations([seen("x", 1), seen("x", 2, ours=False), seen("x", 3), seen("x", 4, ours=False)]))
def test_order_of_news_does_not_matter(events: list[Observed]) -> None:
    known = store()

    for one in events:
        known.put(one)

    assert known.get(events[0].key) == seen("x", 4, ours=False)
    assert known.owned == 0


def test_what_is_no_object_is_refused() -> None:
    with pytest.raises(PayloadError):
        observe(Kind.SERVICE_ENTRY, b'{"metadata": []}')


def test_spec_of_another_shape_is_seen_as_different() -> None:
    document = {"metadata": {"name": "x"}, "spec": {"hosts": ["a"], "location": "NOWHERE"}}

    assert observe(Kind.SERVICE_ENTRY, json.dumps(document).encode()).digest == b""


def test_ours_is_stirred_when_others_begin_or_cease_to_define_its_host() -> None:
    known = store()
    mine, theirs = seen("mine", 1, "shop.mesh"), seen("theirs", 2, "shop.mesh", ours=False)
    known.put(mine)
    known.put(seen("other", 1, "other.mesh"))

    known.put(seen("elsewhere", 2, "shop.mesh", ours=False, namespace="b"))
    assert known.stirred() == set()
    known.put(theirs)
    assert known.stirred() == {mine.key}
    assert known.stirred() == set()
    known.put(seen("theirs", 3, "else.mesh", ours=False))
    assert known.stirred() == {mine.key}
    assert known.rival(mine.key, mine.hosts) == ""
