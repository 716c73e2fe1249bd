"""What the tests with a real API server start from."""

import os
import shutil

import pytest

from integration.build_kubernetes import binary, crd_file


def needs_api_server() -> None:
    """Skip where the API server is missing; in CI only if there is no Go to build it."""
    if os.access(binary(), os.X_OK) and crd_file().exists():
        return
    reason = f"{binary()} is missing; `python integration/build_kubernetes.py` builds it (4 minutes)"
    if os.environ.get("CI") == "true" and shutil.which("go"):
        pytest.fail(reason)
    pytest.skip(reason)
