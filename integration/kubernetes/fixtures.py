"""What the tests with a real API server start from."""

import asyncio
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from integration.build_kubernetes import binary, crd_file
from integration.kubernetes.process import ApiServer

BRIDGE = 'bridge-token,system:serviceaccount:meshbridge:meshbridge,2,"system:serviceaccounts"\n'
"""The user that deploy/rbac.yaml gives rights to."""


@contextmanager
def api_server(folder: Path, *, has_crds: bool = True) -> Iterator[ApiServer]:
    """Run an API server beside the loops of single tests; skip where it is missing, in CI only without Go."""
    if not (os.access(binary(), os.X_OK) and crd_file().exists()):
        reason = f"{binary()} is missing; `python integration/build_kubernetes.py` builds it (4 minutes)"
        if os.environ.get("CI") == "true" and shutil.which("go"):
            pytest.fail(reason)
        pytest.skip(reason)
    server = ApiServer(binary(), crd_file() if has_crds else None, folder, BRIDGE)
    with asyncio.Runner() as runner:
        runner.run(server.__aenter__())
        try:
            yield server
        finally:
            runner.run(server.stop())
