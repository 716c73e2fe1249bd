from pathlib import Path

import jsonschema
import pytest
import yaml

from meshbridge.bridge.config.loading import load
from meshbridge.bridge.config.models import Config
from meshbridge.bridge.config.schema import Schema, schema, variants

EXCLUSIVE = {
    ("rules[]", "drop"),
    ("rules[].set", "preset"),
    ("defaults", "preset"),
    ("admin.tls", "client_ca_file"),
    ("outputs.mcp.allow[]", "san"),
    ("outputs.mcp.allow[]", "cn"),
}
"""Keys that don't go with others of the first entry."""

GOOD = Path(__file__).parent / "good.yaml"


@pytest.fixture
def config() -> Config:
    return load(GOOD, {"INVENTORY": "/srv/vms"})


def test_good_file_sets_every_key_outside_sources() -> None:
    content = yaml.safe_load(GOOD.read_text())
    sections = {key: part for key, part in schema()["properties"].items() if key != "sources"}

    missing = [path for key, part in sections.items() for path in unset(key, part, content.get(key))]

    assert missing == []


def unset(path: str, part: Schema, value: object) -> list[str]:
    """Give the keys that the schema knows and the value lacks; of a list, its first entry counts."""
    if value is None:
        return [path]
    found: list[str] = []
    for variant in variants(part):
        if "items" in variant and isinstance(value, list):
            found += unset(f"{path}[]", variant["items"], value[0])
        if isinstance(value, dict):
            for key, child in variant.get("properties", {}).items():
                if (path, key) not in EXCLUSIVE:
                    found += unset(f"{path}.{key}", child, value.get(key))
    return found


def test_good_file_means_what_it_says(config: Config) -> None:
    rule, preset, second = config.rules

    assert rule.match.service == ("shop-*", "/cart-[0-9]+/")
    assert rule.match.port == ("8080", "admin", "9*")
    assert rule.match.metadata == {"zone": ("eu-1a", "eu-1b")}
    assert rule.set.labels == {"version": "{version}-canary", "zone": None, "on": "yes"}
    assert rule.set.ports == {"http": 80, "admin": 9000}
    assert preset.set.preset == "dubbo2istio"
    assert second.drop
    assert config.safety.hosts.allow == ("*.legacy", "*.mesh")
    assert config.safety.hold == 5400.0
    assert config.safety.max_age == 2 * 86400.0
    assert config.outputs.mcp.min_push_interval == 0.2
    assert [source.name for source in config.sources] == ["vms", "lab"]
    assert [source.required for source in config.sources] == [False, True]


def test_environment_fills_texts_and_is_escaped_by_a_second_dollar(config: Config) -> None:
    files = [str(source.model_dump()["files"][0]) for source in config.sources]

    assert files == ["/srv/vms/*.yaml", "/srv/${literal}/*.csv"]


def test_schema_is_valid_and_takes_the_good_file() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())

    jsonschema.Draft202012Validator(schema()).validate(yaml.safe_load(GOOD.read_text()))


def test_smallest_file_has_the_defaults() -> None:
    config = Config.model_validate({"sources": [{"name": "vms", "kind": "inventory", "files": ["a.yaml"]}]})

    assert config.defaults.host == "{service}.{source}.mesh"
    assert config.defaults.namespace == "meshbridge"
    assert config.outputs.mcp.listen == "127.0.0.1:16010"
    assert config.admin.listen == "127.0.0.1:16080"
    assert (config.safety.min_removed, config.safety.max_removed_percent) == (10, 20)
    assert (config.safety.window, config.safety.hold, config.safety.max_age) == (60, 600, 86400)
    assert (config.safety.startup, config.safety.grace, config.safety.state_dir) == ("hold", 60, "")
