import importlib.util

import pytest

ARGUMENTS = ("tools", "register-eureka", "shop", "10.0.0.7", "8080")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--server", "http://me:s3cret@eureka/eureka"), "--password-file"),
        (("--server", "eureka:8761"), "no http:// or https:// address"),
        (("--metadata", "version"), "'version' is not KEY=VALUE"),
        (("--metadata", "=v1"), "is not KEY=VALUE"),
        (("--password-file", "/nowhere"), "can't be read"),
    ],
)
def test_mistakes_are_told_without_secrets(run, arguments: tuple[str, ...], text: str) -> None:
    result = run(*ARGUMENTS, *arguments)

    assert result.exit_code == 2
    assert text in result.stderr
    assert "s3cret" not in result.output


@pytest.mark.parametrize(("app", "address"), [("a b", "10.0.0.7"), ("shop", "vm.corp")])
def test_names_and_addresses_have_to_be_some(run, app: str, address: str) -> None:
    assert run("tools", "register-eureka", app, address, "8080").exit_code == 2


def test_missing_library_is_named_with_its_extra(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    result = run(*ARGUMENTS)

    assert result.exit_code == 2
    assert "pip install 'meshbridge[tools]'" in result.stderr


def test_server_that_is_not_there_is_named(run, tmp_path) -> None:
    (tmp_path / "password").write_text("s3cret\n")
    secret = ("--username", "me", "--password-file", str(tmp_path / "password"))

    result = run(*ARGUMENTS, "--server", "http://127.0.0.1:9/eureka/", "--zone", "eu-1a", *secret)

    assert result.exit_code == 1
    assert result.stderr == "http://127.0.0.1:9/eureka: register: no answer (URLError)\n"
