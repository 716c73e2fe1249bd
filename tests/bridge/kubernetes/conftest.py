"""The fake API server, serving."""

import importlib.util
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("kubernetes")


def _load(name: str, path: Path) -> ModuleType:
    """Return a module by its path: test folders are no packages."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


HERE = Path(__file__).parent
FAKE = _load("kubernetes_fake_api", HERE / "fake_api.py")
CONTRACT = _load("sink_contract", HERE.parent.parent / "sink_contract.py")


@pytest.fixture
async def fake(tmp_path: Path) -> AsyncIterator[object]:
    """An API server, empty, whose state and faults are at hand."""
    made = FAKE.FakeApi()
    async with FAKE.serving(made) as text:
        (tmp_path / "kubeconfig").write_text(text)
        yield made


@pytest.fixture
def kubeconfig(fake: object, tmp_path: Path) -> Path:
    """How to reach it."""
    return tmp_path / "kubeconfig"


cluster = CONTRACT.cluster
