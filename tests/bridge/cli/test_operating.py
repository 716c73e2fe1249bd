"""The commands around a running bridge: preflight, support-bundle, vm-bundle, top."""

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from rich.console import Console
from typer.testing import Result

from meshbridge.bridge.admin.view import Readiness, ResourceStatus
from meshbridge.bridge.cli.exits import CommandError
from meshbridge.bridge.cli.remote import Remote
from meshbridge.bridge.cli.top import screens

Run = Callable[..., Result]

MESH = "configSources: [{address: 'xds://bridge:16010'}, {address: 'k8s://'}]\n"


@pytest.fixture
def mesh(tmp_path: Path) -> Path:
    path = tmp_path / "mesh.yaml"
    path.write_text(MESH)
    return path


@pytest.fixture
def istiod() -> Iterator[Callable[..., str]]:
    """Starts a debug interface that answers with these texts."""
    servers = []

    def start(**answers: str) -> str:
        class Debug(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                text = answers.get(self.path.rpartition("/")[2])
                self.send_response(404 if text is None else 200)
                self.end_headers()
                self.wfile.write((text or "").encode())

            def log_message(self, *_: Any) -> None:
                pass

        server = HTTPServer(("127.0.0.1", 0), Debug)
        Thread(target=server.serve_forever, args=(0.01,)).start()
        servers.append(server)
        return f"127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def verdicts(result: Result) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for item in json.loads(result.stdout)["items"]:
        found.setdefault(item["check"], []).append(item["verdict"])
    return found


def test_preflight_looks_at_everything_it_is_given(
    run: Run, url: str, mesh: Path, istiod: Callable[..., str], view: Any
) -> None:
    view.clients = lambda: []
    held = [found.object for found in (*view.entries, *view.resources("WorkloadEntry"))]
    debug = istiod(version="1.31.0-abc-Clean", configz=json.dumps(held))

    result = run("preflight", "--admin", url, "--mesh-config", str(mesh), "--istiod", debug, "-o", "json")

    assert verdicts(result) == {
        "config sources": ["ok"],
        "Kubernetes": ["ok"],
        "bridge": ["ok"],
        "istiod": ["failed"],
        "accepted": ["ok"],
    }
    assert result.exit_code == 1


def test_preflight_tells_what_it_did_not_look_at(run: Run) -> None:
    result = run("preflight", "--admin", "http://127.0.0.1:1")

    assert result.exit_code == 0
    assert "config sources  warning  not looked at; give istiod's configuration" in result.stdout
    assert "bridge          warning  not looked at: no bridge answers" in result.stdout


def test_preflight_finds_what_istiod_lacks(run: Run, url: str, istiod: Callable[..., str]) -> None:
    result = run("preflight", "--admin", url, "--istiod", istiod(configz="null"))

    assert "istiod lacks 3" in result.stdout
    assert "istiod-1 refused the newest answer: invalid host" in result.stdout


@pytest.mark.parametrize("answers", [{}, {"configz": "<html>"}])
def test_preflight_goes_on_without_the_debug_interface(
    run: Run, url: str, istiod: Callable[..., str], answers: dict[str, str]
) -> None:
    result = run("preflight", "--admin", url, "--istiod", istiod(**answers), "-o", "json")

    assert verdicts(result)["accepted"] == ["warning"]


def test_preflight_uses_the_release_it_is_told(run: Run, tmp_path: Path, mesh: Path) -> None:
    mesh.write_text(MESH.replace("16010'", "16010', tlsSettings: {mode: SIMPLE}"))

    result = run("preflight", "--mesh-config", str(mesh), "--istio-version", "1.20", "--admin", "unix:///no")

    assert "istiod 1.20 speaks plaintext" in result.stdout
    assert result.exit_code == 1


def test_preflight_reads_how_the_bridge_serves_from_its_configuration(
    run: Run, tmp_path: Path, mesh: Path
) -> None:
    config = tmp_path / "meshbridge.yaml"
    config.write_text(
        "sources: [{name: vms, kind: inventory, files: [/a.yaml]}]\n"
        "outputs: {mcp: {listen: '127.0.0.1:15999'}}\nadmin: {listen: '127.0.0.1:1'}\n"
    )

    result = run("preflight", "-c", str(config), "--mesh-config", str(mesh))

    assert "none of xds://bridge:16010, k8s:// is the bridge; add xds://BRIDGE:15999" in result.stdout


def test_preflight_without_the_mcp_output_takes_the_first_server(
    run: Run, tmp_path: Path, mesh: Path
) -> None:
    config = tmp_path / "meshbridge.yaml"
    config.write_text(
        "sources: [{name: vms, kind: inventory, files: [/a.yaml]}]\n"
        "outputs: {mcp: {enabled: false}}\nadmin: {listen: '127.0.0.1:1'}\n"
    )

    result = run("preflight", "-c", str(config), "--mesh-config", str(mesh))

    assert "istiod reads xds://bridge:16010" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--mesh-config", "/no/such"), "/no/such: No such file"),
        (("--istio-version", "new"), "--istio-version new is no release"),
        (("--istiod", "ftp://x"), "--istiod ftp://x is not http(s)://HOST:PORT"),
        (("--server", "127.0.0.1:1", "--ca", "/no/such"), "/no/such: No such file"),
    ],
)
def test_preflight_refuses_what_it_can_not_use(run: Run, arguments: tuple[str, ...], words: str) -> None:
    result = run("preflight", *arguments, "--admin", "unix:///no")

    assert result.exit_code == 2
    assert words in result.stderr


def test_preflight_refuses_a_file_that_is_no_mesh_config(run: Run, mesh: Path) -> None:
    mesh.write_text("kind: Pod\n")

    result = run("preflight", "--mesh-config", str(mesh), "--admin", "unix:///no")

    assert result.exit_code == 2
    assert "holds no mesh configuration" in result.stderr


def test_bundle_holds_what_the_bridge_says_and_what_is_not_to_be_had(
    run: Run, url: str, tmp_path: Path
) -> None:
    target = tmp_path / "b.tar.gz"

    result = run("support-bundle", "--admin", url, "-o", str(target), "--resources")

    assert result.exit_code == 0
    assert result.stdout == f"{target}\n"
    with tarfile.open(target) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    assert {"about.json", "readyz.json", "metrics.txt", "sources.json", "serviceentries.json"} <= names


def test_bundle_of_an_absent_bridge_says_so(run: Run, tmp_path: Path) -> None:
    result = run("support-bundle", "--admin", "http://127.0.0.1:1", "-o", str(tmp_path / "b.tar.gz"))

    assert result.exit_code == 0
    assert "sources.json: not to be had: no bridge answers" in result.stderr


def test_bundle_has_no_metrics_that_need_a_token(run: Run, bridge: Any, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("sesame-open")
    url = f"http://{bridge.serve(token_file=str(token))}"

    result = run("support-bundle", "--admin", url, "-o", str(tmp_path / "b.tar.gz"))

    assert "metrics.txt: not to be had: the bridge refuses: status 401" in result.stderr


def test_bundle_that_can_not_be_written_fails(run: Run, url: str) -> None:
    result = run("support-bundle", "--admin", url, "-o", "/no/such/b.tar.gz")

    assert result.exit_code == 1
    assert "/no/such/b.tar.gz: No such file" in result.stderr


def group(namespace: str) -> ResourceStatus:
    manifest = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "WorkloadGroup",
        "metadata": {"name": "shop", "namespace": namespace},
        "spec": {"template": {"serviceAccount": "shop"}},
    }
    return ResourceStatus(manifest, ["vms"], 1, 1, 0.0)


def test_vm_bundle_writes_every_file_and_says_what_is_missing(
    run: Run, url: str, view: Any, tmp_path: Path
) -> None:
    view.groups = [group("legacy")]

    result = run("vm-bundle", "shop", "-d", str(tmp_path / "vm"), "--network", "vms", "--admin", url)

    assert result.exit_code == 0
    assert {path.name for path in (tmp_path / "vm").iterdir()} == {
        *("mesh.yaml", "cluster.env", "hosts", "README.txt"),
    }
    assert "ISTIO_META_NETWORK=vms\n" in (tmp_path / "vm" / "cluster.env").read_text()
    assert "root-cert.pem and istio-token are to be added" in result.stderr
    assert "hosts is empty" in result.stderr


def test_vm_bundle_with_an_ingress_address_fills_the_hosts(
    run: Run, url: str, view: Any, tmp_path: Path
) -> None:
    view.groups = [group("legacy")]

    result = run("vm-bundle", "shop", "-d", str(tmp_path), "--ingress-ip", "192.0.2.7", "--admin", url)

    assert "hosts is empty" not in result.stderr
    assert (tmp_path / "hosts").read_text() == "192.0.2.7 istiod.istio-system.svc\n"


def test_vm_bundle_of_a_name_in_two_namespaces_asks_which(
    run: Run, url: str, view: Any, tmp_path: Path
) -> None:
    view.groups = [group("a"), group("b")]

    result = run("vm-bundle", "shop", "-d", str(tmp_path), "--admin", url)

    assert result.exit_code == 2
    assert "is in a, b; say one with -n" in result.stderr


def test_vm_bundle_of_an_unknown_group_guesses(run: Run, url: str, view: Any, tmp_path: Path) -> None:
    view.groups = [group("legacy")]

    result = run("vm-bundle", "shopp", "-d", str(tmp_path), "--admin", url)

    assert result.exit_code == 1
    assert 'workload group "shopp" not found; did you mean "shop"?' in result.stderr


def test_vm_bundle_without_any_group_says_so(run: Run, url: str, tmp_path: Path) -> None:
    assert "there are none" in run("vm-bundle", "shop", "-d", str(tmp_path), "--admin", url).stderr


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    [
        (("--ingress-ip", "gateway"), "--ingress-ip gateway is not an IP address", 2),
        (("-d", "/dev/null/x"), "/dev/null/x", 1),
    ],
)
def test_vm_bundle_refuses_what_it_can_not_use(
    run: Run, url: str, view: Any, tmp_path: Path, arguments: tuple[str, ...], words: str, code: int
) -> None:
    view.groups = [group("legacy")]

    result = run("vm-bundle", "shop", "-d", str(tmp_path), "--admin", url, *arguments)

    assert result.exit_code == code
    assert words in result.stderr


def test_top_once_shows_bridge_sources_and_clients(run: Run, url: str) -> None:
    result = run("top", "--once", "--admin", url)

    assert result.exit_code == 0
    assert result.stdout.startswith("ready; 2 sources, 8 instances, 0 held; publication 7\n")
    assert "\nvms/a " in result.stdout
    assert "\nistiod-1 " in result.stdout


def test_top_says_what_the_bridge_waits_for_and_refused(run: Run, url: str, view: Any) -> None:
    view.ready = Readiness(ready=False, waiting_for=["vms"])
    view.reload_error = "line 3"

    assert run("top", "--once", "--admin", url).stdout.startswith(
        "waits for vms; 2 sources, 8 instances, 0 held; publication 7; reload refused: line 3\n"
    )


def test_top_of_an_absent_bridge_fails(run: Run) -> None:
    assert run("top", "--once", "--admin", "http://127.0.0.1:1").exit_code == 3


def test_top_shows_what_it_last_saw_of_a_bridge_that_went_away_and_follows_it_again(
    url: str, view: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = Remote(url)
    seen = screens(remote)

    before = drawn(next(seen))
    monkeypatch.setattr(remote, "readiness", Remote("http://127.0.0.1:1").readiness)
    away = drawn(next(seen))
    monkeypatch.undo()
    view.reload_error = "line 3"
    after = drawn(next(seen))

    assert before.startswith("ready; 2 sources")
    assert away.startswith("the bridge doesn't answer since")
    assert "ready; 2 sources" in away
    assert "reload refused: line 3" in after


def test_top_ends_when_the_bridge_refuses(bridge: Any, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("sesame-open")
    address = bridge.serve(token_file=str(token))

    with pytest.raises(CommandError, match="the bridge refuses"):
        next(screens(Remote(f"http://{address}")))


def drawn(screen: Any) -> str:
    console = Console(width=200, file=io.StringIO(), record=True)
    console.print(screen)
    return console.export_text()
