#!/usr/bin/env python3
"""Builds Helm, once, into a cache outside the checkout: the tests of the chart render it.

Standard library only. Exit codes: 0 it is there, 75 it can't be had on this machine.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

MODULE = "helm.sh/helm/v3/cmd/helm"
VERSION = "v3.22.0"
_UNAVAILABLE = 75  # EX_TEMPFAIL of sysexits.h
_KEPT = 20


def binary() -> Path:
    """Return where the program is, or would be."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    cache = os.environ.get("MESHBRIDGE_CACHE") or Path(home) / "meshbridge"
    return Path(cache) / f"helm-{VERSION}"


def main() -> int:
    """Build it unless it is there; return the exit code."""
    target = binary()
    if os.access(target, os.X_OK):
        _say(f"helm is there: {target}")
        return 0
    go = shutil.which("go")
    if go is None:
        _say("helm is not available: there is no `go` on PATH to build it with")
        return _UNAVAILABLE
    _say(f"building helm {VERSION} with {go}: about 3 minutes")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".building-") as folder:
        done = subprocess.run(
            [go, "install", "-ldflags", "-s -w", f"{MODULE}@{VERSION}"],
            check=False,
            cwd=folder,
            env=os.environ | {"GOFLAGS": "-mod=mod", "CGO_ENABLED": "0", "GOBIN": folder},
            stderr=subprocess.PIPE,
            text=True,
        )
        if done.returncode == 0:
            (Path(folder) / "helm").replace(target)
            _say(f"built {target}")
            return 0
    _say("helm is not available, go says:", *done.stderr.splitlines()[-_KEPT:])
    return _UNAVAILABLE


def _say(*lines: str) -> None:
    print(*lines, sep="\n", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
