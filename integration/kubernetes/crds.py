"""The CRDs of the kinds that the bridge writes, out of the Go module istio.io/api. Standard library only."""

import json
import re
import subprocess
from pathlib import Path

ISTIO_API = "v1.31.1"
WANTED = (
    "serviceentries.networking.istio.io",
    "workloadentries.networking.istio.io",
    "workloadgroups.networking.istio.io",
)


def fetch(go: str) -> str:
    """Return the CRDs as YAML documents that serve v1 alone.

    Each served version costs the API server memory for every object: three of them are more than twice v1.

    Raises:
        subprocess.CalledProcessError: the module can't be had.
        ValueError: it does not hold what we want.
    """
    command = [go, "mod", "download", "-json", f"istio.io/api@{ISTIO_API}"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    folder = Path(json.loads(done.stdout)["Dir"])
    text = (folder / "kubernetes" / "customresourcedefinitions.gen.yaml").read_text()
    documents = [one for one in text.split("\n---\n") if any(f"\n  name: {name}\n" in one for name in WANTED)]
    if len(documents) != len(WANTED):
        raise ValueError(f"istio.io/api {ISTIO_API} has {len(documents)} of {len(WANTED)} CRDs")
    return "\n---\n".join(map(_only_v1, documents))


def _only_v1(document: str) -> str:
    head, _, rest = document.partition("\n  versions:\n")
    versions = re.split(r"(?m)^  (?=- )", rest)
    kept = [one for one in versions if re.search(r"(?m)^    name: v1$", one)]
    if len(kept) != 1:
        raise ValueError("a CRD has no version v1")
    return f"{head}\n  versions:\n  {kept[0].rstrip()}\n"
