"""Kubernetes objects as the chart and as kustomize render them."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent.parent
CHART = ROOT / "deploy" / "helm" / "meshbridge"
KUSTOMIZE = ROOT / "deploy" / "kustomize"

Objects = dict[tuple[str, str], Any]

_OF_HELM = ("helm.sh/chart", "app.kubernetes.io/managed-by", "app.kubernetes.io/version")


def program(*names: str) -> str:
    """Return the first of these programs that is installed; without any the test is skipped."""
    found = next((path for name in names if (path := shutil.which(name) or built(name))), None)
    if found is None:
        pytest.skip(f"not tested, as there is no {' or '.join(names)} here")
    return found


def built(name: str) -> str | None:
    """Return the program as `make integration` builds it into its cache, None where it has not."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    cache = Path(os.environ.get("MESHBRIDGE_CACHE") or Path(home) / "meshbridge")
    return next((str(path) for path in sorted(cache.glob(f"{name}-v*"), reverse=True)), None)


class Manifests:
    """Renders."""

    def helm(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Render the chart."""
        command = [
            *(program("helm"), "template", "meshbridge", str(CHART)),
            *("--namespace", "meshbridge", "--kube-version", "1.30.0", "--no-hooks", *arguments),
        ]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    def chart(self, *arguments: str) -> Objects:
        """Return what the chart renders, without what only Helm adds."""
        done = self.helm(*arguments)
        assert done.returncode == 0, done.stderr
        return _by_name(done.stdout)

    def kustomize(self, *parts: str) -> Objects:
        """Return what a folder of deploy/kustomize renders."""
        found = program("kustomize", "kubectl")
        command = [
            found,
            "build" if found.endswith("kustomize") else "kustomize",
            str(KUSTOMIZE.joinpath(*parts)),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        return _by_name(done.stdout)

    def config(self, objects: Objects) -> Mapping[str, Any]:
        """Return the bridge's configuration among rendered objects."""
        found: Mapping[str, Any] = objects["ConfigMap", "meshbridge"]["data"]["meshbridge.yaml"]
        return found

    def pod(self, objects: Objects) -> Mapping[str, Any]:
        """Return the specification of the bridge's pods."""
        workload = objects.get(("Deployment", "meshbridge")) or objects["StatefulSet", "meshbridge"]
        spec: Mapping[str, Any] = workload["spec"]["template"]["spec"]
        return spec


@pytest.fixture
def manifests() -> Manifests:
    return Manifests()


def _by_name(text: str) -> Objects:
    found = [one for one in yaml.safe_load_all(text) if one]
    for one in found:
        labels = one["metadata"].get("labels", {})
        for label in _OF_HELM:
            labels.pop(label, None)
        if "meshbridge.yaml" in one.get("data", {}):  # Comments and the order of keys may differ.
            one["data"]["meshbridge.yaml"] = yaml.safe_load(one["data"]["meshbridge.yaml"])
    return {(one["kind"], one["metadata"]["name"]): one for one in found}
