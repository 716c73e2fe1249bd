import asyncio
import io
import itertools
from pathlib import Path
from typing import Any

import pytest

from meshbridge.adapters.base import AdapterContext, Emit
from meshbridge.adapters.recording import Line, Recording, ReplayConfig, read
from meshbridge.schemas.errors import RegistryUnavailable
from meshbridge.schemas.registry import (
    FullSync,
    GroupUpdate,
    Instance,
    InstanceGroup,
    Port,
    ServiceKey,
    SourceEvent,
    SourceReport,
    SourceState,
    group,
    labels,
)


def shop(source: str, *numbers: int) -> InstanceGroup:
    found = [
        Instance(f"vm-{n}", f"10.0.0.{n}", (Port("http", 80),), labels=labels({"v": "1"})) for n in numbers
    ]
    return group(ServiceKey(source, "shop"), found)


EVENTS: tuple[SourceEvent, ...] = (
    FullSync((shop("vms", 1),), 5.0, empty_is_meant=True),
    SourceReport(SourceState.SYNCED, details=labels({"documents": "1"})),
    GroupUpdate(shop("vms", 1, 2), 7.0),
)


class Said:
    """An adapter that says the events and fails."""

    name = "vms"

    def __init__(self, *events: SourceEvent) -> None:
        self._events = events

    async def run(self, emit: Emit) -> None:
        for event in self._events:
            await emit(event)
        raise RegistryUnavailable("vms", "read", "over")


async def recorded(path: Path, max_bytes: int = 1 << 20) -> list[SourceEvent]:
    passed: list[SourceEvent] = []

    async def emit(event: SourceEvent) -> None:
        passed.append(event)

    ticks = itertools.count(100.0, 2.0)
    with path.open("wb") as file:
        adapter = Recording(Said(*EVENTS), file, max_bytes, clock=lambda: next(ticks))
        with pytest.raises(RegistryUnavailable):
            await adapter.run(emit)
    assert adapter.name == "vms"
    return passed


async def replayed(path: Path, count: int, **settings: Any) -> list[tuple[float, SourceEvent]]:
    loop = asyncio.get_running_loop()
    said: list[tuple[float, SourceEvent]] = []
    enough = asyncio.Event()
    began = loop.time()

    async def emit(event: SourceEvent) -> None:
        said.append((loop.time() - began, event))
        if len(said) == count:
            enough.set()

    config = ReplayConfig(name="again", file=str(path), **settings)
    task = asyncio.create_task(config.build(AdapterContext("again", clock=loop.time)).run(emit))
    await asyncio.wait([task, asyncio.create_task(enough.wait())], return_when=asyncio.FIRST_COMPLETED)
    if not task.done():
        task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        await task
    return said


@pytest.mark.looptime
async def test_recording_passes_everything_on_and_replays_under_another_name(tmp_path: Path) -> None:
    path = tmp_path / "vms.jsonl"

    assert await recorded(path) == list(EVENTS)
    said = await replayed(path, 3)

    sync, report, update = (event for _, event in said)
    assert isinstance(sync, FullSync)
    assert (sync.groups, sync.empty_is_meant) == ((shop("again", 1),), True)
    assert report == EVENTS[1]
    assert isinstance(update, GroupUpdate)
    assert update.group == shop("again", 1, 2)
    assert [at for at, _ in said] == pytest.approx([2.0, 4.0, 6.0], abs=0.01)


@pytest.mark.looptime
@pytest.mark.parametrize(("speed", "last"), [(2.0, 3.0), (0.0, 0.0)])
async def test_replay_is_as_fast_as_one_says(tmp_path: Path, speed: float, last: float) -> None:
    await recorded(tmp_path / "vms.jsonl")

    said = await replayed(tmp_path / "vms.jsonl", 3, speed=speed)

    assert said[-1][0] == pytest.approx(last, abs=0.01)


async def test_recording_is_bounded_and_says_where_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "vms.jsonl"

    assert len(await recorded(path, max_bytes=330)) == 3

    lines = list(read(path))
    assert path.stat().st_size < 500
    assert lines[0].sync is not None
    assert lines[-1].end == "the recording has its greatest size"


async def test_recording_that_was_cut_off_is_read_up_to_there(tmp_path: Path) -> None:
    path = tmp_path / "vms.jsonl"
    await recorded(path)
    path.write_bytes(path.read_bytes()[:-10])

    assert len(list(read(path))) == 2


@pytest.mark.parametrize("content", [b"", b'{"format": "other", "source": "x"}\n', b"\xff\n", b"[]\n"])
async def test_what_is_no_recording_is_an_error_of_the_registry(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "odd").write_bytes(content)

    with pytest.raises(RegistryUnavailable, match="odd"):
        await replayed(tmp_path / "odd", 1)


async def test_line_without_an_event_is_skipped(tmp_path: Path) -> None:
    import msgspec

    path = tmp_path / "vms.jsonl"
    await recorded(path)
    end = msgspec.json.encode(Line(6.0, end="over"))
    content = io.BytesIO(path.read_bytes()).readlines()
    path.write_bytes(b"".join([content[0], end + b"\n", *content[1:]]))

    assert len(await replayed(path, 3, speed=0.0)) == 3
