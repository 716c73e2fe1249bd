from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from meshbridge.bridge.operate.support import members

PASSWORD = "eureka-pa55word"
TOKEN = "consul-t0ken-1234"
FROM_ENVIRONMENT = "env-secret-value"

CONFIG = """
sources:
- name: spring
  kind: eureka
  urls: ['http://eureka:8761/eureka']
  username: bob
  password: {password}
- {{name: dc1, kind: consul, token_file: {token}}}
- {{name: vms, kind: inventory, files: [/etc/vms/*.yaml]}}
defaults: {{host: "{{service}}.${{ZONE}}.mesh"}}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    token = tmp_path / "token"
    token.write_text(f"{TOKEN}\n")
    path = tmp_path / "meshbridge.yaml"
    path.write_text(CONFIG.format(password=PASSWORD, token=token))
    return path


def bundle(config: Path | None, questions: Mapping[str, Any] | None = None, **environ: str) -> dict[str, str]:
    return members(config, questions or {}, {"ZONE": FROM_ENVIRONMENT, **environ})


def test_no_secret_of_the_configuration_is_in_the_bundle(config: Path) -> None:
    answers = {
        "metrics.txt": lambda: f"error_total{{text={TOKEN!r}}} 1\n",
        "sources.json": lambda: {"items": [{"error": f"{PASSWORD} refused", "zone": FROM_ENVIRONMENT}]},
    }

    found = "\n".join(bundle(config, answers).values())

    for secret in (PASSWORD, TOKEN, FROM_ENVIRONMENT):
        assert secret not in found


def test_configuration_is_there_as_written(config: Path) -> None:
    found = bundle(config)

    assert "kind: inventory" in found["config.yaml"]
    assert "${ZONE}" in found["config.yaml"]
    assert "config-problems.txt" not in found


def test_mistakes_of_the_configuration_are_told(config: Path) -> None:
    config.write_text("sources: [{name: x, kind: consul, tokn: abc}]\n")

    found = bundle(config)

    assert "tokn" in found["config-problems.txt"]
    assert "name: x" in found["config.yaml"]


def test_wrong_configuration_gives_no_secret_away_either(config: Path) -> None:
    wrong = config.read_text().replace("http://eureka", "http://bob:url-cred3ntial@eureka")
    config.write_text(wrong)

    found = "\n".join(bundle(config, {"x.json": lambda: PASSWORD}).values())

    assert "sources[0].urls[0]" in found
    assert "url-cred3ntial" not in found
    assert PASSWORD not in found


def test_text_that_is_no_yaml_is_left_out(config: Path) -> None:
    config.write_text(f"sources: [{PASSWORD}\n")

    assert bundle(config)["config.yaml"] == "is not YAML\n"


def test_answer_that_is_not_to_be_had_says_why() -> None:
    def fail() -> object:
        raise OSError("no bridge answers")

    found = bundle(None, {"readyz.json": fail, "clients.json": lambda: {"items": []}})

    assert found["readyz.json"] == "not to be had: no bridge answers\n"
    assert '"items": []' in found["clients.json"]


def test_versions_are_told() -> None:
    found = bundle(None)["about.json"]

    assert '"meshbridge"' in found
    assert '"aiohttp"' in found


def test_secret_files_that_can_not_be_read_hold_nothing_up(config: Path, tmp_path: Path) -> None:
    (tmp_path / "token").unlink()

    assert PASSWORD not in bundle(config)["config.yaml"]


def test_secret_type_is_what_the_models_use() -> None:
    from meshbridge.schemas.settings import Secret

    assert Secret is SecretStr
