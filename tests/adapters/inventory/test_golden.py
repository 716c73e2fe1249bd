"""Documents as people write them, and the groups they become.

`pytest tests/adapters --update-golden` writes the expected files anew; the diff is the change of behaviour.
"""

import json
from pathlib import Path

import msgspec
import pytest

from meshbridge.adapters.inventory.formats import detect
from meshbridge.adapters.inventory.formats.options import FormatOptions
from meshbridge.adapters.inventory.formats.record import Format
from meshbridge.adapters.inventory.readings import Readings

GOLDEN = Path(__file__).parent.parent / "golden"
CASES = sorted(path for path in GOLDEN.glob("*/*") if path.is_dir())


def read(case: Path, wanted: Format = Format.AUTO) -> dict[str, object]:
    """Return what the documents of a case become, as JSON values."""
    settings = case / "options.json"
    options = (
        FormatOptions.model_validate_json(settings.read_text()) if settings.exists() else FormatOptions()
    )
    readings = Readings("vms")
    for path in sorted(case.glob("input*")):
        readings.put(path.name, detect.parse(path.read_bytes(), path.name, options, wanted))
    orphans = [f"{found.place}: {found.text}" for found in readings.all_problems() if not found.service]
    groups = [msgspec.to_builtins(readings.combined(service).group) for service in readings.services]
    return {"groups": groups, "without_service": orphans}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.parent.name}-{case.name}")
def test_documents_become_the_expected_groups(case: Path, update_golden: bool) -> None:
    expected = case / "expected.json"
    found = json.dumps(read(case), indent=2) + "\n"

    if update_golden:
        expected.write_text(found)

    assert found == expected.read_text()


@pytest.mark.parametrize("case", [case for case in CASES if "two-documents" not in case.name], ids=str)
def test_a_format_that_is_set_reads_like_one_that_is_found(case: Path) -> None:
    assert read(case, Format(case.parent.name)) == read(case)
