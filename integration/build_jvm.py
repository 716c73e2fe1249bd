#!/usr/bin/env python3
"""Builds the JVM programs that register themselves in ZooKeeper, once, into a cache outside the checkout.

They are small classes around stock libraries (Dubbo 2.7 and 3.3, Curator, Spring Cloud), and with them comes
an old server. Maven fetches nearly all of it: about 200 MB into its repository and a minute or two, and
nothing at all when they are in the cache already. Standard library only.

Exit codes: 0 they are there, 1 they can't be compiled, 75 they can't be had on this machine (no Maven or
Java, or the artifacts can't be fetched).
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).parent / "jvm"
PROGRAMS = ("dubbo2", "dubbo3", "curator", "spring", "zookeeper34")
_UNAVAILABLE = 75  # EX_TEMPFAIL of sysexits.h
_KEPT = 20


def folder() -> Path:
    """Return where the programs are, or would be, each a folder of jars; its name follows the sources."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    cache = os.environ.get("MESHBRIDGE_CACHE") or Path(home) / "meshbridge"
    return Path(cache) / f"jvm-programs-{_fingerprint()}"


def _sources() -> list[Path]:
    found = (path.relative_to(PROJECT) for path in PROJECT.rglob("*") if path.suffix in (".java", ".xml"))
    return sorted(path for path in found if "target" not in path.parts)


def _fingerprint() -> str:
    digest = hashlib.sha256()
    for path in _sources():
        digest.update(path.as_posix().encode() + b"\0" + (PROJECT / path).read_bytes())
    return digest.hexdigest()[:12]


def main() -> int:
    """Build them unless they are there; return the exit code."""
    target = folder()
    if target.exists():
        _say(f"the JVM programs are there: {target}")
        return 0
    missing = [program for program in ("mvn", "java") if shutil.which(program) is None]
    if missing:
        _say(f"the JVM programs are not available: there is no `{missing[0]}` on PATH")
        return _UNAVAILABLE
    _say("building the JVM programs: a minute or two and 200 MB of Maven's repository")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".building-") as building:
        code, words = _package(Path(building) / "sources")
        if code == 0:
            _collect(Path(building) / "sources", Path(building) / "made").replace(target)
            _say(f"built {target}")
            return 0
    if any("COMPILATION ERROR" in line for line in words):
        _say("building the JVM programs failed:", *words)
        return 1
    _say("the JVM programs are not available, Maven says:", *words)
    return _UNAVAILABLE


def _package(copy: Path) -> tuple[int, list[str]]:
    """Build a copy of the project; return Maven's exit code and what it says is wrong."""
    for path in _sources():
        (copy / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / path, copy / path)
    command = ["mvn", "-B", "-ntp", "package"]
    started = time.monotonic()
    wrong: list[str] = []
    with subprocess.Popen(
        command, cwd=copy, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in map(str.rstrip, process.stdout):
            if line.startswith("[INFO] Building ") and "[" in line[1:]:
                name = line.removeprefix("[INFO] Building ").split()[0]
                _say(f"  {time.monotonic() - started:4.0f} s: {name}")
            elif line.startswith("[ERROR]") and len(wrong) < _KEPT:
                wrong.append(line)
    return process.returncode, wrong


def _collect(copy: Path, made: Path) -> Path:
    made.mkdir()
    for program in PROGRAMS:
        (copy / program / "target" / "lib").replace(made / program)
    return made


def _say(*lines: str) -> None:
    print(*lines, sep="\n  ", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
