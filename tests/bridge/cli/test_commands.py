import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import Result

from meshbridge.bridge.cli.exits import CommandError, ExitCode
from meshbridge.bridge.cli.options import configured_url
from meshbridge.bridge.cli.output import age, print_table
from meshbridge.bridge.cli.program import app, exit_codes
from meshbridge.bridge.config.models import Admin
from meshbridge.schemas.errors import ConfigError, SinkError

Run = Callable[..., Result]

COMMANDS = (
    *(
        "run",
        "check",
        "get",
        "explain",
        "release",
        "diff",
        "record",
        "replay",
        "top",
        "client",
        "preflight",
        "conformance",
    ),
    *("support-bundle", "vm-bundle", "tools", "import", "demo", "schema", "version"),
)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_has_an_example(run: Run, command: str) -> None:
    result = run(command, "--help")

    assert result.exit_code == 0
    assert "Example" in result.stdout
    assert f"  meshbridge {command}" in result.stdout


def test_help_lists_every_command(run: Run) -> None:
    result = run("--help")

    assert all(f"\n  {command} " in result.stdout for command in COMMANDS)
    assert result.stdout.count("...") == 1  # Of the usage line: no summary is cut.


def test_help_loads_no_heavy_library() -> None:
    heavy = {"aiohttp", "grpc", "yaml", "rich", "msgspec", "structlog"}
    program = (
        "import sys; from meshbridge.bridge.cli.program import app\n"
        "app(['get', '--help'], standalone_mode=False)\n"
        f"print(sorted({heavy} & set(sys.modules)))"
    )

    found = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)

    assert found.stdout.splitlines()[-1] == "[]"


def test_unknown_command_is_a_usage_error_with_a_guess(run: Run) -> None:
    result = run("gett", "se")

    assert result.exit_code == 2
    assert "'get'" in result.stderr


def test_version_is_that_of_the_package(run: Run) -> None:
    assert run("version").stdout == f"meshbridge {version('meshbridge')}\n"


def test_schema_is_json_schema_of_the_configuration(run: Run) -> None:
    found = json.loads(run("schema").stdout)

    assert {"sources", "rules", "admin"} <= set(found["properties"])


def test_explain_shows_each_step(run: Run, url: str) -> None:
    result = run("explain", "shop", "--admin", url)

    assert result.exit_code == 0
    assert result.stdout == (
        "vms/shop: served\n"
        "  STAGE   VERDICT  WHY\n"
        "  source  ok       2 instances\n"
        "  rules   dropped  rule 1\n"
    )


def test_explain_fails_when_what_matches_is_not_served(run: Run, url: str) -> None:
    result = run("explain", "hidden", "--admin", url)

    assert result.exit_code == 1
    assert result.stdout.startswith("vms/hidden: not served\n")


def test_explain_fails_when_nothing_matches(run: Run, url: str) -> None:
    result = run("explain", "nobody", "--admin", url)

    assert (result.exit_code, result.stdout) == (1, "")
    assert "nobody" in result.stderr


def test_explain_as_json_is_the_document_of_the_api(run: Run, url: str) -> None:
    found = json.loads(run("explain", "shop", "-o", "json", "--admin", url).stdout)

    assert found["items"][0]["steps"][0] == {"stage": "source", "verdict": "ok", "text": "2 instances"}


def test_release_goes_through_the_unix_socket(run: Run, bridge: Any, tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    bridge.serve(socket=str(path))

    result = run("release", "vms/a", "--admin", f"unix://{path}")

    assert (result.exit_code, result.stdout) == (0, "released 3 instances of vms/a\n")
    assert bridge.view.released == ["vms/a"]


def test_release_takes_the_socket_from_the_configuration(run: Run, bridge: Any, tmp_path: Path) -> None:
    path, config = tmp_path / "admin.sock", tmp_path / "meshbridge.yaml"
    bridge.serve(socket=str(path))
    config.write_text(
        f"sources: [{{name: vms, kind: inventory, files: [a.yaml]}}]\nadmin: {{socket: {path}}}\n"
    )

    assert run("release", "vms", "-c", str(config)).exit_code == 0


def test_release_of_an_unknown_source_fails(run: Run, bridge: Any, tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    bridge.serve(socket=str(path))

    result = run("release", "nobody", "--admin", f"unix://{path}")

    assert result.exit_code == 1
    assert "there is no source 'nobody'" in result.stderr


def test_release_without_a_token_says_what_to_give(run: Run, url: str) -> None:
    result = run("release", "vms", "--admin", url)

    assert result.exit_code == 1
    assert "--token-file" in result.stderr


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("command", [["get", "se"], ["explain", "x"], ["release", "x"]])
def test_no_bridge_is_exit_code_3_with_the_url(run: Run, command: list[str]) -> None:
    url = f"http://127.0.0.1:{closed_port()}"

    result = run(*command, "--admin", url)

    assert (result.exit_code, result.stdout) == (3, "")
    assert url in result.stderr
    assert "meshbridge run" in result.stderr


def test_no_socket_is_exit_code_3(run: Run, tmp_path: Path) -> None:
    assert run("get", "se", "--admin", f"unix://{tmp_path}/missing.sock").exit_code == 3


@pytest.mark.parametrize(
    "url", ["ftp://x", "http://", "http://x:port", "http://[::1", "unix://", "http://x:0"]
)
def test_a_url_that_is_none_is_a_usage_error(run: Run, url: str) -> None:
    result = run("get", "se", "--admin", url)

    assert result.exit_code == 2
    assert "is not http(s)://HOST:PORT" in result.stderr


@pytest.fixture
def stranger() -> Iterator[str]:
    """A web server that is no bridge."""

    class Hello(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b"[]" if "sources" in self.path else b"<html>"
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Hello) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_bytes_of_another_protocol_are_not_shown(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            accepted, _ = listening.accept()
            with accepted:
                accepted.recv(1000)
                accepted.sendall(b"\x00\x1b[31m\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        result = run("get", "se", "--admin", f"http://127.0.0.1:{listening.getsockname()[1]}")
        thread.join()

    assert result.exit_code == 3
    assert "does not speak HTTP" in result.stderr
    assert "\x1b" not in result.stderr


@pytest.mark.parametrize("kind", ["se", "sources"])
def test_another_server_is_not_taken_for_a_bridge(run: Run, stranger: str, kind: str) -> None:
    result = run("get", kind, "--admin", stranger)

    assert result.exit_code == 3
    assert "is not meshbridge" in result.stderr


def test_check_sums_up_a_good_configuration(run: Run, tmp_path: Path) -> None:
    config = tmp_path / "meshbridge.yaml"
    config.write_text("sources: [{name: vms, kind: inventory, files: [a.yaml]}]\n")

    result = run("check", "-c", str(config))

    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == (
        f"{config}: ok. Sources: vms. MCP on 127.0.0.1:16010, admin on 127.0.0.1:16080.\n"
    )


@pytest.mark.parametrize("command", ["check", "run"])
def test_every_problem_of_a_configuration_is_a_line_on_stderr(run: Run, tmp_path: Path, command: str) -> None:
    config = tmp_path / "meshbridge.yaml"
    config.write_text("sources: [{name: vms, kind: inventory, files: [a.yaml], fils: x}]\nadmn: {}\n")

    result = run(command, "-c", str(config))

    assert (result.exit_code, result.stdout) == (2, "")
    lines = result.stderr.splitlines()
    assert len(lines) == 2
    assert all(line.startswith(f"{config}:") for line in lines)


def test_a_missing_configuration_is_exit_code_2(run: Run, tmp_path: Path) -> None:
    assert run("check", "-c", str(tmp_path / "missing.yaml")).exit_code == 2


def test_check_connect_reads_the_sources(run: Run, tmp_path: Path) -> None:
    (tmp_path / "vms.csv").write_text("service,address,port\nshop,10.0.0.1,80\nshop,10.0.0.2,80\n")
    config = tmp_path / "meshbridge.yaml"
    config.write_text(f"sources: [{{name: vms, kind: inventory, files: [{tmp_path}/vms.csv]}}]\n")

    result = run("check", "-c", str(config), "--connect")

    assert result.exit_code == 0, result.stderr
    header, row = (line.split() for line in result.stdout.splitlines())
    assert header == ["NAME", "KIND", "OK", "SERVICES", "INSTANCES", "PROBLEMS"]
    assert row == ["vms", "inventory", "yes", "1", "2", "0"]


def test_check_warns_of_rules_that_cannot_be_meant_so(run: Run, tmp_path: Path) -> None:
    config = tmp_path / "meshbridge.yaml"
    rules = "rules: [{match: {source: vmss}, drop: true}]"
    config.write_text(f"sources: [{{name: vms, kind: inventory, files: [a.yaml]}}]\n{rules}\n")

    result, strict = run("check", "-c", str(config)), run("check", "-c", str(config), "--strict")

    assert (result.exit_code, strict.exit_code) == (0, 1)
    for one in (result, strict):
        assert ": ok. Sources: vms." in one.stdout
        assert one.stderr.startswith('warning: rules[0]: match.source "vmss" is no source, there are vms; ')


def test_check_connect_warns_of_rules_and_services_that_do_not_meet(run: Run, tmp_path: Path) -> None:
    (tmp_path / "vms.csv").write_text("service,address,port\nshop,10.0.0.1,80\nSHOP,10.0.0.2,81\n")
    config = tmp_path / "meshbridge.yaml"
    source = f"sources: [{{name: vms, kind: inventory, files: [{tmp_path}/vms.csv]}}]"
    config.write_text(f"{source}\nrules: [{{match: {{service: pay}}, set: {{weight: 1}}}}]\n")

    result = run("check", "-c", str(config), "--connect", "--strict")

    assert result.exit_code == 1
    assert "warning: rules[0]: matches nothing" in result.stderr
    assert "warning: no rule matches vms/SHOP, vms/shop: the defaults decide" in result.stderr
    assert "warning: meshbridge/shop.vms.mesh: vms/SHOP, vms/shop collide" in result.stderr


def test_check_connect_fails_when_a_source_cannot_be_read(run: Run, tmp_path: Path) -> None:
    config = tmp_path / "meshbridge.yaml"
    url = f"http://127.0.0.1:{closed_port()}/"
    config.write_text(f"sources: [{{name: vms, kind: inventory, urls: ['{url}']}}]\n")

    result = run("check", "-c", str(config), "--connect", "--timeout", "5")

    assert result.exit_code == 1
    assert "vms: " in result.stderr


def test_run_on_a_taken_address_fails_without_a_traceback(
    start: Callable[..., subprocess.Popen[str]], bridge: Any, tmp_path: Path
) -> None:
    taken = bridge.serve()
    config = tmp_path / "meshbridge.yaml"
    config.write_text(
        f"sources: [{{name: vms, kind: inventory, files: [{tmp_path}/a.yaml]}}]\n"
        f"outputs: {{mcp: {{listen: '127.0.0.1:0'}}}}\nadmin: {{listen: '{taken}'}}\n"
    )

    _, stderr = start("run", "-c", str(config)).communicate(timeout=10)

    assert f"admin: can't listen on {taken}: Address already in use" in stderr.splitlines()
    assert "Traceback" not in stderr


@pytest.mark.parametrize(
    ("errors", "code"),
    [
        ([CommandError("x", ExitCode.UNREACHABLE)], 3),
        ([ConfigError(["x", "y"])], 2),
        ([SinkError("mcp", "x", retryable=False)], 1),
        ([SinkError("mcp", "x", retryable=False), ConfigError(["y"])], 2),
    ],
)
def test_expected_errors_of_task_groups_have_exit_codes(errors: list[Exception], code: int) -> None:
    with pytest.raises(typer.Exit) as ended, exit_codes():
        raise ExceptionGroup("tasks", [ExceptionGroup("more", errors)])

    assert ended.value.exit_code == code


def test_bugs_keep_their_traceback() -> None:
    with pytest.raises(ExceptionGroup, match="tasks"), exit_codes():
        raise ExceptionGroup("tasks", [ConfigError(["x"]), ValueError("a bug")])


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({}, "http://127.0.0.1:16080"),
        ({"listen": "localhost:1"}, "http://localhost:1"),
        ({"listen": "0.0.0.0:1", "token_file": "t"}, "http://127.0.0.1:1"),
        ({"listen": ":1", "token_file": "t"}, "http://127.0.0.1:1"),
        ({"listen": "[::]:1", "token_file": "t"}, "http://[::1]:1"),
        ({"tls": {"cert_file": "c", "key_file": "k"}}, "https://127.0.0.1:16080"),
        ({"socket": "/missing.sock"}, "http://127.0.0.1:16080"),
    ],
)
def test_configured_url_is_reachable_from_the_same_machine(settings: dict[str, Any], url: str) -> None:
    assert configured_url(Admin(**settings)) == url


@pytest.mark.parametrize(
    ("since", "text"),
    [
        (None, "never"),
        (1_000_005.0, "0s"),
        (999_881.0, "119s"),
        (999_880.0, "2m"),
        (992_801.0, "119m"),
        (992_800.0, "2h"),
        (827_201.0, "47h"),
        (827_200.0, "2d"),
    ],
)
def test_ages_are_written_as_kubectl_does(since: float | None, text: str) -> None:
    assert age(since, 1_000_000.0) == text


def test_a_terminal_gets_colours_and_whole_cells(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")

    print_table(("NAME", "STATE"), [["vms", "stale"], ["", "synced"]])

    shown = capsys.readouterr().out
    assert "\x1b[33mstale" in shown
    assert "<none>" in shown


def test_every_command_is_in_the_readme() -> None:
    readme = (Path(__file__).parents[3] / "README.md").read_text()
    commands = readme.partition("## Commands")[2].partition("\n## ")[0]

    names = typer.main.get_command(app).commands  # A group, since there are many.
    assert [name for name in names if f"`{name}`" not in commands] == []
