from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from meshbridge.bridge.cli.program import app

Run = Callable[..., Result]

BRIDGE = "spec: {registries: [{type: eureka, name: spring, domain: eureka, port: 8761}]}\n"
ARGUMENTS = "EurekaSource: {Enabled: true, Address: [http://e/eureka]}\n"


@pytest.mark.parametrize(("program", "text"), [("higress", BRIDGE), ("meshregistry", ARGUMENTS)])
def test_file_of_another_bridge_gives_a_configuration_that_check_takes(
    run: Run, tmp_path: Path, program: str, text: str
) -> None:
    path, made = tmp_path / "in.yaml", tmp_path / "out.yaml"
    path.write_text(text)

    result = run("import", program, str(path))
    made.write_text(result.stdout)

    assert result.exit_code == 0
    assert run("check", "-c", str(made)).exit_code == 0


@pytest.mark.parametrize(
    "arguments",
    [("consul2istio", "--", "-fqdn", "consul.mesh"), ("dubbo2istio", "--", "-addr", "zk:2181")],
)
def test_flags_of_another_bridge_give_a_configuration_that_check_takes(
    run: Run, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    made = tmp_path / "out.yaml"

    made.write_text(run("import", *arguments).stdout)

    assert run("check", "-c", str(made)).exit_code == 0


def test_configuration_comes_from_stdin_too() -> None:
    result = CliRunner().invoke(app, ["import", "higress", "-"], input=BRIDGE)

    assert "kind: eureka" in result.stdout


def test_strict_fails_when_something_was_left_out(run: Run) -> None:
    result = run("import", "consul2istio", "--strict")

    assert result.exit_code == 1
    assert "kind: consul" in result.stdout
    assert "no port 80 is added" in result.stderr


@pytest.mark.parametrize(
    ("text", "words"), [("a: [", "is not YAML"), ("spec: {}", "nothing to import: it names no registry")]
)
def test_file_that_can_not_be_used_is_a_usage_error(run: Run, tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "in.yaml"
    path.write_text(text)

    result = run("import", "higress", str(path))

    assert result.exit_code == 2
    assert f"{path}: {words}" in result.stderr


def test_missing_file_is_a_usage_error(run: Run) -> None:
    result = run("import", "meshregistry", "/no/such")

    assert result.exit_code == 2
    assert "/no/such: No such file" in result.stderr
