"""Watching files: how they are replaced in practice, and what a restart remembers."""

import shutil
from pathlib import Path

import pytest
import structlog
import watchfiles

from meshbridge.adapters.inventory import files
from meshbridge.adapters.inventory.documents import Failure
from meshbridge.schemas.errors import RegistryUnavailable
from meshbridge.schemas.registry import FullSync, SourceReport, SourceState


def table(*addresses: str, service: str = "payments") -> str:
    return "service,address,port\n" + "".join(f"{service},{address},8080\n" for address in addresses)


async def test_a_swapped_symlink_as_kubernetes_does_it_is_a_change(tmp_path, start, eventually) -> None:
    mount = tmp_path / "mount"
    for version, address in (("..1", "192.0.2.1"), ("..2", "192.0.2.2")):
        (mount / version).mkdir(parents=True)
        (mount / version / "vms.csv").write_text(table(address))
    (mount / "..data").symlink_to("..1")
    (mount / "vms.csv").symlink_to("..data/vms.csv")
    run = await start(files=[str(mount)])
    assert run.addresses("payments") == {"192.0.2.1"}

    (mount / "..new").symlink_to("..2")
    (mount / "..new").rename(mount / "..data")
    shutil.rmtree(mount / "..1")

    await eventually(lambda: run.addresses("payments") == {"192.0.2.2"})
    assert len(run.updates) == 1


async def test_a_file_behind_a_symlink_is_watched(tmp_path, start, eventually) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "config").mkdir()
    (tmp_path / "data" / "vms.csv").write_text(table("192.0.2.1"))
    (tmp_path / "config" / "vms.csv").symlink_to(tmp_path / "data" / "vms.csv")
    run = await start(files=[str(tmp_path / "config" / "*.csv")])

    (tmp_path / "data" / "vms.csv").write_text(table("192.0.2.2"))

    await eventually(lambda: run.addresses("payments") == {"192.0.2.2"})


async def test_a_directory_that_vanishes_and_returns_is_watched_again(tmp_path, start, eventually) -> None:
    home = tmp_path / "vms"
    home.mkdir()
    (home / "a.csv").write_text(table("192.0.2.1"))
    run = await start(files=[str(home)])

    shutil.rmtree(home)
    await eventually(lambda: run.report.state is SourceState.STALE)
    assert run.updates == []
    home.mkdir()
    (home / "a.csv").write_text(table("192.0.2.2"))
    await eventually(lambda: run.addresses("payments") == {"192.0.2.2"})
    (home / "a.csv").write_text(table("192.0.2.3"))

    await eventually(lambda: run.addresses("payments") == {"192.0.2.3"})
    assert run.report.state is SourceState.SYNCED


async def test_without_notifications_files_are_read_regularly(
    tmp_path, start, eventually, monkeypatch
) -> None:
    def refuse(*_args: object, **_more: object) -> None:
        raise OSError(28, "inotify watch limit reached")

    monkeypatch.setattr(watchfiles, "awatch", refuse)
    (tmp_path / "a.csv").write_text(table("192.0.2.1"))
    run = await start(rescan="50ms")

    (tmp_path / "a.csv").write_text(table("192.0.2.2"))

    await eventually(lambda: run.addresses("payments") == {"192.0.2.2"})


async def test_the_same_content_written_again_says_nothing(tmp_path, start, eventually) -> None:
    (tmp_path / "a.csv").write_text(table("192.0.2.1", "192.0.2.300"))
    run = await start()
    reads = run.counts.seen["attempt"]

    (tmp_path / "a.csv").write_text(table("192.0.2.1", "192.0.2.300"))
    await eventually(lambda: run.counts.seen["attempt"] > reads)

    assert run.updates == []
    assert run.counts.seen["rejected address"] == 1


async def test_lines_that_only_moved_say_nothing(tmp_path, start, eventually) -> None:
    (tmp_path / "a.csv").write_text(
        table("192.0.2.1") + table("192.0.2.2", service="search").partition("\n")[2]
    )
    run = await start()

    rows = "payments,192.0.2.1,8080\nsearch,192.0.2.2,8080\nsearch,192.0.2.3,8080\n"
    moved = f"service,address,port\n\n# more\n{rows}"
    (tmp_path / "a.csv").write_text(moved)
    await eventually(lambda: run.updates)

    assert [group.key.name for group in run.updates] == ["search"]


async def test_istio_resources_of_one_namespace_join_across_files(tmp_path, start, eventually) -> None:
    golden = Path(__file__).parent.parent / "golden" / "istio" / "two-documents"
    (tmp_path / "service.yaml").write_bytes((golden / "input-1.yaml").read_bytes())
    run = await start()
    assert run.addresses("orders.prod") == set()

    (tmp_path / "workloads.yaml").write_bytes((golden / "input-2.yaml").read_bytes())
    await eventually(lambda: run.addresses("orders.prod") == {"192.0.2.1"})
    assert run.counts.seen["rejected duplicate"] == 1

    text = (golden / "input-2.yaml").read_text().replace("192.0.2.1", "not/an/address")
    (tmp_path / "workloads.yaml").write_text(text)
    await eventually(lambda: run.addresses("orders.prod") == {"192.0.2.2"})
    assert run.counts.seen["rejected address"] == 1

    (tmp_path / "workloads.yaml").unlink()
    await eventually(lambda: run.addresses("orders.prod") == set())


@pytest.mark.parametrize("pattern", ["missing.csv", "missing/*.csv"])
async def test_a_named_file_that_was_never_there_stops_the_start(pattern, tmp_path, start) -> None:
    with pytest.raises(RegistryUnavailable, match="no such file or directory"):
        await start(files=[f"{tmp_path}/{pattern}"])


async def test_an_inventory_that_lists_nothing_at_the_start_is_not_believed(tmp_path, start) -> None:
    with pytest.raises(RegistryUnavailable, match="it lists nothing; if that is right"):
        await start(files=[str(tmp_path)])
    (tmp_path / "vms.csv").write_text("")
    with pytest.raises(RegistryUnavailable, match="it lists nothing; if that is right"):
        await start(files=[str(tmp_path)])


async def test_an_inventory_may_be_empty_at_the_start_where_it_or_the_setting_says_so(
    tmp_path, start
) -> None:
    allowed = await start(files=[str(tmp_path)], allow_empty=True)
    (tmp_path / "vms.yaml").write_text("empty: true")
    meant = await start(files=[str(tmp_path)])

    assert allowed.groups == meant.groups == {}
    assert meant.report.state is SourceState.SYNCED


async def test_an_earlier_process_s_reading_stands_in_for_a_bad_document(tmp_path, start, eventually) -> None:
    (tmp_path / "a.csv").write_text(table("192.0.2.1", "192.0.2.2"))
    earlier = await start()
    await earlier.stop()

    (tmp_path / "a.csv").write_text("garbage")
    run = await start(previous=earlier.groups)

    assert run.groups == earlier.groups
    assert run.report.state is SourceState.STALE


async def test_an_earlier_process_s_reading_of_one_record_is_kept(tmp_path, start) -> None:
    (tmp_path / "a.csv").write_text(table("192.0.2.1", "192.0.2.2"))
    earlier = await start()
    await earlier.stop()

    (tmp_path / "a.csv").write_text("service,address,port\npayments,192.0.2.1,0\n")
    run = await start(previous=earlier.groups)

    assert run.addresses("payments") == {"192.0.2.1"}


async def test_what_left_while_nobody_ran_is_gone_after_a_restart(tmp_path, start) -> None:
    (tmp_path / "a.csv").write_text(table("192.0.2.1"))
    (tmp_path / "b.csv").write_text(table("192.0.2.2"))
    earlier = await start()
    await earlier.stop()

    (tmp_path / "b.csv").unlink()
    run = await start(previous=earlier.groups)

    assert run.addresses("payments") == {"192.0.2.1"}


async def test_a_volume_that_is_not_mounted_after_a_restart_deletes_nothing(tmp_path, start) -> None:
    (tmp_path / "a.csv").write_text(table("192.0.2.1"))
    earlier = await start()
    await earlier.stop()

    (tmp_path / "a.csv").unlink()
    run = await start(previous=earlier.groups)

    assert run.addresses("payments") == {"192.0.2.1"}
    assert run.report.state is SourceState.STALE


def test_a_growing_file_is_refused_beyond_the_limit(tmp_path, monkeypatch) -> None:
    path = tmp_path / "a.csv"
    path.write_text("x" * 10)

    with pytest.raises(Failure, match="more than max_size"):
        files.read(str(path), 9)
    assert files.read(str(path), 10)[0] == b"x" * 10


def test_a_file_that_changes_all_the_time_is_refused(tmp_path, monkeypatch) -> None:
    path = tmp_path / "a.csv"
    path.write_text("x")
    stamps = iter(range(100))
    monkeypatch.setattr(files, "_signature", lambda _status: (next(stamps), 0, 0, 0, 0))

    with pytest.raises(Failure, match="changes while it is read"):
        files.read(str(path), 10)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("", ["a.csv", "b.yaml"]),
        ("*.csv", ["a.csv"]),
        ("a.csv", ["a.csv"]),
        ("*/c.json", ["sub/c.json"]),
        ("x", []),
    ],
)
def test_patterns_name_files(pattern, expected, tmp_path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("a.csv", "b.yaml", ".hidden.csv", "notes.txt", "sub/c.json"):
        (tmp_path / name).touch()

    found = files.matches(str(tmp_path / pattern))

    assert found == [str(tmp_path / name) for name in expected]
    assert all(files.covers(str(tmp_path / pattern), path) for path in found)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [("/a/b/*.csv", "/a/b"), ("/a/*/c.csv", "/a"), ("/a/b.csv", "/a"), ("*.csv", "."), ("b.csv", ".")],
)
def test_the_anchor_is_the_directory_above_the_first_wildcard(pattern, expected) -> None:
    assert files.anchor(pattern) == expected


def test_a_file_that_goes_while_it_is_listed_is_not_there(tmp_path) -> None:
    (tmp_path / "a.csv").symlink_to(tmp_path / "nowhere")

    found = files.Files([str(tmp_path)], 100).scan(everything=True)

    assert found.listed == {str(tmp_path): []}
    assert found.failures == {}


def test_a_file_that_grows_while_it_is_read_is_bounded() -> None:
    # Files under /proc say that they have no bytes, and then have some.
    with pytest.raises(Failure, match="more than max_size"):
        files.read("/proc/self/status", 10)


async def test_a_bad_file_that_goes_is_no_failure_any_more(tmp_path, start, eventually) -> None:
    (tmp_path / "a.csv").write_text(table("192.0.2.1"))
    run = await start()
    (tmp_path / "b.csv").write_text("garbage")
    await eventually(lambda: run.report.state is SourceState.STALE)

    (tmp_path / "b.csv").unlink()

    await eventually(lambda: run.report.state is SourceState.SYNCED)


async def test_a_large_document_is_parsed_beside_the_loop(tmp_path, start) -> None:
    (tmp_path / "a.csv").write_text(table(*(f"10.0.{n // 250}.{n % 250}" for n in range(5000))))

    run = await start()

    assert len(run.groups["payments"].instances) == 5000


async def test_a_flood_of_bad_rows_is_noted_and_logged_in_part(tmp_path, start) -> None:
    (tmp_path / "a.csv").write_text(table("192.0.2.1", *(f"192.0.2.{n}" for n in range(300, 500))))

    with structlog.testing.capture_logs() as logs:
        run = await start()

    assert len(run.groups["payments"].notes) == 100
    assert run.counts.seen["rejected address"] == 200
    assert len(logs) == 21
    assert logs[-1]["count"] == 180


def test_a_directory_in_a_directory_is_no_document(tmp_path) -> None:
    (tmp_path / "old.yaml").mkdir()
    (tmp_path / "vms.yaml").write_text("")

    assert files.matches(str(tmp_path)) == [str(tmp_path / "vms.yaml")]


async def test_many_services_that_leave_at_once_are_told_in_one_event(tmp_path, start, eventually) -> None:
    rows = [f"service-{number},192.0.2.{number},8080\n" for number in range(1, 21)]
    inventory = tmp_path / "vms.csv"
    inventory.write_text("service,address,port\n" + "".join(rows))
    run = await start(files=[str(inventory)])

    inventory.write_text("service,address,port\n" + "".join(rows[:5]))

    await eventually(lambda: len(run.groups) == 5)
    assert run.updates == []


async def test_sync_of_many_services_does_not_hide_that_a_document_fails(tmp_path, start, eventually) -> None:
    def services(last: int) -> str:
        rows = "".join(f"s{number},192.0.2.{last},80\n" for number in range(10))
        return f"service,address,port\n{rows}"

    (tmp_path / "a.csv").write_text(services(1))
    (tmp_path / "b.csv").write_text(table("192.0.2.9"))
    run = await start()
    (tmp_path / "b.csv").write_text("garbage")
    await eventually(lambda: run.report.state is SourceState.STALE)

    (tmp_path / "a.csv").write_text(services(2))
    await eventually(lambda: run.addresses("s9") == {"192.0.2.2"})

    # A full sync means "synced" to those who listen, so the truth has to follow it.
    await eventually(lambda: isinstance(run.events[-1], SourceReport))
    assert isinstance(run.events[-2], FullSync)
    assert run.report.state is SourceState.STALE


async def test_sync_of_many_services_makes_no_group_anew_that_did_not_change(
    tmp_path, start, eventually
) -> None:
    def services(last: int) -> str:
        rows = "".join(f"s{number},192.0.2.{last},80\n" for number in range(10))
        return f"service,address,port\n{rows}"

    (tmp_path / "a.csv").write_text(services(1))
    (tmp_path / "b.csv").write_text(table("192.0.2.9"))
    run = await start()
    before = run.groups["payments"]

    (tmp_path / "a.csv").write_text(services(2))
    await eventually(lambda: run.addresses("s9") == {"192.0.2.2"})

    assert run.groups["payments"] is before
