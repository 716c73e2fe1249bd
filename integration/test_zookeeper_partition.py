"""A real server behind a network that throws packets away: to it, from it, or both."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.conftest import Note
from integration.zookeeper import namespace
from integration.zookeeper.namespace import Namespace
from integration.zookeeper.process import Ensemble, Kind, missing
from integration.zookeeper.watching import eventually, watching
from integration.zookeeper.writer import Writer, record
from meshbridge.schemas.registry import SourceState


@pytest.fixture
def network() -> Iterator[Namespace]:
    if reason := missing() or namespace.missing():
        pytest.skip(reason)
    with Namespace() as made:
        yield made


@pytest.mark.parametrize("chains", [("INPUT",), ("OUTPUT",), ("INPUT", "OUTPUT")], ids="+".join)
async def test_a_partition_loses_nothing_and_ends_without_a_restart(
    chains: tuple[str, ...], network: Namespace, tmp_path: Path, figure: Note
) -> None:
    kind = Kind(address=network.open, listen="0.0.0.0", prefix=network.prefix)
    async with Ensemble(tmp_path / "zookeeper", kind=kind) as ensemble:
        port = ensemble.servers[0].port
        async with (
            Writer(f"{network.open}:{port}") as writer,
            watching(f"{network.cut_off}:{port}", session_timeout="2s") as seen,
        ):
            for number in range(20):
                await writer.put(f"/mesh/orders/{number}", record(f"10.0.0.{number}"))
            await eventually(lambda: seen.count == 20)
            seen.fewest = 20

            cut = time.monotonic()
            network.drop(*chains)
            await eventually(lambda: seen.state is SourceState.STALE)
            noticed = time.monotonic() - cut
            await writer.remove("/mesh/orders/7")
            await writer.put("/mesh/orders/new", record("10.0.1.1"))
            await writer.remove("/mesh/orders/new")
            await writer.put("/mesh/orders/8", record("10.0.1.8"))
            # Longer than the session lasts and the adapter's patience with it: it makes a new one.
            await eventually(lambda: seen.errors)
            assert seen.count == seen.fewest == 20
            healed = time.monotonic()
            network.heal()

            await eventually(lambda: seen.count == 19 and "10.0.1.8" in seen.addresses("orders"))
            await eventually(lambda: seen.state is SourceState.SYNCED)
            assert seen.fewest == 19
            figure(
                f"zookeeper: partition ({'+'.join(chains)}) to stale, healed to up to date (session 2 s)",
                f"{noticed:.1f} s, {time.monotonic() - healed:.1f} s",
            )
