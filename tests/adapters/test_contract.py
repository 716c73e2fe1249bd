"""Runs the adapter contract for every harness in the folders beside this file."""

import importlib.util
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType

import pytest

from meshbridge.adapters import ADAPTERS


def _load(path: Path, name: str) -> ModuleType:
    """Return a module by its path: test folders are no packages."""
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


HERE = Path(__file__).parent
CONTRACT = _load(HERE.parent / "contract.py", "adapter_contract")
HARNESSES = [
    harness
    for path in sorted(HERE.glob("*/harness.py"))
    for harness in _load(path, f"harness_of_{path.parent.name}").HARNESSES
]


@pytest.fixture(params=HARNESSES, ids=lambda harness: harness.label)
async def harness(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[object]:
    """The outside world of one adapter, started and empty."""
    world = request.param(tmp_path)
    await world.start()
    yield world
    await world.stop()


def test_every_registered_kind_has_a_harness() -> None:
    assert {harness.kind for harness in HARNESSES} >= ADAPTERS.keys()


globals().update(CONTRACT.TESTS)
