#!/usr/bin/env python3
"""Builds a real kube-apiserver with its etcd in one program, once, and fetches Istio's CRDs, into a cache.

Both come from their Go modules: about 4 minutes and 3 GB of module and build cache, and nothing at all when
they are in the cache already. Standard library only.

Exit codes: 0 they are there, 1 the compiler failed, 75 they can't be had on this machine (no go, one that
is too old, or the modules can't be fetched).
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "kubernetes"))
import crds

SOURCES = Path(__file__).parent / "kubernetes"
KUBERNETES = "1.36.3"
_STAMPS = {"gitVersion": f"v{KUBERNETES}", "gitMajor": "1", "gitMinor": "36"}
_UNAVAILABLE = 75  # EX_TEMPFAIL of sysexits.h
_KEPT = 20


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("MESHBRIDGE_CACHE") or Path(home) / "meshbridge")


def binary() -> Path:
    """Return where the program is, or would be: its name changes with its sources."""
    digest = hashlib.sha256()
    for name in ("main.go", "go.mod", "go.sum"):
        digest.update((SOURCES / name).read_bytes())
    return _cache() / f"kube-test-server-{KUBERNETES}-{digest.hexdigest()[:12]}"


def crd_file() -> Path:
    """Return where the CRDs are, or would be."""
    return _cache() / f"istio-crds-{crds.ISTIO_API}-v1.yaml"


def main() -> int:
    """Get what is missing; return the exit code."""
    if os.access(binary(), os.X_OK) and crd_file().exists():
        _say(f"the API server is there: {binary()}")
        return 0
    go = shutil.which("go")
    if go is None:
        _say("the API server is not available: there is no `go` on PATH to build it with")
        return _UNAVAILABLE
    binary().parent.mkdir(parents=True, exist_ok=True)
    code = _build(go)
    return code or _fetch(go)


def _build(go: str) -> int:
    if os.access(binary(), os.X_OK):
        return 0
    _say(f"building kube-apiserver {KUBERNETES} with {go}: about 4 minutes and 3 GB of Go's caches")
    flags = " ".join(f"-X k8s.io/component-base/version.{key}={value}" for key, value in _STAMPS.items())
    with tempfile.TemporaryDirectory(dir=binary().parent, prefix=".building-") as folder:
        made = Path(folder) / "kube-test-server"
        command = [
            go,
            "build",
            "-trimpath",
            "-mod=readonly",
            "-ldflags",
            f"-s -w {flags}",
            "-o",
            str(made),
            ".",
        ]
        environ = os.environ | {"CGO_ENABLED": "0"}
        done = subprocess.run(
            command, check=False, cwd=SOURCES, env=environ, stderr=subprocess.PIPE, text=True
        )
        if done.returncode == 0:
            made.replace(binary())
            _say(f"built {binary()}")
            return 0
    errors = [line for line in done.stderr.splitlines() if not line.startswith("go: downloading ")][-_KEPT:]
    # The compiler heads its errors with the package; everything else is about getting the sources.
    if any(line.startswith("# ") for line in errors):
        _say("building the API server failed:", *errors)
        return 1
    _say("the API server is not available, go says:", *errors)
    return _UNAVAILABLE


def _fetch(go: str) -> int:
    try:
        text = crds.fetch(go)
    except (subprocess.CalledProcessError, OSError) as error:
        _say(f"Istio's CRDs are not available: {error}")
        return _UNAVAILABLE
    new = crd_file().with_suffix(".new")
    new.write_text(text)
    new.replace(crd_file())
    _say(f"fetched {crd_file()}")
    return 0


def _say(*lines: str) -> None:
    print(*lines, sep="\n", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
