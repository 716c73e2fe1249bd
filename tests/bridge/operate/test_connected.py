from typing import Any

from meshbridge.bridge.operate.connected import check_clients, check_readiness
from meshbridge.bridge.operate.findings import Level


def client(revision: str = "", *types: dict[str, Any]) -> dict[str, Any]:
    return {"id": "istiod-1", "revision": revision, "types": types}


def status(version: str, acked: str, nacks: int, text: str = "") -> dict[str, Any]:
    return {"version": version, "acked": acked, "nacks": nacks, "nackText": text}


def item(revision: str) -> dict[str, Any]:
    return {"object": {"metadata": {"labels": {"istio.io/rev": revision}}}}


def test_ready_bridge_is_ok_and_a_waiting_one_says_for_what() -> None:
    assert check_readiness({"ready": True, "waitingFor": []}).level is Level.OK
    assert "has read vms, zk" in check_readiness({"ready": False, "waitingFor": ["vms", "zk"]}).text


def test_no_client_fails() -> None:
    assert [one.level for one in check_clients([], [])] == [Level.FAILED]


def test_clients_are_counted_with_their_revisions() -> None:
    found = check_clients([client(), client("canary")], [])

    assert [(one.level, one.text) for one in found] == [
        (Level.OK, "2 connected, of revision canary, default")
    ]


def test_refused_answer_fails_with_its_reason() -> None:
    found = check_clients([client("", status("b", "a", 1, "invalid host"))], [])

    assert (found[1].level, found[1].text) == (
        Level.FAILED,
        "istiod-1 refused the newest answer: invalid host",
    )


def test_refusal_of_the_past_is_forgiven() -> None:
    assert len(check_clients([client("", status("b", "b", 3, "invalid host"))], [])) == 1


def test_resources_for_a_revision_without_istiod_are_a_warning() -> None:
    found = check_clients(
        [client("canary")], [item("canary"), item("old"), item("old"), {"object": {"metadata": {}}}]
    )

    assert [(one.level, one.text) for one in found[1:]] == [
        (Level.WARNING, "2 resources are for revision old, of which no istiod is connected")
    ]
