import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from meshbridge.bridge import state_copy
from meshbridge.bridge.state import StateFiles
from meshbridge.schemas.registry import Health, Instance, InstanceGroup, Note, Port, ServiceKey, group, labels

DAY = 86_400.0
GROUPS = [
    InstanceGroup(
        key=ServiceKey("vms", "shop"),
        instances=(
            Instance(
                "a",
                "10.0.0.1",
                (Port("http", 80, "http", tls=True),),
                labels=labels({"version": "v1"}),
                metadata=labels({"rack": "ü"}),
                tags=("x",),
                locality="eu/1",
                weight=0,
                health=Health.DRAINING,
                service_account="shop",
            ),
        ),
        attributes=labels({"host": "shop.mesh"}),
        notes=(Note("b", "no port"),),
        held=("a",),
    ),
    group(ServiceKey("vms", "empty"), [], notes=[Note("c", "no address")]),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def files(folder: Path) -> StateFiles:
    return StateFiles(folder)


def load(files: StateFiles, source: str = "vms", fingerprint: str = "f1", now: float = 1000.0) -> Any:
    copy = files.load(source, fingerprint, DAY, now)
    return None if copy is None else copy.groups


def test_what_is_saved_is_loaded(files: StateFiles) -> None:
    files.save("vms", "f1", GROUPS, 1000.0)

    assert load(files, now=1000.0 + DAY) == GROUPS


def test_copy_of_an_empty_source_is_a_copy(files: StateFiles) -> None:
    files.save("vms", "f1", [], 1000.0)

    assert load(files) == []


def test_newer_copy_replaces_the_older(files: StateFiles, folder: Path) -> None:
    files.save("vms", "f1", GROUPS, 1000.0)
    files.save("vms", "f1", GROUPS[:1], 1001.0)

    assert load(files) == GROUPS[:1]
    assert [path.name for path in folder.iterdir()] == ["vms.state"]


def test_sources_have_files_of_their_own_also_when_they_are_parts(files: StateFiles) -> None:
    files.save("vms/a", "f1", GROUPS[:1], 1000.0)
    files.save("vms", "f1", [], 1000.0)

    assert load(files, "vms/a") == GROUPS[:1]
    assert load(files) == []


def test_file_is_readable_by_its_owner_alone(files: StateFiles, folder: Path) -> None:
    files.save("vms", "f1", GROUPS, 1000.0)

    assert stat.S_IMODE((folder / "vms.state").stat().st_mode) == 0o600


def test_nothing_kept_is_nothing_to_speak_of(files: StateFiles) -> None:
    with capture_logs() as logs:
        assert load(files) is None

    assert logs == []


@pytest.mark.parametrize(
    ("source", "fingerprint", "now", "event"),
    [
        ("vms", "f1", 1000.0 + DAY + 1, "state too old"),
        ("vms", "f2", 1000.0, "state of another registry"),
        ("other", "f1", 1000.0, "state of another registry"),
    ],
)
def test_copy_that_does_not_fit_is_not_used_and_stays(
    files: StateFiles, folder: Path, source: str, fingerprint: str, now: float, event: str
) -> None:
    files.save("vms", "f1", GROUPS, 1000.0)
    if source != "vms":
        (folder / "vms.state").rename(folder / f"{source}.state")

    with capture_logs() as logs:
        assert load(files, source, fingerprint, now) is None

    assert [entry["event"] for entry in logs] == [event]
    assert (folder / f"{source}.state").exists()


def test_copy_from_a_clock_that_ran_ahead_is_used(files: StateFiles) -> None:
    files.save("vms", "f1", GROUPS, 5000.0)

    assert load(files, now=1000.0) == GROUPS


def damaged(content: bytes) -> dict[str, bytes]:
    flipped = bytearray(content)
    flipped[-1] ^= 1
    return {
        "a flipped bit": bytes(flipped),
        "the end is missing": content[:-5],
        "only the first line": content.partition(b"\n")[0],
        "nothing": b"",
        "no JSON": b"x" + content,
        "another JSON": b"[]\n",
        "much too deep": b'{"x":' + b"[" * 100_000,
    }


@pytest.mark.parametrize("what", damaged(b"abcdefgh"))
def test_damaged_file_is_set_aside(files: StateFiles, folder: Path, what: str) -> None:
    files.save("vms", "f1", GROUPS, 1000.0)
    path = folder / "vms.state"
    content = damaged(path.read_bytes())[what]
    path.write_bytes(content)

    with capture_logs() as logs:
        assert load(files) is None

    assert [entry["event"] for entry in logs] == ["state unusable"]
    assert not path.exists()
    assert (folder / "vms.damaged").read_bytes() == content
    assert load(files) is None


def test_damaged_file_that_can_not_be_set_aside_is_said_and_left(
    files: StateFiles, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.mkdir()
    (folder / "vms.state").write_bytes(b"x")
    (folder / "vms.damaged").mkdir()

    with capture_logs() as logs:
        assert load(files) is None

    assert [entry["event"] for entry in logs] == ["state unusable", "state not set aside"]


def test_file_that_can_not_be_read_stays_where_it_is(files: StateFiles, folder: Path) -> None:
    (folder / "vms.state").mkdir(parents=True)

    with capture_logs() as logs:
        assert load(files) is None

    assert [entry["event"] for entry in logs] == ["state unreadable"]
    assert (folder / "vms.state").exists()


def test_failing_write_leaves_the_old_copy_and_no_litter(
    files: StateFiles, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.save("vms", "f1", GROUPS, 1000.0)

    def no_space(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        files.save("vms", "f1", [], 2000.0)

    assert load(files) == GROUPS
    assert [path.name for path in folder.iterdir()] == ["vms.state"]


def test_leftover_of_a_killed_process_is_ignored(files: StateFiles, folder: Path) -> None:
    files.save("vms", "f1", GROUPS, 1000.0)
    (folder / ".new-abc").write_bytes(b"half a fi")

    assert load(files) == GROUPS
    files.save("vms", "f1", GROUPS[:1], 1001.0)
    assert load(files) == GROUPS[:1]


def test_directory_that_can_not_be_made_is_an_error_of_the_system(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(OSError, match=r"Not a directory|File exists"):
        StateFiles(tmp_path / "file" / "state").save("vms", "f1", GROUPS, 1000.0)


@settings(deadline=None, max_examples=200)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.tuples(st.integers(0, 400), st.binary(min_size=1, max_size=3)),
    )
)
def test_whatever_is_in_the_file_it_is_loaded_whole_or_not_at_all(
    tmp_path_factory: pytest.TempPathFactory, damage: bytes | tuple[int, bytes]
) -> None:
    folder = tmp_path_factory.mktemp("state")
    files = StateFiles(folder)
    files.save("vms", "f1", GROUPS, 1000.0)
    path = folder / "vms.state"
    content = path.read_bytes()
    if isinstance(damage, bytes):
        path.write_bytes(damage)
    else:
        at, inserted = damage
        path.write_bytes(content[:at] + inserted + content[at + len(inserted) :])

    with capture_logs():
        found = load(files)

    assert found is None or found == GROUPS


def test_format_is_part_of_the_file(files: StateFiles, folder: Path) -> None:
    files.save("vms", "f1", GROUPS, 1000.0)

    first = (folder / "vms.state").read_bytes().partition(b"\n")[0]

    assert f'"format":{state_copy.FORMAT}'.encode() in first
