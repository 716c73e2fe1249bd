"""Every example of the README is one: it loads, and nothing about it is probably wrong."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from meshbridge.bridge.check import check_rules
from meshbridge.bridge.config.loading import load
from meshbridge.bridge.pipeline.filters import FILTERS
from meshbridge.bridge.pipeline.hosts import KUBERNETES
from meshbridge.bridge.pipeline.presets import PRESETS
from meshbridge.bridge.pipeline.template import MAPPINGS, VARIABLES

README = (Path(__file__).parents[3] / "bridge" / "pipeline" / "README.md").read_text()
EXAMPLES = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
CONFIGURATIONS = [text for text in EXAMPLES if text.startswith("sources:")]


def test_there_are_examples() -> None:
    assert len(CONFIGURATIONS) >= 7
    assert len(EXAMPLES) == len(CONFIGURATIONS) + 1


@pytest.mark.parametrize("text", CONFIGURATIONS)
def test_example_is_a_configuration_without_a_warning(text: str, tmp_path: Path) -> None:
    file = tmp_path / "meshbridge.yaml"
    file.write_text(text)

    assert check_rules(load(file, {})) == []


def test_example_of_a_destination_rule_is_one() -> None:
    [text] = [text for text in EXAMPLES if not text.startswith("sources:")]

    found: Mapping[str, Any] = yaml.safe_load(text)

    assert found["kind"] == "DestinationRule"
    assert found["spec"]["trafficPolicy"]["outlierDetection"]


@pytest.mark.parametrize("known", [*FILTERS, *PRESETS, *VARIABLES, *(f"{name}.KEY" for name in MAPPINGS)])
def test_readme_names_everything_that_may_be_written(known: str) -> None:
    usages: list[Callable[[str], str]] = ["`{}`".format, "`{}(".format, "{{{}}}".format]

    assert any(usage(known) in README for usage in usages)


@pytest.mark.parametrize("pattern", ["*.cluster.local", "*.svc", "kubernetes.*", "localhost"])
def test_readme_names_hosts_that_are_denied(pattern: str) -> None:
    assert pattern in KUBERNETES
    assert f"`{pattern}`" in README
