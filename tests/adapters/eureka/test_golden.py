"""Answers of servers, and the groups they become: spring-* as a real server gave them.

`pytest tests/adapters --update-golden` writes the expected files anew; the diff is the change of behaviour.
"""

import json
from pathlib import Path

import msgspec
import pytest

from meshbridge.adapters.eureka.instances import Reader
from meshbridge.adapters.eureka.payload import read_application, read_outline
from meshbridge.adapters.eureka.registry import Registry

CASES = sorted(path for path in (Path(__file__).parent / "golden").iterdir() if path.is_dir())


def read(case: Path) -> dict[str, object]:
    """Return what the full answer of a case becomes, and the delta if there is one."""
    registry = Registry("spring", "{vip}.spring.mesh")
    reader = Reader(["version"])
    for path in (case / "apps.json", case / "delta.json"):
        if not path.exists():
            continue
        outline = read_outline(path.read_bytes())
        found = [read_application(raw) for raw in outline.applications]
        changes = [(service, reader.read(records)) for service, records in found]
        if path.name == "apps.json":
            assert list(registry.apply_full(dict(changes), 0.0, forget=False))
        else:
            assert not any(registry.apply_delta(changes, 0.0)), "the full answer was as new"
        assert registry.hash_code == outline.hash_code
    return {"groups": [msgspec.to_builtins(registry.groups[name]) for name in sorted(registry.groups)]}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_answers_become_the_expected_groups(case: Path, update_golden: bool) -> None:
    expected = case / "expected.json"
    found = json.dumps(read(case), indent=2) + "\n"

    if update_golden:
        expected.write_text(found)

    assert found == expected.read_text()
