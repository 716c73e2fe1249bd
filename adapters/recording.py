"""Recordings of what adapters say: for bug reports, and for benchmarks with real registries' events.

File: JSON Lines. The first is a `Header`; every other is a `Line`: seconds since the start, and one event as
`schemas/registry.py` has it. A recording ends at its bound with a line that says so. It holds what adapters
emit, which has no secrets in it; addresses and metadata it does hold.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Literal

import msgspec
from typing_extensions import override

from meshbridge.adapters.base import Adapter, AdapterConfig, AdapterContext, Emit
from meshbridge.schemas.errors import RegistryUnavailable
from meshbridge.schemas.registry import (
    FullSync,
    GroupUpdate,
    InstanceGroup,
    ServiceKey,
    SourceEvent,
    SourceReport,
)

FORMAT = "meshbridge-recording/1"
MAX_LINE = 256 << 20
"""Bytes of a line that is read at most."""


class Header(msgspec.Struct, frozen=True):
    """The first line."""

    format: str
    source: str


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """One event."""

    at: float
    """Seconds since the recording began."""
    sync: FullSync | None = None
    update: GroupUpdate | None = None
    report: SourceReport | None = None
    end: str = ""
    """Why the recording ends before the registry did."""


class Recording:
    """Wraps an adapter and writes down what it says, until the file has its greatest size."""

    def __init__(
        self, inner: Adapter, file: BinaryIO, max_bytes: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._inner = inner
        self._file = file
        self._left = max_bytes
        self._clock = clock
        self._began = clock()
        self._is_full = False
        self._write(msgspec.json.encode(Header(FORMAT, inner.name)))

    @property
    def name(self) -> str:
        """The source's configured name."""
        return self._inner.name

    async def run(self, emit: Emit) -> None:
        """Run the adapter, writing down each event before it is passed on.

        Raises:
            RegistryError: the adapter raised it.
        """

        async def noting(event: SourceEvent) -> None:
            self._note(event)
            await emit(event)

        await self._inner.run(noting)

    def _note(self, event: SourceEvent) -> None:
        at = round(self._clock() - self._began, 6)
        if isinstance(event, FullSync):
            line = Line(at, sync=event)
        elif isinstance(event, GroupUpdate):
            line = Line(at, update=event)
        else:
            line = Line(at, report=event)
        content = msgspec.json.encode(line)
        if self._is_full:
            return
        if len(content) >= self._left:
            self._is_full = True
            content = msgspec.json.encode(Line(at, end="the recording has its greatest size"))
        self._write(content)

    def _write(self, content: bytes) -> None:
        self._left -= len(content) + 1
        self._file.write(content + b"\n")
        self._file.flush()


class ReplayConfig(AdapterConfig):
    """A recording in place of a registry."""

    kind: Literal["replay"] = "replay"
    """Kind of the source: `replay`."""
    file: str
    """The recording."""
    speed: float = 1.0
    """How many times faster than it was; 0 as fast as possible."""

    @override
    def build(self, context: AdapterContext) -> Adapter:
        return Replay(self, context)


class Replay:
    """Says what a recording holds, under its own name, and then nothing more."""

    def __init__(self, config: ReplayConfig, context: AdapterContext) -> None:
        self._config = config
        self._context = context

    @property
    def name(self) -> str:
        """The source's configured name."""
        return self._context.source

    async def run(self, emit: Emit) -> None:
        """Emit every event, and wait until cancelled.

        Raises:
            RegistryUnavailable: the file can't be read, or is none of ours.
        """
        began = self._context.clock()
        self._context.metrics.attempt()
        try:
            for line in read(Path(self._config.file)):
                if self._config.speed:
                    due = began + line.at / self._config.speed
                    await asyncio.sleep(max(0.0, due - self._context.clock()))
                if (event := renamed(line, self.name, self._context.clock())) is not None:
                    await emit(event)
        except (OSError, ValueError, RecursionError) as error:
            self._context.metrics.error("unreadable")
            raise RegistryUnavailable(self.name, "replay", f"{self._config.file}: {error}") from error
        self._context.metrics.success()
        await asyncio.Event().wait()


def read(path: Path) -> Iterator[Line]:
    """Yield the lines of a recording.

    Raises:
        OSError: it can't be read.
        ValueError: it is no recording, or damaged.
    """
    decoder = msgspec.json.Decoder(Line)
    with path.open("rb") as file:
        header = msgspec.json.decode(file.readline(MAX_LINE), type=Header)
        if header.format != FORMAT:
            raise ValueError(f"format {header.format} is not {FORMAT}")
        while content := file.readline(MAX_LINE):
            if not content.endswith(b"\n"):
                return  # Its writer was stopped in the middle of a line.
            yield decoder.decode(content)


def renamed(line: Line, source: str, now: float) -> SourceEvent | None:
    """Return the event as if this source had said it now; None for a line without one."""
    if line.sync is not None:
        groups = tuple(_renamed(group, source) for group in line.sync.groups)
        return msgspec.structs.replace(line.sync, groups=groups, observed=now)
    if line.update is not None:
        return GroupUpdate(_renamed(line.update.group, source), now)
    return line.report


def _renamed(group: InstanceGroup, source: str) -> InstanceGroup:
    return msgspec.structs.replace(group, key=ServiceKey(source, group.key.name))
