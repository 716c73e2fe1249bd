import json

import pytest

from meshbridge.bridge.kubernetes.answers import Outcome, Result, judge


def status(message: str, reason: str = "", **details: object) -> bytes:
    return json.dumps({"kind": "Status", "message": message, "reason": reason, "details": details}).encode()


@pytest.mark.parametrize(
    ("code", "body", "result"),
    [
        (200, b"{}", Result.DONE),
        (201, b"{}", Result.DONE),
        (401, status("Unauthorized"), Result.DENIED),
        (403, status("forbidden"), Result.DENIED),
        (404, status('namespaces "x" not found', "NotFound", kind="namespaces"), Result.NO_NAMESPACE),
        (404, status('serviceentries "x" not found', "NotFound", kind="serviceentries"), Result.STALE),
        (404, b"404 page not found\n", Result.NO_KIND),
        (404, status("the server could not find the requested resource", "NotFound"), Result.NO_KIND),
        (409, status("the object has been modified", "Conflict"), Result.STALE),
        (413, b"", Result.TOO_LARGE),
        (422, status("spec.hosts: Required value", "Invalid"), Result.REFUSED),
        (422, status("uid", "Invalid", causes=[{"field": "metadata.uid"}]), Result.STALE),
        (429, b"Too many requests, please try again later.\n", Result.BUSY),
        (500, status("etcdserver: request is too large"), Result.TOO_LARGE),
        (
            500,
            status("failed to create typed patch object: .spec.x: field not declared in schema"),
            Result.REFUSED,
        ),
        (500, status("etcdserver: mvcc: database space exceeded"), Result.UNAVAILABLE),
        (503, b"", Result.UNAVAILABLE),
        (504, status("Timeout", "Timeout"), Result.UNAVAILABLE),
    ],
)
def test_answers_mean_what_kubernetes_says(code: int, body: bytes, result: Result) -> None:
    assert judge(code, body).result is result


def test_conflict_of_field_managers_names_fields_and_managers() -> None:
    causes = [{"reason": "FieldManagerConflict", "field": ".spec.hosts", "message": 'conflict with "argocd"'}]

    found = judge(409, status("Apply failed with 1 conflict", "Conflict", causes=causes))

    assert found == Outcome(Result.CONFLICT, 'others keep fields of it: .spec.hosts (conflict with "argocd")')


def test_server_may_say_how_long_to_wait() -> None:
    assert judge(429, b"", 7.0).retry_after == 7.0
    assert judge(429, b"").retry_after == 1.0
    assert judge(504, status("Too large resource version", retryAfterSeconds=3)).retry_after == 3.0


def test_full_etcd_is_called_that() -> None:
    assert judge(500, status("etcdserver: mvcc: database space exceeded")).text.startswith("etcd is full")


def test_long_answers_are_cut() -> None:
    assert len(judge(500, b"x" * 10_000).text) == 300
