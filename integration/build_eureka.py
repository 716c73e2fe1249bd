#!/usr/bin/env python3
"""Builds a real Eureka server, Spring's, once, into a cache outside the checkout.

It is one class around a stock dependency, so Maven fetches nearly all of it: 100 MB into its repository and
half a minute, and nothing at all when the jar is in the cache already. Standard library only.

Exit codes: 0 it is there, 1 it can't be compiled, 75 it can't be had on this machine (no Maven or Java, or
the artifacts can't be fetched).
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PROJECT = Path(__file__).parent / "eureka"
SOURCES = PROJECT / "src"
_UNAVAILABLE = 75  # EX_TEMPFAIL of sysexits.h
_KEPT = 20


def jar() -> Path:
    """Return where the server is, or would be: its name changes with its sources."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    cache = os.environ.get("MESHBRIDGE_CACHE") or Path(home) / "meshbridge"
    return Path(cache) / f"eureka-server-{_fingerprint()}.jar"


def _fingerprint() -> str:
    digest = hashlib.sha256()
    for path in (PROJECT / "pom.xml", *sorted(path for path in SOURCES.rglob("*") if path.is_file())):
        digest.update(path.relative_to(PROJECT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def main() -> int:
    """Build it unless it is there; return the exit code."""
    target = jar()
    if target.exists():
        _say(f"Eureka is there: {target}")
        return 0
    missing = [program for program in ("mvn", "java") if shutil.which(program) is None]
    if missing:
        _say(f"Eureka is not available: there is no `{missing[0]}` on PATH")
        return _UNAVAILABLE
    _say("building a Eureka server: half a minute and 100 MB of Maven's repository")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".building-") as folder:
        copy = Path(folder) / "eureka"
        shutil.copytree(SOURCES, copy / "src")
        shutil.copy(PROJECT / "pom.xml", copy)
        command = ["mvn", "-B", "-ntp", "-q", "package"]
        done = subprocess.run(command, check=False, cwd=copy, capture_output=True, text=True)
        if done.returncode == 0:
            (copy / "target" / "eureka-server.jar").replace(target)
            _say(f"built {target}")
            return 0
    words = (done.stdout + done.stderr).splitlines()[:_KEPT]
    if any("COMPILATION ERROR" in line for line in words):
        _say("building Eureka failed:", *words)
        return 1
    _say("Eureka is not available, Maven says:", *words)
    return _UNAVAILABLE


def _say(*lines: str) -> None:
    print(*lines, sep="\n  ", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
