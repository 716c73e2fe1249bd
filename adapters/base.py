"""The contract between meshbridge and an adapter, the code that watches one kind of registry.

tests/contract.py holds these clauses as tests:

C1  The first data event is a `FullSync`, also when the registry is empty (whether that is believed is
    the bridge's decision; where the registry itself says that it is meant, `empty_is_meant`).
C2  Group keys carry the source's name and are unique within a `FullSync`.
C3  An added instance arrives in a group that holds the whole set.
C4  The last instance leaving gives an empty group.
C5  A failing read emits nothing and raises `RegistryUnavailable`; never an empty `FullSync`.
C6  A malformed record never hides its neighbours and never passes silently (a note and a counter);
    its last good reading is kept while the record exists.
C7  After an outage `run()` again gives a `FullSync` with what was missed, deletions included.
C8  Cancelling ends `run()` within a second; no task, socket or process is left.
C9  `run()` may be called again, also after it raised.
C10 Equal registry state gives equal groups, whatever the order of the reply.
C11 No secret appears in a repr, log line, metric or error.
C12 The metrics of the context move.
C13 With a slow `emit`, states between may be skipped, the last one never is.

Not a clause, but wanted: services that change together come in one `FullSync`, so that the guard sees
a mass removal whole, before its first part is gone.
"""

import time
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Protocol, Self

from meshbridge.adapters.probing.settings import ProbeSettings
from meshbridge.schemas.registry import InstanceGroup, SourceEvent
from meshbridge.schemas.settings import Name, StrictModel

Emit = Callable[[SourceEvent], Awaitable[None]]
"""Takes an event. It is awaited, so a slow consumer slows the adapter."""


class Adapter(Protocol):
    """Watches one source."""

    @property
    def name(self) -> str:
        """The source's configured name."""

    async def run(self, emit: Emit) -> None:
        """Watch until cancelled, by the clauses above.

        Raises:
            RegistryError: the registry can't be read; the caller decides when to run again.
        """


class AdapterMetrics(Protocol):
    """The counters every adapter moves."""

    def attempt(self) -> None:
        """One read of the registry begins."""

    def success(self) -> None:
        """A read gave a usable answer."""

    def error(self, reason: str) -> None:
        """A read failed; `reason` is one of a few fixed words."""

    def rejected(self, reason: str) -> None:
        """One record was skipped; `reason` is one of a few fixed words."""

    def strategy(self, name: str) -> None:
        """The registry is followed in this way now; `name` is one of a few fixed words."""

    def level(self, what: str, value: float) -> None:
        """A quantity of the adapter, such as a budget, is this now; `what` is one of a few fixed words."""


class NoMetrics:
    """Counts nothing."""

    def attempt(self) -> None:
        """Do nothing."""

    def success(self) -> None:
        """Do nothing."""

    def error(self, reason: str) -> None:
        """Do nothing."""

    def rejected(self, reason: str) -> None:
        """Do nothing."""

    def strategy(self, name: str) -> None:
        """Do nothing."""

    def level(self, what: str, value: float) -> None:
        """Do nothing."""


def _nothing_known() -> Mapping[str, InstanceGroup]:
    return {}


@dataclass(frozen=True)
class AdapterContext:
    """What an adapter gets from its surroundings."""

    source: str
    metrics: AdapterMetrics = field(default_factory=NoMetrics)
    clock: Callable[[], float] = time.monotonic
    previous: Callable[[], Mapping[str, InstanceGroup]] = _nothing_known
    """Groups known from before by service name, to seed last good readings."""


class AdapterConfig(StrictModel):
    """What the configuration of every source has in common."""

    name: Name
    """Name of the source: part of host names, metrics and messages."""
    required: bool = True
    """Whether answers wait for this source's first full read (or its retained copy) at start."""
    unessential: ClassVar[frozenset[str]] = frozenset({"required", "allow_empty", "probe"})
    """Settings that do not say which registry this is: retained groups outlive a change of them."""
    allow_empty: bool = False
    """Whether the source may turn out to have no instances at all. Default: no, since a registry that was
    just restarted, or lost its data, looks the same: answers wait, or what was known of it stays, until
    `meshbridge release SOURCE`."""
    probe: ProbeSettings | None = None
    """Active checks of this source's instances. Default: none, the registry's word on health stands."""

    @abstractmethod
    def build(self, context: AdapterContext) -> Adapter:
        """Return the adapter that this part of the configuration describes."""

    def expand(self) -> list[Self]:
        """Return one entry for each failure domain, named `name/part` where there are several."""
        return [self]
