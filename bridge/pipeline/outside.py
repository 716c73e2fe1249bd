"""What the publisher is given by its surroundings, and what it gives to them."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from meshbridge.bridge.pipeline.bounds import Held
from meshbridge.schemas.registry import InstanceGroup
from meshbridge.schemas.resource import Publication


class PublisherMetrics(Protocol):
    """What the publisher counts."""

    def published(self, publication: Publication) -> None:
        """A snapshot went to the sinks."""

    def sink_failed(self, sink: str) -> None:
        """A sink did not take a snapshot."""

    def tripped(self, source: str) -> None:
        """The guard began to hold a source's losses."""

    def problems(self, stage: str, count: int) -> None:
        """A stage, `merge` or `convert`, found so many things that are not as they should be."""

    def quarantined(self, reason: str) -> None:
        """A mesh service can't be published in its newest state: `refused` by the rules, or a `bug`."""


@dataclass(frozen=True)
class GateSettings:
    """What the first answers wait for."""

    hold: bool = True
    """Whether required sources are waited for without a limit."""
    grace: float = 60.0
    """How long optional sources are waited for. Seconds."""
    max_outage: float | None = None
    """How long what is known of a source outlives that it can't be read. Seconds; None is for ever."""
    refill: float = 30.0
    """How long no instance may have come to a source that was empty until it counts as read. Seconds."""


@dataclass(frozen=True)
class Clocks:
    """Where time comes from."""

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time


SYSTEM_CLOCKS = Clocks()


class Kept(NamedTuple):
    """What is known of a source, as it outlives the process. Times are Unix seconds."""

    groups: Sequence[InstanceGroup]
    """The groups that count, with what the guard holds in them."""
    as_of: float
    held: Held | None = None
