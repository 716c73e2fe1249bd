"""`diff`, `run --dry-run`, `record`."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from meshbridge.adapters.recording import read
from meshbridge.bridge.planning import differences, flattened


@pytest.fixture
def config(tmp_path: Path) -> Path:
    services = [{"name": "shop", "port": 80, "instances": [{"address": "10.0.0.1"}]}]
    (tmp_path / "vms.yaml").write_text(yaml.safe_dump({"services": services}))
    return write(tmp_path / "meshbridge.yaml", tmp_path / "vms.yaml")


def write(path: Path, *files: Path, **more: Any) -> Path:
    source = {"name": "vms", "kind": "inventory", "files": [str(file) for file in files]}
    path.write_text(yaml.safe_dump({"sources": [source], **more}))
    return path


def test_dry_run_prints_what_would_be_served_and_equals_itself(run: Any, config: Path) -> None:
    printed = run("run", "-c", config, "--dry-run")
    snapshot = config.with_name("now.yaml")
    snapshot.write_text(printed.stdout)

    same = run("diff", "-c", config, "--against", snapshot)

    [entry] = yaml.safe_load_all(printed.stdout)
    assert entry["spec"]["hosts"] == ["shop.vms.mesh"]
    assert (same.exit_code, same.stdout) == (0, "")


def test_diff_tells_what_is_added_removed_and_changed(run: Any, config: Path) -> None:
    snapshot = config.with_name("now.yaml")
    snapshot.write_text(run("run", "-c", config, "--dry-run").stdout)
    more = config.with_name("more.yaml")
    added = [{"name": "pay", "port": 80, "instances": [{"address": "10.0.0.2"}]}]
    more.write_text(yaml.safe_dump({"services": added}))
    rules = [{"match": {"service": "shop"}, "set": {"labels": {"team": "money"}}}]
    new = write(config.with_name("new.yaml"), config.with_name("vms.yaml"), more, rules=rules)

    found = run("diff", "-c", new, "--against", snapshot)
    as_json = run("diff", "-c", new, "--against", snapshot, "-o", "json")
    back = run("diff", "-c", config, "--against", snapshot)

    assert found.exit_code == 1
    assert "+ ServiceEntry meshbridge/pay.vms.mesh" in found.stdout
    assert "~ ServiceEntry meshbridge/shop.vms.mesh" in found.stdout
    assert "team: money" in found.stdout
    assert [item["change"] for item in json.loads(as_json.stdout)["items"]] == ["added", "changed"]
    assert back.exit_code == 0


def test_diff_against_the_running_bridge(run: Any, url: str, config: Path) -> None:
    found = run("diff", "-c", config, "--admin", url)

    assert found.exit_code == 1
    assert "+ ServiceEntry meshbridge/shop.vms.mesh" in found.stdout
    assert "- ServiceEntry meshbridge/pay" in found.stdout
    assert run("diff", "-c", config, "--admin", "http://127.0.0.1:1").exit_code == 3


@pytest.mark.parametrize("content", ["just text", "{", None])
def test_snapshot_that_is_none_is_said(run: Any, config: Path, content: str | None) -> None:
    path = config.with_name("odd.yaml")
    if content is not None:
        path.write_text(content)

    found = run("diff", "-c", config, "--against", path)

    assert found.exit_code == 2
    assert "odd.yaml" in found.stderr


def test_source_that_can_not_be_read_makes_no_difference_list(run: Any, config: Path) -> None:
    config.with_name("vms.yaml").unlink()

    found = run("run", "-c", config, "--dry-run")

    assert (found.exit_code, found.stdout) == (1, "")
    assert "vms: read: " in found.stderr


def test_what_a_server_adds_to_objects_is_no_difference() -> None:
    ours = {"kind": "ServiceEntry", "metadata": {"name": "a", "namespace": "n"}, "spec": {"hosts": ["a"]}}
    theirs = {**ours, "metadata": {**ours["metadata"], "uid": "1", "labels": {}}, "status": {}}

    assert differences([ours], flattened([{"kind": "List", "items": [theirs]}, None])) == []


def test_record_writes_what_a_source_says(run: Any, config: Path) -> None:
    path = config.with_name("vms.jsonl")

    found = run("record", str(path), "-c", config, "--source", "vms", "--seconds", "1")

    assert found.exit_code == 0
    assert [line.sync is not None for line in read(path)] == [True, False]
    unknown = run("record", str(path), "-c", config, "--source", "vmz", "--seconds", "1")
    assert unknown.exit_code == 2
    assert 'there is no source "vmz"; did you mean "vms"' in unknown.stderr or "vms" in unknown.stderr


def test_replay_of_what_is_no_recording_is_said(run: Any, config: Path) -> None:
    found = run("replay", str(config), "-c", config, "--source", "vms")

    assert found.exit_code == 2
