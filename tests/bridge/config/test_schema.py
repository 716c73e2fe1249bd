import json
from pathlib import Path

import pytest

from meshbridge.adapters import ADAPTERS
from meshbridge.bridge.config import reference
from meshbridge.bridge.config.schema import format_duration, parts_at, schema, schema_text
from meshbridge.schemas.settings import parse_duration

ROOT = Path(__file__).parents[3]


def test_committed_schema_is_up_to_date() -> None:
    committed = (ROOT / "schemas" / "config.schema.json").read_text()

    assert committed == schema_text(), "run `make schema`"


def test_committed_reference_is_up_to_date() -> None:
    committed = (ROOT / "bridge" / "config" / "REFERENCE.md").read_text()

    assert committed == reference.reference(), "run `make schema`"


def test_sources_are_told_apart_by_kind() -> None:
    sources = schema()["properties"]["sources"]["items"]

    assert sources["discriminator"]["propertyName"] == "kind"
    assert set(sources["discriminator"]["mapping"]) == set(ADAPTERS)
    assert len(sources["oneOf"]) == len(ADAPTERS)


def test_every_key_has_a_description() -> None:
    rows = [line.split(" | ") for line in reference.reference().splitlines() if line.startswith("| `")]

    assert len(rows) > 50
    assert [row[0] for row in rows if len(row[-1].removesuffix(" |").strip()) < 5] == []


def test_default_durations_are_written_with_units() -> None:
    (defaults,) = parts_at(("safety", "max_age"))
    (delay,) = parts_at(("sources", 0, "inventory", "probe", "initial_delay"))
    (interval,) = parts_at(("outputs", "mcp", "min_push_interval"))

    assert [defaults["default"], interval["default"], delay["default"]] == ["24h", "150ms", "0s"]
    assert "86400" not in json.dumps(schema())


@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.15, 1.0, 60.0, 90.0, 600.0, 3600.0, 86400.0])
def test_formatted_duration_parses_to_itself(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds)
