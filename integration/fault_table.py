"""Runs every fault against real processes and prints the table of integration/README.md."""

import asyncio
import sys
import tempfile
from pathlib import Path

from integration.build_eureka import jar
from integration.faults import Outcome, faults


async def run(folder: Path) -> list[Outcome]:
    """Return what each fault cost."""
    program = jar()
    outcomes = []
    for name, inject in faults(program if program.exists() else None).items():
        place = folder / name
        place.mkdir()
        try:
            outcomes.append(await inject(place))
        except PermissionError as error:
            sys.stderr.write(f"{name}: not run, {error}\n")
    return outcomes


def main() -> int:
    """Print the table; 1 when anything was lost."""
    with tempfile.TemporaryDirectory() as folder:
        outcomes = asyncio.run(run(Path(folder)))
    lines = ["| fault | injected how | endpoints lost | time to truth |", "|---|---|---|---|"]
    lines += [f"| {one.fault} | {one.injected} | {one.lost} | {one.seconds:.1f} s |" for one in outcomes]
    sys.stdout.write("\n".join(lines) + "\n")
    return int(any(one.lost for one in outcomes))


if __name__ == "__main__":
    sys.exit(main())
