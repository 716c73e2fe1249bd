import json
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from typer.testing import Result

from meshbridge.bridge.cli import kinds
from meshbridge.bridge.cli.get import show
from meshbridge.bridge.cli.output import Format

Run = Callable[..., Result]

SERVICE_ENTRIES = """\
NAMESPACE   NAME  HOSTS          PORTS           READY/TOTAL  SOURCE  AGE
meshbridge  pay   pay.old.mesh   80/http,90/auto  2/2          old     AGE
meshbridge  shop  shop.vms.mesh  80/http,90/auto  1/2          vms     AGE
"""
WORKLOAD_ENTRIES = """\
NAMESPACE  NAME    ADDRESS   PORTS      READY/TOTAL  SOURCE  AGE
legacy     shop-1  10.0.0.1  8080/http  1/1          vms     AGE
"""
SERVICES = """\
NAMESPACE   NAME  HOST           PORTS    READY/TOTAL  HELD  STATE   PROBLEMS  SOURCE  AGE
meshbridge  shop  shop.vms.mesh  80/http  1/2          1     served  1         vms     AGE
"""
CONFLICTS = """\
NAMESPACE   HOST           FIELD      WINS            LOSES           WHY
meshbridge  shop.vms.mesh  port http  80 of vms/shop  81 of old/SHOP  its source is listed first
"""
SOURCES = """\
NAME   KIND       STATE   SERVICES  INSTANCES  HELD  LAST-SUCCESS
old    inventory  stale   2         4          0     never
vms/a  inventory  synced  2         4          0     AGE
"""
CLIENTS = """\
ID        ADDRESS        REVISION  CONNECTED  SYNCED  NACKS  LATENCY  REFUSAL
istiod-1  10.1.1.1:5000  stable    AGE        1/2     3      25ms     invalid host
"""


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("serviceentries serviceentry se SE", SERVICE_ENTRIES),
        ("workloadentries workloadentry we", WORKLOAD_ENTRIES),
        ("services service svc", SERVICES),
        ("conflicts conflict", CONFLICTS),
        ("sources source", SOURCES),
        ("clients client", CLIENTS),
    ],
)
def test_tables_look_as_documented(get: Run, words: str, expected: str) -> None:
    for word in words.split():
        result = get(word)

        assert result.exit_code == 0
        found = [re.split(r" {2,}", re.sub(r"\b\d+d\b", "AGE", line)) for line in result.stdout.splitlines()]
        assert found == [re.split(r" {2,}", line) for line in expected.splitlines()]


def test_table_columns_are_aligned_and_never_cut(capsys: pytest.CaptureFixture[str]) -> None:
    listing = kinds.find("sources")
    assert listing is not None
    item = {"kind": "inventory", "state": "synced", "services": 1, "instances": 10, "held": 0}
    items = [{**item, "name": "a" * 200, "lastSuccess": 995.0}, {**item, "name": "b", "lastSuccess": None}]

    show(listing, {"items": items, "generation": 1}, Format.TABLE, now=1000.0)

    header, first, second = capsys.readouterr().out.splitlines()
    assert first == f"{'a' * 200}  inventory  synced  1         10         0     5s"
    assert second == f"{'b':200}  inventory  synced  1         10         0     never"
    assert header.index("KIND") == first.index("inventory")


def test_yaml_is_what_was_served(get: Run, bridge: Any) -> None:
    result = get("se", "-o", "yaml")

    assert result.exit_code == 0
    assert list(yaml.safe_load_all(result.stdout)) == [entry.object for entry in bridge.view.entries]


def test_yaml_quotes_what_other_readers_take_for_numbers(get: Run) -> None:
    text = get("se", "-o", "yaml").stdout

    assert 'version: "1e3"' in text
    assert 'canary: "y"' in text


def test_json_is_a_list_that_kubectl_takes(get_json: Callable[..., Any], bridge: Any) -> None:
    assert get_json("se") == {
        "apiVersion": "v1",
        "kind": "List",
        "items": [entry.object for entry in bridge.view.entries],
    }


def test_json_of_other_things_is_the_document_of_the_api(get_json: Callable[..., Any]) -> None:
    found = get_json("sources")

    assert found["generation"] == 7
    assert [item["name"] for item in found["items"]] == ["old", "vms/a"]


def test_yaml_of_other_things_is_the_document_of_the_api(get: Run) -> None:
    found = yaml.safe_load(get("clients", "-o", "yaml").stdout)

    assert found["items"][0]["types"][0]["acked"] == "a1"


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("se", "serviceentry/meshbridge/pay\nserviceentry/meshbridge/shop\n"),
        ("we", "workloadentry/legacy/shop-1\n"),
        ("sources", "source/old\nsource/vms/a\n"),
        ("svc", "service/meshbridge/shop\n"),
    ],
)
def test_names_are_one_a_line(get: Run, kind: str, expected: str) -> None:
    assert get(kind, "-o", "name").stdout == expected


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["shop"], ["shop"]),
        (["pay.old.mesh"], ["pay"]),
        (["-n", "meshbridge"], ["pay", "shop"]),
        (["-n", "nowhere"], []),
        (["--source", "old"], ["pay"]),
    ],
)
def test_filters_are_passed_on(
    get_json: Callable[..., Any], arguments: list[str], expected: list[str]
) -> None:
    assert [item["metadata"]["name"] for item in get_json("se", *arguments)["items"]] == expected


def test_nothing_found_is_said_on_stderr_only(get: Run) -> None:
    result = get("workloadgroups")

    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "no workloadgroups found\n"


def test_a_missing_name_fails_with_a_guess(get: Run) -> None:
    result = get("se", "shpo")

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == 'serviceentries "shpo" not found; did you mean "shop"?\n'


def test_an_unknown_resource_is_a_usage_error_with_a_guess(get: Run) -> None:
    result = get("servicentries")

    assert result.exit_code == 2
    assert 'did you mean "serviceentries"?' in result.stderr


def test_a_filter_that_makes_no_sense_is_a_usage_error(get: Run) -> None:
    result = get("sources", "-n", "legacy")

    assert result.exit_code == 2
    assert 'sources know no "namespace"' in result.stderr


def test_troubles_of_sources_are_told_on_stderr(get: Run, bridge: Any) -> None:
    bridge.view.ready = type(bridge.view.ready)(ready=False, waiting_for=["old"])
    bridge.view.reload_error = "line 3: no such key"

    result = get("sources")

    assert result.exit_code == 0
    assert result.stderr.splitlines() == [
        "old is stale: can't be read",
        "the bridge is not ready, it waits for old",
        "the last reload was refused: line 3: no such key",
    ]


def test_what_sources_hold_back_or_leave_out_is_told_on_stderr(get: Run, bridge: Any) -> None:
    odd = msgspec.structs.replace(
        bridge.view.sources()[0],
        name="odd",
        error="",
        held=3,
        details={"probes": "frozen: 3 of 4 failing", "without_service": "vms.csv:2: it names no service"},
    )
    bridge.view.sources = lambda: [odd]

    result = get("sources")

    assert result.stderr.splitlines() == [
        "odd lost 3 instances at once, which the guard keeps; "
        "when they are really gone: meshbridge release odd",
        "odd: probes are frozen: 3 of 4 failing",
        "odd left out: vms.csv:2: it names no service",
    ]


def test_a_service_that_is_not_published_yet_waits(get: Run, bridge: Any) -> None:
    unpublished = msgspec.structs.replace(bridge.view.services()[0], created=0.0)
    bridge.view.services = lambda: [unpublished]

    row = get("services").stdout.splitlines()[1].split()

    assert (row[6], row[-1]) == ("waiting", "never")


def test_watch_refuses_yaml(get: Run) -> None:
    assert get("se", "--watch", "-o", "yaml").exit_code == 2


def test_watch_shows_each_change_until_interrupted(
    start: Callable[..., subprocess.Popen[str]], bridge: Any, url: str, entry: Any
) -> None:
    process = start("get", "se", "--watch", "--admin", url)
    assert process.stdout is not None
    shown = [process.stdout.readline().split() for _ in range(3)]

    bridge.publish(entry("shop", "vms", 2), entry("new", "vms", 1))
    changed = [process.stdout.readline().split() for _ in range(3)]
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=5)

    assert [line[:3] for line in shown] == [
        ["EVENT", "NAMESPACE", "NAME"],
        ["ADDED", "meshbridge", "pay"],
        ["ADDED", "meshbridge", "shop"],
    ]
    assert [(line[0], line[2], line[5]) for line in changed] == [
        ("MODIFIED", "shop", "2/2"),
        ("ADDED", "new", "1/2"),
        ("DELETED", "pay", "2/2"),
    ]
    assert (process.returncode, stderr) == (130, "")


def test_watch_as_json_is_one_event_a_line(
    start: Callable[..., subprocess.Popen[str]], bridge: Any, url: str, entry: Any
) -> None:
    process = start("get", "se", "-w", "-o", "json", "--admin", url)
    assert process.stdout is not None
    first = [json.loads(process.stdout.readline()) for _ in range(2)]

    bridge.publish(entry("pay", "old", 2))
    gone = json.loads(process.stdout.readline())

    assert [event["type"] for event in first] == ["ADDED", "ADDED"]
    assert (gone["type"], gone["object"]["metadata"]["name"]) == ("DELETED", "shop")


def test_a_closed_pipe_is_quiet(
    start: Callable[..., subprocess.Popen[str]], bridge: Any, url: str, entry: Any
) -> None:
    bridge.view.entries = [entry(f"s{number}", "vms", 1) for number in range(3000)]
    process = start("get", "se", "-o", "yaml", "--admin", url)
    assert process.stdout is not None
    assert process.stderr is not None

    process.stdout.readline()
    process.stdout.close()

    assert process.stderr.read() == ""
    assert process.wait(5) == 141


def test_the_environment_names_the_bridge(run: Run, url: str) -> None:
    assert run("get", "se", MESHBRIDGE_ADMIN=url.removeprefix("http://")).exit_code == 0


def test_the_configuration_names_the_bridge_and_its_token(run: Run, bridge: Any, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("sesame")
    address = bridge.serve(token_file=str(token))
    config = tmp_path / "meshbridge.yaml"
    config.write_text(
        f"sources: [{{name: vms, kind: inventory, files: [a.yaml]}}]\n"
        f"admin: {{listen: '{address}', token_file: {token}}}\n"
    )

    assert run("get", "se", "-c", str(config)).exit_code == 0
    assert run("get", "se", "--admin", address, "--token-file", str(token)).exit_code == 0
    refused = run("get", "se", "--admin", address)
    assert refused.exit_code == 1
    assert "--token-file" in refused.stderr


def test_a_missing_token_file_is_a_usage_error(run: Run, tmp_path: Path) -> None:
    result = run("get", "se", "--token-file", str(tmp_path / "missing"))

    assert result.exit_code == 2
    assert "No such file" in result.stderr


def test_a_bridge_with_tls_needs_its_authority(
    run: Run, bridge: Any, certificates: Callable[[str], tuple[Path, Path, Path]]
) -> None:
    ca, cert, key = certificates("bridge")
    address = bridge.serve(tls={"cert_file": str(cert), "key_file": str(key)})

    assert run("get", "se", "--admin", f"https://{address}", "--ca", str(ca)).exit_code == 0
    distrusted = run("get", "se", "--admin", f"https://{address}")
    assert distrusted.exit_code == 3
    assert "certificate verify failed" in distrusted.stderr


def test_held_instances_say_why_and_quarantine_what_is_wrong(run: Any, url: str) -> None:
    held = run("get", "held", "--admin", url)
    kept_out = run("get", "quarantine", "--admin", url)

    assert held.stdout.splitlines()[0].split() == ["SOURCE", "SERVICE", "INSTANCE", "ADDRESS", "AGE", "WHY"]
    assert "a full read of the source found nothing" in held.stdout
    assert [line.split()[1:4] for line in kept_out.stdout.splitlines()[1:]] == [
        ["shop.mesh", "<none>", "yes"],
        ["shop.mesh", "b", "no"],
    ]


def test_instances_show_what_the_registries_hold(run: Any, url: str) -> None:
    result = run("get", "instances", "--source", "vms", "--admin", url)

    assert result.stdout.splitlines() == [
        "SOURCE  SERVICE  INSTANCE  ADDRESS   PORTS    HEALTH         WEIGHT  VERSION  LOCALITY",
        "vms     shop     a         10.0.0.1  80/http  ready          3       v2       eu/a",
        "vms     shop     b         10.0.0.2  <none>   unready, held  <none>  <none>   <none>",
    ]


def test_an_instance_is_found_by_its_address(run: Any, url: str) -> None:
    result = run("get", "instances", "10.0.0.2", "-o", "name", "--admin", url)

    assert result.stdout == "instance/vms/shop/b\n"


def test_help_names_everything_that_can_be_shown(run: Run) -> None:
    text = run("get", "--help").stdout

    assert [
        kind.name for kind in kinds.LISTINGS if f"  {kind.name}" not in text and f", {kind.name}" not in text
    ] == []
