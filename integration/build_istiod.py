#!/usr/bin/env python3
"""Builds istiod's program, pilot-discovery, once, into a cache outside the checkout.

Istio publishes it in container images alone, so it is built from its Go module: about 8 minutes and 3 GB
of module and build cache, and nothing at all when it is in the cache already. Standard library only.

Exit codes: 0 it is there, 1 the compiler failed, 75 it can't be had on this machine (no go, one that is
too old, or the module can't be fetched).
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MODULE = "istio.io/istio"
REVISION = "eed52ebb66ad"
VERSION = f"v0.0.0-20260827124520-{REVISION}"
"""Release branch 1.31. Releases by tag are no Go modules: their version has no v0 or v1."""

_UNAVAILABLE = 75  # EX_TEMPFAIL of sysexits.h
_NEWS = 30.0
"""Seconds between two lines about the progress."""
_KEPT = 20


def binary() -> Path:
    """Return where the program is, or would be."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    cache = os.environ.get("MESHBRIDGE_CACHE") or Path(home) / "meshbridge"
    return Path(cache) / f"pilot-discovery-{REVISION}"


def main() -> int:
    """Build it unless it is there; return the exit code."""
    target = binary()
    if os.access(target, os.X_OK):
        _say(f"istiod is there: {target}")
        return 0
    go = shutil.which("go")
    if go is None:
        _say("istiod is not available: there is no `go` on PATH to build it with")
        return _UNAVAILABLE
    _say(f"building istiod {VERSION} with {go}: about 8 minutes and 3 GB of Go's caches")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".building-") as folder:
        code, errors = _install(go, Path(folder))
        if code == 0:
            (Path(folder) / "pilot-discovery").replace(target)
            _say(f"built {target}")
            return 0
    # The compiler heads its errors with the package; everything else is about getting the sources.
    if any(line.startswith("# ") for line in errors):
        _say("building istiod failed:", *errors)
        return 1
    _say("istiod is not available, go says:", *errors)
    return _UNAVAILABLE


def _install(go: str, folder: Path) -> tuple[int, list[str]]:
    """Build into the folder; return go's exit code and its last lines but those about progress."""
    command = [go, "install", "-v", "-ldflags", "-s -w", f"{MODULE}/pilot/cmd/pilot-discovery@{VERSION}"]
    environ = os.environ | {"GOFLAGS": "-mod=mod", "CGO_ENABLED": "0", "GOBIN": str(folder)}
    started = told = time.monotonic()
    fetched = compiled = 0
    errors: list[str] = []
    with subprocess.Popen(command, env=environ, cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in map(str.rstrip, process.stderr):
            if line.startswith("go: downloading "):
                fetched += 1
            elif " " not in line:  # With -v each package is named when its turn has come.
                compiled += 1
            else:
                errors = [*errors, line][-_KEPT:]
            if time.monotonic() - told > _NEWS:
                told = time.monotonic()
                _say(f"  {told - started:4.0f} s: {fetched} modules fetched, {compiled} packages compiled")
    return process.returncode, errors


def _say(*lines: str) -> None:
    print(*lines, sep="\n", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
