"""Views: what some clients may see, shared by them."""

from hypothesis import given
from hypothesis import strategies as st

from meshbridge.mcp.codec import DELTA, LEGACY, SOTW
from meshbridge.mcp.content import Framed
from meshbridge.mcp.view import EVERYTHING, Scope, View
from meshbridge.schemas.protobuf import delimited, string
from meshbridge.schemas.resource import EMPTY_COLLECTION, Kind, ResourceKey

SE = "networking.istio.io/v1/ServiceEntry"
WE = "networking.istio.io/v1/WorkloadEntry"
FRAME = delimited(2, string(1, "type.googleapis.com/istio.mcp.v1alpha1.Resource") + delimited(2, b""))


def framed(
    name: str, version: str = "1", namespace: str = "legacy", kind: Kind = Kind.SERVICE_ENTRY
) -> Framed:
    return Framed(ResourceKey(kind, namespace, name), version, FRAME)


def names(view: View, kind: Kind = Kind.SERVICE_ENTRY) -> list[str]:
    return list(view.names(kind))


def test_scope_without_kinds_and_namespaces_has_everything() -> None:
    assert framed("a").key in Scope()


def test_scope_has_what_is_in_its_kinds_and_its_namespaces() -> None:
    scope = Scope(frozenset({Kind.SERVICE_ENTRY}), frozenset({"legacy"}))

    assert framed("a").key in scope
    assert framed("a", namespace="other").key not in scope
    assert framed("a", kind=Kind.WORKLOAD_ENTRY).key not in scope


def test_narrowed_view_has_what_any_scope_allows_now_and_later() -> None:
    whole = View()
    whole.apply(1, [framed("a"), framed("b", namespace="shop"), framed("c", namespace="other")], [])
    narrow = whole.narrowed(frozenset({Scope(namespaces=frozenset({n})) for n in ("legacy", "shop")}))
    assert names(narrow) == ["legacy/a", "shop/b"]

    later = [framed("d"), framed("e", namespace="other")]
    narrow.apply(2, later, [framed("b", namespace="shop").key, framed("c", namespace="other").key])

    assert names(narrow) == ["legacy/a", "legacy/d"]
    assert narrow.changed_since(Kind.SERVICE_ENTRY, 1) == ["legacy/d", "shop/b"]


def test_change_that_a_view_does_not_show_leaves_its_answer_as_it_is() -> None:
    view = View(frozenset({Scope(namespaces=frozenset({"legacy"}))}))
    view.apply(1, [framed("a")], [])
    before = view.current(SE)

    view.apply(2, [framed("x", namespace="other")], [])

    assert view.current(SE) is before
    assert view.changed_in(Kind.SERVICE_ENTRY) == 1


def test_kinds_that_a_view_does_not_show_are_held_and_then_empty() -> None:
    view = View(frozenset({Scope(kinds=frozenset({Kind.SERVICE_ENTRY}))}))
    assert view.current(WE) is None

    view.apply(1, [framed("w", kind=Kind.WORKLOAD_ENTRY)], [])

    assert names(view, Kind.WORKLOAD_ENTRY) == []
    assert view.versions([WE]) == {WE: EMPTY_COLLECTION.version}


def test_answers_of_each_form_and_start_are_shared_until_the_next_change() -> None:
    view = View()
    view.apply(1, [framed("a")], [])
    view.apply(2, [framed("b")], [])
    wanted = [
        (SOTW, SE, 0),
        (DELTA, SE, 0),
        (DELTA, SE, 1),
        (LEGACY, "istio/networking/v1alpha3/serviceentries", 0),
    ]

    first = [view.answer(*what) for what in wanted]

    assert [view.answer(*what) for what in wanted] == first
    assert all(view.answer(*what) is found for what, found in zip(wanted, first, strict=True))
    view.apply(3, [framed("b", "2")], [])
    assert not any(view.answer(*what) is found for what, found in zip(wanted, first, strict=True))


def test_few_answers_are_kept() -> None:
    view = View()
    for generation in range(1, 21):
        view.apply(generation, [framed("a", str(generation))], [])
    first = view.answer(DELTA, SE, 1)

    for since in range(2, 20):
        view.answer(DELTA, SE, since)

    assert view.answer(DELTA, SE, 1) is not first


def test_what_is_held_has_no_answer_for_names() -> None:
    assert View().answer_of(DELTA, SE, ["legacy/a"]) is None


def test_removals_are_remembered_in_bounds() -> None:
    view = View()
    view.apply(1, [framed("keep")], [])
    for generation in range(2, 6000, 2):
        view.apply(generation, [framed(f"n{generation}")], [])
        view.apply(generation + 1, [], [framed(f"n{generation}").key])

    assert view.changed_since(Kind.SERVICE_ENTRY, 1) is None
    recent = view.changed_since(Kind.SERVICE_ENTRY, view.generation - 1000)
    assert recent is not None
    assert len(recent) == 500
    assert view.answer(DELTA, SE, 1) is None


changes = st.lists(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["l", "s"]), st.integers(0, 2)), max_size=4),
    max_size=8,
)


@given(changes, st.integers(0, 7))
def test_narrowing_early_or_late_shows_the_same(story: list[list[tuple[str, str, int]]], when: int) -> None:
    scopes = frozenset({Scope(namespaces=frozenset({"l"}))})
    whole, early, late = View(EVERYTHING), View(scopes), None
    for generation, step in enumerate(story, 1):
        put = [framed(n, str(v), namespace) for n, namespace, v in dict.fromkeys(step) if v]
        gone = [framed(n, "", namespace).key for n, namespace, v in step if not v]
        for view in filter(None, (whole, early, late)):
            view.apply(generation, put, gone)
        if generation == when:
            late = whole.narrowed(scopes)
    late = late or whole.narrowed(scopes)

    for since in range(len(story) + 1):
        assert late.changed_since(Kind.SERVICE_ENTRY, since) == early.changed_since(Kind.SERVICE_ENTRY, since)
    assert late.versions([SE]) == early.versions([SE])
    assert sorted(names(late)) == sorted(names(early))


def test_services_go_first_while_workloads_leave() -> None:
    view = View()
    workloads = [framed(name, kind=Kind.WORKLOAD_ENTRY) for name in ("v", "w")]
    view.apply(1, workloads, [])
    assert not view.services_first

    view.apply(2, [framed("a")], [workloads[0].key])
    assert view.services_first
    assert view.narrowed(EVERYTHING).services_first

    view.apply(3, [framed("a", "2")], [])
    assert view.services_first  # For clients that are not there yet.

    view.apply(4, [framed("v", kind=Kind.WORKLOAD_ENTRY)], [])
    assert not view.services_first
