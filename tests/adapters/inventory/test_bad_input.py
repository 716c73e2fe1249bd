"""What people and programs write by mistake: named, counted, and never a reason to lose what was known."""

import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from meshbridge.adapters.base import AdapterContext
from meshbridge.adapters.inventory.adapter import InventoryAdapter
from meshbridge.adapters.inventory.settings import InventoryConfig
from meshbridge.schemas.errors import RegistryDenied, RegistryUnavailable
from meshbridge.schemas.registry import SourceState

GOOD = "service,address,port\npayments,192.0.2.1,8080\npayments,192.0.2.2,8080\n"
TABLE = "service,address,port,labels\n"


def put(path: Path, content: str | bytes) -> None:
    """Write beside and rename."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_bytes(content.encode() if isinstance(content, str) else content)
    fresh.rename(path)


BAD_DOCUMENTS = {
    "malformed YAML": ("vms.yaml", "services: [\n  {name: a", ": not YAML: did not find expected", "parse"),
    "malformed JSON": ("vms.json", '[{"targets": \n oops}]', ":2: not JSON", "parse"),
    "a key twice": (
        "vms.yaml",
        "services: []\nservices: []\n",
        ":2: the key 'services' is there twice",
        "parse",
    ),
    "a key twice in JSON": ("vms.json", '{"a": 1, "a": 2}', "the key 'a' is there twice", "parse"),
    "a binary file": ("vms.csv", b"\x7fELF\x02\x01\0\0", "binary file", "parse"),
    "a compressed file": ("vms.csv", b"\x1f\x8b\x08\0", "compressed file", "parse"),
    "another encoding": (
        "vms.csv",
        b"service,address,port\nm\xfcnchen,192.0.2.1,80\n",
        ":2: not UTF-8",
        "parse",
    ),
    "a table without a column": ("vms.csv", "service,address\n", ":1: the header lacks port", "parse"),
    "an INI inventory": ("vms.yaml", "# ours\n[web:children]\na\n", "an INI inventory, which only", "parse"),
    "no known format": ("vms.yaml", "hello: world\n", "none of the known formats", "parse"),
    "only bad records": ("vms.csv", TABLE + "a,192.0.2.300,80,\n", ":2: none of its records", "parse"),
    "nothing": ("vms.csv", "", "lists nothing any more", "empty"),
    "a header alone": ("vms.csv", TABLE, "lists nothing any more", "empty"),
    "an empty list": ("vms.json", "[]", "lists nothing any more", "empty"),
    "no services": ("vms.yaml", "services: []", "lists nothing any more", "empty"),
}


@pytest.mark.parametrize("case", BAD_DOCUMENTS)
async def test_a_bad_document_keeps_its_last_good_reading(case, tmp_path, start, eventually) -> None:
    name, content, message, counter = BAD_DOCUMENTS[case]
    path = tmp_path / name
    good = (
        GOOD
        if name.endswith(".csv")
        else '{"services": [{"name": "payments", "port": 80, "instances": [{"address": "192.0.2.1"}]}]}'
    )
    put(path, good)
    put(tmp_path / "neighbour.csv", "service,address,port\nsearch,192.0.2.9,9200\n")
    run = await start()
    before = dict(run.groups)

    put(path, content)
    await eventually(lambda: run.report.state is SourceState.STALE)
    assert str(path) in run.report.reason
    assert message in run.report.reason
    assert run.counts.seen[f"error {counter}"] > 0
    assert run.groups == before
    assert run.updates == []

    put(path, good)
    await eventually(lambda: run.report.state is SourceState.SYNCED)
    assert run.groups == before
    assert run.updates == []


@pytest.mark.parametrize(
    "case", [name for name, row in BAD_DOCUMENTS.items() if row[3] == "parse" and "only" not in name]
)
async def test_a_bad_document_that_was_never_good_stops_the_start(case, tmp_path, start) -> None:
    name, content, message, _ = BAD_DOCUMENTS[case]
    put(tmp_path / name, content)
    put(tmp_path / "neighbour.csv", GOOD)

    with pytest.raises(RegistryUnavailable) as raised:
        await start()

    assert str(tmp_path / name) in str(raised.value)
    assert message in str(raised.value)


async def test_a_huge_file_is_refused_unread(tmp_path, start, eventually) -> None:
    put(tmp_path / "vms.csv", GOOD)
    run = await start()
    huge = tmp_path / ".huge"
    with huge.open("wb") as file:
        file.truncate(200 * 1024 * 1024)  # A hole: it takes no room on the disk.

    huge.rename(tmp_path / "vms.csv")
    await eventually(lambda: run.report.state is SourceState.STALE)

    assert f"{tmp_path}/vms.csv: 209715200 bytes are more than max_size (67108864)" in run.report.reason
    assert run.counts.seen["error too_large"] > 0
    assert run.addresses("payments") == {"192.0.2.1", "192.0.2.2"}


async def test_a_pipe_does_not_block(tmp_path, start) -> None:
    os.mkfifo(tmp_path / "vms.csv")

    with pytest.raises(RegistryUnavailable, match="not a regular file"):
        await start()


async def test_a_file_without_permission_is_denied(tmp_path, start, monkeypatch) -> None:
    put(tmp_path / "vms.csv", GOOD)

    def refuse(*_args: object, **_more: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(RegistryDenied, match=r"vms\.csv: permission denied"):
        await start()


BAD_ROWS = {
    "an address that is none": ("payments,192.0.2.300,8080,", "address '192.0.2.300' is neither", "address"),
    "port 0": ("payments,192.0.2.9,0,", "192.0.2.9: port '0' is not a number from 1 to 65535", "port"),
    "port 70000": ("payments,192.0.2.9,70000,", "port '70000' is not a number", "port"),
    "no port": ("payments,192.0.2.9", "it has no port", "port"),
    "too many cells": ("payments,192.0.2.9,80,,x", "5 cells where the header has 4", "field"),
}


@pytest.mark.parametrize("case", BAD_ROWS)
async def test_a_bad_row_is_named_and_its_neighbours_survive(case, tmp_path, start) -> None:
    row, message, counter = BAD_ROWS[case]
    put(tmp_path / "vms.csv", f"{TABLE}payments,192.0.2.1,8080,\n{row}\npayments,192.0.2.2,8080,\n")

    run = await start()

    assert run.addresses("payments") == {"192.0.2.1", "192.0.2.2"}
    assert any(f"{tmp_path}/vms.csv:3: " in note and message in note for note in run.notes("payments"))
    assert run.counts.seen[f"rejected {counter}"] == 1


async def test_a_row_with_a_stray_quote_does_not_swallow_the_next(tmp_path, start) -> None:
    put(tmp_path / "vms.csv", f'{TABLE}payments,"192.0.2.9,80,\npayments,192.0.2.1,8080,\n')

    run = await start()

    assert run.addresses("payments") == {"192.0.2.1"}
    assert f"{tmp_path}/vms.csv:2: not a CSV line" in dict(run.report.details)["without_service"]
    assert run.counts.seen["rejected field"] == 1


async def test_a_row_too_short_to_name_its_service_is_told_with_its_line(tmp_path, start) -> None:
    put(tmp_path / "vms.csv", "address,port,service\n192.0.2.9,80\n192.0.2.1,8080,payments\n")

    run = await start()

    assert run.addresses("payments") == {"192.0.2.1"}
    assert f"{tmp_path}/vms.csv:2: it names no service" in dict(run.report.details)["without_service"]
    assert run.counts.seen["rejected service"] == 1


async def test_a_host_with_control_characters_refuses_the_record(tmp_path, start) -> None:
    machine = r'{address: 192.0.2.9, host: "vm\e[31m"}'
    put(
        tmp_path / "vms.yaml",
        f"services:\n- {{name: a, port: 80, instances: [{{address: 192.0.2.1}}, {machine}]}}\n",
    )

    run = await start()

    assert run.addresses("a") == {"192.0.2.1"}
    assert "not printable" in run.notes("a")[0]
    assert "\x1b" not in run.notes("a")[0]


MANGLED = {
    "a host that is none": ("host: bad_host..x", "host 'bad_host..x' can't be", "it becomes bad-host.x"),
    "a wildcard": ("host: '*.example.com'", "host '*.example.com' can't be", ".example.com"),
    "a namespace that is none": ("namespace: Bad_NS", "namespace 'Bad_NS' is not one", "it becomes bad-ns"),
}


@pytest.mark.parametrize("case", MANGLED)
async def test_a_name_that_the_mesh_gets_in_another_form_is_told(case, tmp_path, start) -> None:
    key, *messages = MANGLED[case]
    put(
        tmp_path / "vms.yaml",
        f"services:\n- {{name: a, {key}, port: 80, instances: [{{address: 192.0.2.1}}]}}\n",
    )

    run = await start()

    assert run.addresses("a") == {"192.0.2.1"}
    [note] = run.notes("a")
    assert note.startswith(f"{tmp_path}/vms.yaml:2: ")
    assert all(message in note for message in messages)


async def test_a_host_of_a_service_entry_that_the_mesh_gets_in_another_form_is_told(tmp_path, start) -> None:
    entry = (
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: a, namespace: n}\n"
        "spec: {hosts: [A.example.com, '*.example.com'], ports: [{number: 80, name: http, protocol: HTTP}], "
        "resolution: STATIC, endpoints: [{address: 192.0.2.1}]}\n"
    )
    put(tmp_path / "vms.yaml", entry)

    run = await start()

    [note] = run.notes("a.n")
    assert "host '*.example.com' can't be that of a mesh service" in note


async def test_trying_again_in_vain_is_logged_once(tmp_path, start) -> None:
    put(tmp_path / "vms.csv", "garbage")
    config = InventoryConfig(name="vms", files=[str(tmp_path)])
    adapter = InventoryAdapter(config, AdapterContext("vms"))

    with capture_logs() as logs:
        for _ in range(2):
            with pytest.raises(RegistryUnavailable):
                await start(adapter=adapter)

    assert [entry["event"] for entry in logs] == ["document not usable, keeping what is known of it"]


async def test_a_row_that_turns_bad_keeps_its_last_good_reading(tmp_path, start, eventually) -> None:
    put(tmp_path / "vms.csv", GOOD)
    run = await start()

    put(tmp_path / "vms.csv", "service,address,port\npayments,192.0.2.1,8080\npayments,192.0.2.999,8080\n")
    await eventually(lambda: run.updates)

    assert run.addresses("payments") == {"192.0.2.1", "192.0.2.2"}
    assert f"{tmp_path}/vms.csv:3: " in run.notes("payments")[0]


async def test_a_host_name_is_an_address(tmp_path, start) -> None:
    put(tmp_path / "vms.csv", f"{TABLE}payments,VM-1.example.com.,8080,\n")

    run = await start()

    assert run.addresses("payments") == {"vm-1.example.com"}
    assert run.notes("payments") == []


async def test_labels_istio_refuses_are_left_out_and_the_record_stays(tmp_path, start) -> None:
    put(tmp_path / "vms.csv", f"{TABLE}payments,192.0.2.1,8080,-x=1;team=money;long={'a' * 64};sp=a b\n")

    run = await start()

    assert run.groups["payments"].instances[0].labels == (("team", "money"),)
    assert len(run.notes("payments")) == 3
    assert run.counts.seen["rejected label"] == 3


async def test_unknown_keys_are_named_with_a_guess(tmp_path, start) -> None:
    text = "services:\n- {name: a, port: 80, instances: [{address: 192.0.2.1, wieght: 3}]}\n"
    put(tmp_path / "vms.yaml", text)

    run = await start()

    assert run.notes("a") == [
        f"{tmp_path}/vms.yaml:2: unknown key 'wieght' is ignored; did you mean 'weight'?"
    ]
    assert run.counts.seen["rejected unknown_key"] == 1


async def test_duplicate_names_are_named_with_both_places(tmp_path, start) -> None:
    service = "- {name: a, port: 80, instances: [{address: 192.0.2.1}]}\n"
    put(tmp_path / "a.yaml", f"services:\n{service}{service}")
    put(tmp_path / "b.yaml", f"services:\n{service}")

    run = await start()

    notes = run.notes("a")
    assert any(f"{tmp_path}/a.yaml:3: service 'a' is at {tmp_path}/a.yaml:2 too" in note for note in notes)
    assert any(f"{tmp_path}/b.yaml:2: a/192.0.2.1/80 is at {tmp_path}/a.yaml:2 too" in note for note in notes)
    assert run.counts.seen["rejected duplicate"] == 3


async def test_a_file_that_vanishes_and_returns_does_not_flap(tmp_path, start, eventually) -> None:
    put(tmp_path / "vms.csv", GOOD)
    put(tmp_path / "other.csv", "service,address,port\nsearch,192.0.2.9,9200\n")
    run = await start(settle="10s")

    (tmp_path / "vms.csv").unlink()
    put(tmp_path / "other.csv", "service,address,port\nsearch,192.0.2.10,9200\n")
    await eventually(lambda: run.addresses("search") == {"192.0.2.10"})
    put(tmp_path / "vms.csv", GOOD)
    put(tmp_path / "other.csv", "service,address,port\nsearch,192.0.2.11,9200\n")
    await eventually(lambda: run.addresses("search") == {"192.0.2.11"})

    assert {group.key.name for group in run.updates} == {"search"}


async def test_a_file_that_stays_away_takes_its_records_along(tmp_path, start, eventually) -> None:
    put(tmp_path / "vms.csv", GOOD)
    put(tmp_path / "other.csv", "service,address,port\nsearch,192.0.2.9,9200\n")
    run = await start()

    (tmp_path / "vms.csv").unlink()
    await eventually(lambda: run.updates)

    assert run.addresses("payments") == set()
    assert run.addresses("search") == {"192.0.2.9"}


async def test_the_last_file_vanishing_is_no_reason_to_delete(tmp_path, start, eventually) -> None:
    put(tmp_path / "vms.csv", GOOD)
    run = await start()

    (tmp_path / "vms.csv").unlink()
    await eventually(lambda: run.report.state is SourceState.STALE)

    assert "no file matches any more" in run.report.reason
    assert run.counts.seen["error vanished"] > 0
    assert run.updates == []

    put(tmp_path / "vms.csv", GOOD)
    await eventually(lambda: run.report.state is SourceState.SYNCED)
    assert run.updates == []


@pytest.mark.parametrize("text", ["# empty: true\n", "service,address,port\n#empty: true\n"])
async def test_a_marked_empty_table_deletes(text, tmp_path, start, eventually) -> None:
    put(tmp_path / "vms.csv", GOOD)
    run = await start()

    put(tmp_path / "vms.csv", text)
    await eventually(lambda: run.updates)

    assert run.addresses("payments") == set()
    assert run.report.state is SourceState.SYNCED


async def test_allow_empty_deletes(tmp_path, start, eventually) -> None:
    put(tmp_path / "vms.csv", GOOD)
    put(tmp_path / "b.csv", GOOD.replace("payments", "search"))
    run = await start(allow_empty=True)

    put(tmp_path / "vms.csv", "")
    await eventually(lambda: run.addresses("payments") == set())
    (tmp_path / "b.csv").unlink()
    (tmp_path / "vms.csv").unlink()
    await eventually(lambda: run.addresses("search") == set())

    assert run.report.state is SourceState.SYNCED
