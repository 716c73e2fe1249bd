import asyncio
import os
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from meshbridge.bridge.config import watching
from meshbridge.bridge.config.watching import changes, fingerprint


@pytest.fixture
def mounted(tmp_path: Path) -> Path:
    """A file as Kubernetes mounts it: a link to a file in a linked folder."""
    version(tmp_path, "v1", "one")
    (tmp_path / "config.yaml").symlink_to("..data/config.yaml")
    return tmp_path / "config.yaml"


def version(folder: Path, name: str, content: str) -> None:
    """Make a new version the current one, in one step."""
    (folder / name).mkdir()
    (folder / name / "config.yaml").write_text(content)
    (folder / "..data_tmp").symlink_to(name)
    (folder / "..data_tmp").replace(folder / "..data")


def touch(folder: Path) -> None:
    """Change a neighbour of the file."""
    (folder / "neighbour").write_text(os.urandom(4).hex())


async def change(found: AsyncGenerator[None, None], folder: Path) -> None:
    """Wait for a change; touches a neighbour all the while, for the watch begins when it likes."""
    waiting = asyncio.ensure_future(anext(found))
    async with asyncio.timeout(10):
        while not waiting.done():
            touch(folder)
            await asyncio.wait([waiting], timeout=0.1)
    await waiting


async def test_turned_link_is_a_change(mounted: Path) -> None:
    found = changes(mounted, fingerprint(mounted))
    version(mounted.parent, "v2", "two")

    await change(found, mounted.parent)

    await found.aclose()


async def test_without_notifications_the_file_is_looked_at_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: object, **__: object) -> AsyncGenerator[None, None]:
        raise OSError(24, "no more watches")

    monkeypatch.setattr(watching, "awatch", refuses)
    monkeypatch.setattr(watching, "_LOOK_MS", 10)
    file = tmp_path / "config.yaml"
    write(file, b"one")
    found = changes(file)
    with capture_logs() as logs:
        waiting = asyncio.ensure_future(anext(found))
        done, _ = await asyncio.wait([waiting], timeout=0.1)
        assert not done
        write(file, b"two")

        await asyncio.wait_for(waiting, 5.0)

    assert [entry["event"] for entry in logs] == ["no file notifications, the file is read regularly instead"]
    await found.aclose()


async def test_same_content_and_a_vanished_file_are_no_change(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    write(file, b"one")
    found = changes(file)
    waiting = asyncio.ensure_future(change(found, tmp_path))

    for content in (b"one", None, b"one"):
        write(file, content)
        done, _ = await asyncio.wait([waiting], timeout=0.5)
        assert not done
    write(file, b"two")

    await waiting
    await found.aclose()


def write(file: Path, content: bytes | None) -> None:
    """Replace the file, or with None remove it."""
    file.unlink(missing_ok=True)
    if content is not None:
        file.write_bytes(content)


def test_fingerprint_of_what_is_no_file_is_empty(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    assert fingerprint(tmp_path / "pipe") == b""
    assert fingerprint(tmp_path / "absent") == b""
