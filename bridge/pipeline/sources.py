"""How each source fares, and whether that is enough to give answers."""

from collections.abc import Iterable
from dataclasses import dataclass

from meshbridge.schemas.registry import Labels, SourceReport, SourceState


@dataclass
class Source:
    """One configured source, as the publisher keeps it. Times are Unix seconds unless said otherwise."""

    name: str
    kind: str
    required: bool
    since: float
    state: SourceState = SourceState.CONNECTING
    last_success: float | None = None
    error: str = ""
    details: Labels = ()
    is_synced: bool = False
    """Whether its adapter has given a full sync since the program started."""
    is_retained: bool = False
    """Whether its groups come from an earlier run of the program."""

    @property
    def is_known(self) -> bool:
        """Whether there are groups of it, read or retained, that can stand for what the registry has."""
        return self.is_synced or self.is_retained

    def report(self, report: SourceReport, now: float) -> bool:
        """Take what the adapter says of itself and return whether the state changed."""
        changed = report.state is not self.state
        if changed:
            self.state, self.since = report.state, now
        self.error = "" if report.state is SourceState.SYNCED else report.reason
        self.details = report.details
        return changed

    def succeed(self, now: float) -> None:
        """Note that data came from the registry."""
        self.last_success = now

    def sync(self, now: float) -> None:
        """Note that everything the registry has is known."""
        self.succeed(now)
        self.is_synced, self.is_retained = True, False
        if self.state is not SourceState.SYNCED:
            self.state, self.since, self.error = SourceState.SYNCED, now, ""


def waiting_for(sources: Iterable[Source], age: float, grace: float, *, hold: bool) -> list[str]:
    """Return the sources that the first answers have to wait for.

    Answering without a source makes istiod delete what it knew of it; holding only makes it wait.

    Args:
        sources: all of them.
        age: seconds since the program started.
        grace: how long optional sources are waited for. Seconds.
        hold: whether required sources are waited for without a limit.
    """
    unknown = [source for source in sources if not source.is_known]
    return [source.name for source in unknown if (source.required and hold) or age < grace]
