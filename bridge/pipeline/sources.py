"""How each source fares, and whether that is enough to give answers."""

from collections.abc import Iterable
from dataclasses import dataclass

from meshbridge.schemas.registry import FullSync, Labels, SourceReport, SourceState

NEVER_SEEN_OTHERWISE = (
    "empty, and never seen otherwise; set allow_empty: true, or say `meshbridge release {}`, if that is meant"
)
FILLING = "it was empty and is filling up; answers wait until no instance came for a while (safety.refill)"


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
    allow_empty: bool = False
    """Whether it is believed when it has nothing at all."""
    is_doubted: bool = False
    """Whether it was read and had nothing, which a registry that was just restarted says, too."""
    retained_as_of: float | None = None
    """When a registry last said what is known from an earlier run, or from another replica."""
    left_synced: float | None = None
    """When it was last synced, before its present trouble."""
    grew: float | None = None
    """Monotonic seconds at which instances last came to a doubted source; None before the first."""

    @property
    def is_known(self) -> bool:
        """Whether there are groups of it, read or retained, that can stand for what the registry has."""
        return self.is_synced or self.is_retained

    def __post_init__(self) -> None:
        """Begin with nothing said."""
        self._reported = SourceReport(self.state)

    def report(self, report: SourceReport, now: float) -> bool:
        """Take what the adapter says of itself and return whether the state changed."""
        self._reported = report
        is_fine = report.state is SourceState.SYNCED
        state = SourceState.EMPTY if is_fine and self.is_doubted else report.state
        changed = state is not self.state
        if changed:
            self.left_synced = now if self.state is SourceState.SYNCED else self.left_synced
            self.state, self.since = state, now
        self.error = "; ".join(text for text in ("" if is_fine else report.reason, self._doubt_text) if text)
        self.details = report.details
        return changed

    def believes(self, sync: FullSync) -> bool:
        """Whether a full read can be taken for the truth when nothing is known to compare it with."""
        return has_instances(sync) or sync.empty_is_meant or self.allow_empty

    def doubt(self, now: float) -> bool:
        """Note that it was read and has nothing, which nobody said is meant; return whether that is news."""
        is_news = not self.is_doubted
        self.succeed(now)
        self.is_doubted, self.grew = True, None
        self.report(SourceReport(SourceState.SYNCED, details=self.details), now)
        return is_news

    def grow(self, at: float, now: float) -> None:
        """Note that a doubted source got instances, at a monotonic time: it may be filling up again."""
        self.grew = at
        self.report(self._reported, now)

    @property
    def _doubt_text(self) -> str:
        if not self.is_doubted:
            return ""
        return (NEVER_SEEN_OTHERWISE if self.grew is None else FILLING).format(self.name)

    def as_of(self, now: float) -> float | None:
        """Return as of when what is known of it is true; None when nothing is."""
        if self.is_retained:
            return self.retained_as_of
        if not self.is_synced:
            return None
        return now if self.state is SourceState.SYNCED else self.left_synced

    def restore(self, as_of: float) -> None:
        """Note that groups are known from an earlier run, or from another replica."""
        self.is_retained, self.retained_as_of = True, as_of

    def forget(self) -> None:
        """Note that what was known of it is gone."""
        self.is_synced = self.is_retained = False

    def succeed(self, now: float) -> None:
        """Note that data came from the registry."""
        self.last_success = now

    def sync(self, now: float) -> None:
        """Note that everything the registry has is known."""
        self.succeed(now)
        self.is_synced, self.is_retained, self.is_doubted, self.grew = True, False, False, None
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


def has_instances(sync: FullSync) -> bool:
    """Whether there is any instance in it."""
    return any(group.instances for group in sync.groups)
