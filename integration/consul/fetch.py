#!/usr/bin/env python3
"""Gets two releases of Consul, once, into a cache outside the checkout. Standard library only.

1.8.7 is Debian's (bullseye), fetched with apt and unpacked, not installed: it has no streaming. 1.22.0 is
built from its Go module: 4 minutes and 2 GB of Go's caches. It is under BUSL 1.1, a tool for tests alone.

Exit codes: 0 both are there, 75 one can't be had on this machine.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PACKAGED, BUILT = "1.8.7", "1.22.0"
VERSIONS = (PACKAGED, BUILT)

_UNAVAILABLE = 75  # EX_TEMPFAIL of sysexits.h
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_KEPT = 10


def binary(version: str) -> Path:
    """Return where the program of a release is, or would be."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    cache = os.environ.get("MESHBRIDGE_CACHE") or Path(home) / "meshbridge"
    return Path(cache) / f"consul-{version}" / "consul"


def main() -> int:
    """Get what is missing; return the exit code."""
    code = 0
    for version, get in ((PACKAGED, _from_debian), (BUILT, _from_source)):
        target = binary(version)
        if os.access(target, os.X_OK):
            _say(f"consul {version} is there: {target}")
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".getting-") as folder:
            problem = get(Path(folder))
            if problem:
                _say(f"consul {version} is not available: {problem}")
                code = _UNAVAILABLE
            else:
                (Path(folder) / "consul").replace(target)
                _say(f"got {target}")
    return code


def _from_debian(folder: Path) -> str:
    """Put the program into the folder; return what went wrong, "" for nothing."""
    if not (shutil.which("apt-get") and shutil.which("dpkg") and Path(_KEYRING).exists()):
        return "this is no Debian"
    archive = _archive()
    if not archive:
        return "apt has no Debian archive configured"
    (folder / "sources.list").write_text(f"deb [signed-by={_KEYRING}] {archive} bullseye main\n")
    for made in ("lists/partial", "cache/archives/partial"):
        (folder / made).mkdir(parents=True)
    settings = {
        "Dir::Etc::sourcelist": folder / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State::lists": folder / "lists",
        "Dir::Cache": folder / "cache",
    }
    apt = ["apt-get", "-q", *(word for key, value in settings.items() for word in ("-o", f"{key}={value}"))]
    problem = _run([*apt, "update"], folder) or _run([*apt, "download", "consul"], folder)
    if problem:
        return problem
    package = next(folder.glob("consul_*.deb"))
    problem = _run(["dpkg", "-x", str(package), "unpacked"], folder)
    if not problem:
        (folder / "unpacked/usr/bin/consul").replace(folder / "consul")
    return problem


def _archive() -> str:
    """Return the archive that this machine's apt is set up with, "" for none."""
    form = "$(REPO_URI)"
    asked = ["apt-get", "indextargets", "--format", form, "Created-By: Packages", "Component: main"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    archives = [line for line in done.stdout.split() if line.rstrip("/").endswith("/debian")]
    return archives[0] if archives else ""


def _from_source(folder: Path) -> str:
    """Build the program into the folder; return what went wrong, "" for nothing."""
    go = shutil.which("go")
    if go is None:
        return "there is no `go` on PATH to build it with"
    _say(f"building consul {BUILT} with {go}: about 4 minutes and 2 GB of Go's caches")
    sources = folder / "sources"
    shutil.copytree(Path(__file__).parent / "testserver", sources)
    command = [go, "build", "-trimpath", "-ldflags", "-s -w", "-o", str(folder / "consul"), "."]
    return _run(command, sources, {"GOFLAGS": "-mod=mod", "CGO_ENABLED": "0"})


def _run(command: list[str], folder: Path, environ: dict[str, str] | None = None) -> str:
    """Run a command; return its last words when it fails, "" when it doesn't."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | (environ or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return (
        "" if done.returncode == 0 else "\n".join(done.stdout.splitlines()[-_KEPT:]) or str(done.returncode)
    )


def _say(*lines: str) -> None:
    print(*lines, sep="\n", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
