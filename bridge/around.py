"""What `explain` tells beside the pipeline's steps: how the source fares, and who has the result. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from meshbridge.bridge.pipeline.explain import Explanation, Step
from meshbridge.bridge.pipeline.sources import Source
from meshbridge.mcp.clients import ClientStatus, TypeStatus
from meshbridge.schemas.registry import SourceState

_SHOWN = 5
_KIND = "/ServiceEntry"


def with_surroundings(
    found: Explanation, sources: Mapping[str, Source], clients: Sequence[ClientStatus], now: float
) -> Explanation:
    """Return the explanation with a step before its own and, where something is served, one behind.

    Args:
        found: the pipeline's explanation.
        sources: all sources by name.
        clients: who is connected.
        now: Unix seconds.
    """
    # The name of a source that was split has a slash in it, so the longest that fits is meant.
    names = [name for name in sources if found.subject.startswith(f"{name}/")]
    before = [source_step(sources[max(names, key=len)], now)] if names else []
    behind = [clients_step(clients)] if found.served else []
    return Explanation(found.subject, found.served, (*before, *found.steps, *behind))


def source_step(source: Source, now: float) -> Step:
    """Return where something was seen, and as of when that is true."""
    as_of = source.as_of(now)
    when = f"as of {datetime.fromtimestamp(as_of, UTC):%Y-%m-%d %H:%M:%SZ}" if as_of else "never read"
    kept = ", from an earlier run or another replica" if source.is_retained else ""
    trouble = f": {source.error}" if source.error else ""
    verdict = "ok" if source.state is SourceState.SYNCED else "warning"
    return Step("source", verdict, f"{source.name} ({source.kind}) is {source.state}, {when}{kept}{trouble}")


def clients_step(clients: Iterable[ClientStatus]) -> Step:
    """Return who has acknowledged the newest ServiceEntries, and who has not and why."""
    asked = [
        (client.id, kind) for client in clients for kind in client.types if kind.type_url.endswith(_KIND)
    ]
    if not asked:
        return Step("clients", "waiting", "no client that wants ServiceEntries is connected")
    behind = [f"{name}: {_lack(kind)}" for name, kind in asked if not _is_newest(kind)]
    text = f"{len(asked) - len(behind)} of {len(asked)} clients have acknowledged the newest ServiceEntries"
    if not behind:
        return Step("clients", "ok", text)
    return Step("clients", "warning", "; ".join([text, *behind[:_SHOWN]]))


def _is_newest(kind: TypeStatus) -> bool:
    return kind.version == kind.acked != ""


def _lack(kind: TypeStatus) -> str:
    if kind.nack_text:
        return f"refused: {kind.nack_text}"
    return "not acknowledged yet" if kind.version else "nothing sent yet"
