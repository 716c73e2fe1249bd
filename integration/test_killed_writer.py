"""A process that is killed while it writes state leaves the old copy or the new one, never a part."""

import multiprocessing
import multiprocessing.context
import os
import random
import signal
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from meshbridge.bridge.state import StateFiles
from meshbridge.schemas.registry import Instance, InstanceGroup, ServiceKey, group

ROOT = Path(__file__).parent.parent
KILLS = 200
INSTANCES = 300


def groups(generation: int) -> list[InstanceGroup]:
    """Return a source of one generation: every instance carries it, so that a mixture shows."""
    found = [Instance(f"vm-{number:04}", "10.0.0.1", weight=generation) for number in range(INSTANCES)]
    return [group(ServiceKey("vms", "shop"), found)]


def write_for_ever(directory: str, generation: int, ready: Connection) -> None:
    """Save one generation after another, and say when the first is written."""
    files = StateFiles(Path(directory))
    with files.locked():
        while True:
            files.save("vms", "f1", groups(generation), 1000.0)
            ready.send(generation)
            generation += 1


def killed_while_writing(
    spawn: multiprocessing.context.ForkServerContext, directory: Path, generation: int
) -> int:
    """Kill a writer at some moment and return the generation that it certainly wrote."""
    ours, theirs = spawn.Pipe(duplex=False)
    process = spawn.Process(target=write_for_ever, args=(str(directory), generation, theirs), daemon=True)
    process.start()
    theirs.close()
    written = int(ours.recv())
    time.sleep(random.random() * 0.004)  # Some writes long: the moment of the kill is the point.
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    try:
        while True:
            written = int(ours.recv())
    except EOFError:
        return written


def test_killed_writer_leaves_a_whole_copy_every_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))  # The writer imports this module, also where Python is run safely.
    spawn = multiprocessing.get_context("forkserver")
    spawn.set_forkserver_preload([StateFiles.__module__])
    files = StateFiles(tmp_path)
    generation, unfinished = 1, 0

    for _ in range(KILLS):
        written = killed_while_writing(spawn, tmp_path, generation)
        unfinished += len(list(tmp_path.glob(".new-*")))

        copy = files.load("vms", "f1", 1e9, 1000.0)
        assert copy is not None
        found = {instance.weight for instance in copy.groups[0].instances}
        assert len(copy.groups[0].instances) == INSTANCES
        # One write may have ended of which the killed process could not tell any more.
        assert found in ({written}, {written + 1})
        generation = written + 2

    assert unfinished, "no kill came while a file was being written"
    with files.locked():
        assert [path.name for path in tmp_path.iterdir()] == ["vms.state"]
