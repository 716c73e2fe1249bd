"""What the clients of a bridge tell about the way to istiod. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from meshbridge.bridge.operate.accepted import REVISION_LABEL
from meshbridge.bridge.operate.findings import Finding, failed, ok, warning

Item = Mapping[str, Any]


def check_readiness(readiness: Item) -> Finding:
    """Return whether the bridge gives answers."""
    if readiness["ready"]:
        return ok("bridge", "is ready")
    waiting = ", ".join(readiness["waitingFor"])
    return failed("bridge", f"holds its answers until it has read {waiting}; an istiod that starts now waits")


def check_clients(clients: Sequence[Item], resources: Iterable[Item]) -> list[Finding]:
    """Return who is connected, what was refused, and what no connected istiod takes.

    `clients` and `resources` are items of the admin interface; the latter ones with their `object`.
    """
    if not clients:
        return [
            failed(
                "istiod",
                "none is connected to the bridge; it reads configSources only when it starts, "
                "and its network has to reach the bridge",
            )
        ]
    revisions = sorted({client["revision"] or "default" for client in clients})
    found = [ok("istiod", f"{len(clients)} connected, of revision {', '.join(revisions)}")]
    found += [_refusal(client) for client in clients if any(_is_refused(one) for one in client["types"])]
    return [*found, *_foreign_revisions(revisions, resources)]


def _is_refused(status: Item) -> bool:
    return bool(status["nacks"]) and status["version"] != status["acked"]


def _refusal(client: Item) -> Finding:
    texts = {status["nackText"] for status in client["types"] if _is_refused(status)}
    return failed("istiod", f"{client['id']} refused the newest answer: {'; '.join(sorted(texts))}")


def _foreign_revisions(revisions: Sequence[str], resources: Iterable[Item]) -> list[Finding]:
    wanted: dict[str, int] = {}
    for item in resources:
        revision = item["object"]["metadata"].get("labels", {}).get(REVISION_LABEL, "")
        if revision and revision not in revisions:
            wanted[revision] = wanted.get(revision, 0) + 1
    return [
        warning("revision", f"{count} resources are for revision {revision}, of which no istiod is connected")
        for revision, count in sorted(wanted.items())
    ]
