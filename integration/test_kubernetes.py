"""The Kubernetes sink's contract on a real API server: the same tests as on the fake one."""

import asyncio
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from integration.build_kubernetes import binary, crd_file
from integration.kubernetes.fixtures import needs_api_server
from integration.kubernetes.process import ApiServer


def _load(name: str, path: Path) -> ModuleType:
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


CONTRACT = _load("sink_contract", Path(__file__).parent.parent / "tests" / "sink_contract.py")


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """How to reach an API server that these tests share; each has a namespace of its own."""
    needs_api_server()
    server = ApiServer(binary(), crd_file(), tmp_path_factory.mktemp("kubernetes"))
    with asyncio.Runner() as runner:
        runner.run(server.__aenter__())
        try:
            yield server.kubeconfig
        finally:
            runner.run(server.stop())


globals().update(CONTRACT.TESTS)
