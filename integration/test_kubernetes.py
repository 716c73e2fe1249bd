"""The Kubernetes sink's contract on a real API server: the same tests as on the fake one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.kubernetes.contract import CONTRACT
from integration.kubernetes.fixtures import api_server


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """How to reach an API server that these tests share; each has a namespace of its own."""
    with api_server(tmp_path_factory.mktemp("kubernetes")) as server:
        yield server.kubeconfig


globals().update(CONTRACT.TESTS)
