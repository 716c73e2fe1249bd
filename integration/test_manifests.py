"""A real API server takes what chart and kustomize render: nothing is unknown or of the wrong type."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration import build_helm
from integration.kubernetes.fixtures import api_server

DEPLOY = Path(__file__).parent.parent / "deploy"
CHARTS = [
    "state.persistent=false",
    "state.persistent=true",
    "mcp.tlsSecret=y,admin.tlsSecret=no,priorityClassName=high,secretMounts[0].secret=on,secretMounts[0].path=/s",
    "config.outputs.kubernetes.enabled=true",
]


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl here")
    with api_server(tmp_path_factory.mktemp("manifests")) as server:
        _kubectl(server.kubeconfig, "create", "namespace", "meshbridge")
        yield server.kubeconfig


@pytest.mark.parametrize("values", CHARTS)
def test_the_server_takes_what_the_chart_renders(kubeconfig: Path, values: str) -> None:
    helm = shutil.which("helm") or str(build_helm.binary())
    if not os.access(helm, os.X_OK):
        pytest.skip("no helm here (python integration/build_helm.py)")
    chart = str(DEPLOY / "helm" / "meshbridge")
    command = [helm, "template", "meshbridge", chart, "-n", "meshbridge", "--kube-version", "1.30.0"]

    rendered = subprocess.run([*command, "--set", values], capture_output=True, text=True, check=False)

    assert rendered.returncode == 0, rendered.stderr
    assert "dry run" in _apply(kubeconfig, "-f", "-", text=rendered.stdout)


@pytest.mark.parametrize("folder", ["base", "stateful"])
def test_the_server_takes_what_kustomize_renders(kubeconfig: Path, folder: str) -> None:
    assert "dry run" in _apply(kubeconfig, "-k", str(DEPLOY / "kustomize" / folder))


def _apply(kubeconfig: Path, *what: str, text: str = "") -> str:
    strict = ("apply", "--server-side", "--dry-run=server", "--validate=strict")
    return _kubectl(kubeconfig, *strict, *what, text=text)


def _kubectl(kubeconfig: Path, *arguments: str, text: str = "") -> str:
    command = ["kubectl", "--kubeconfig", str(kubeconfig), *arguments]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout
