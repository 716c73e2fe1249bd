from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshbridge.bridge.cli.kinds import Listing, find
from meshbridge.bridge.cli.watch import Event, changes


def listing(word: str) -> Listing:
    found = find(word)
    assert found is not None
    return found


def source(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "state": "synced", "lastSuccess": 1.0, "details": {}, **more}


def test_what_is_new_changed_and_gone_is_told_apart() -> None:
    before = [source("gone"), source("same"), source("moved")]
    after = [source("moved", state="stale"), source("new"), source("same")]

    found = changes(listing("sources"), before, after)

    assert [(change.event, change.item["name"]) for change in found] == [
        (Event.MODIFIED, "moved"),
        (Event.ADDED, "new"),
        (Event.DELETED, "gone"),
    ]


@pytest.mark.parametrize("more", [{"lastSuccess": 2.0}, {"details": {"reads": "7"}}])
def test_news_without_content_is_no_change(more: dict[str, Any]) -> None:
    assert changes(listing("sources"), [source("a")], [source("a", **more)]) == []


names = st.dictionaries(st.text("abc", min_size=1, max_size=2), st.sampled_from("xyz"))


@given(names, names)
def test_changes_turn_the_old_list_into_the_new(old: dict[str, str], new: dict[str, str]) -> None:
    def items(states: dict[str, str]) -> list[dict[str, Any]]:
        return [{"namespace": state, "name": name, "ready": state} for name, state in sorted(states.items())]

    kind = listing("services")
    known = {kind.identity(item): item for item in items(old)}

    for change in changes(kind, items(old), items(new)):
        if change.event is Event.DELETED:
            del known[kind.identity(change.item)]
        else:
            known[kind.identity(change.item)] = dict(change.item)

    assert known == {kind.identity(item): item for item in items(new)}


def test_a_workload_group_shows_its_template() -> None:
    item = {
        "object": {
            "metadata": {"namespace": "legacy", "name": "shop"},
            "spec": {"template": {"serviceAccount": "shop", "ports": {"http": 8080}}},
        },
        "ready": 0,
        "total": 0,
        "sources": [],
        "created": 0.0,
    }

    assert listing("wg").row(item, 10.0) == ["legacy", "shop", "shop", "8080/http", "0/0", "", "10s"]
