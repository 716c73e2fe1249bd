"""A real server from before recursive watches (3.4) under the contract: one watch for each node does it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from integration.build_jvm import folder
from integration.zookeeper.contract import TESTS, RealZooKeeper, load
from integration.zookeeper.process import Ensemble, Kind, missing
from integration.zookeeper.watching import eventually, watching
from integration.zookeeper.writer import Writer, record

CONTRACT = load("adapter_contract_for_old_zookeeper", TESTS / "contract.py")


@pytest.fixture(scope="module")
def old() -> Kind:
    """What runs the old server."""
    if reason := missing():
        pytest.skip(reason)
    jars = tuple((folder() / "zookeeper34").glob("*.jar"))
    if not jars:
        pytest.skip(f"{folder()} has no old ZooKeeper; `python integration/build_jvm.py` fetches it")
    return Kind(jars=jars, properties=("zookeeper.jmx.log4j.disable=true",))


@pytest.fixture(name="eventually")
def _eventually() -> Callable[..., Any]:
    """What the contract waits with."""

    async def wait(condition: Callable[[], Any], *, within: float = 20.0) -> Any:
        return await eventually(condition, within)

    return wait


@pytest.fixture
async def harness(tmp_path: Path, old: Kind) -> AsyncIterator[RealZooKeeper]:
    world = RealZooKeeper(tmp_path, old)
    await world.start()
    yield world
    await world.stop()


globals().update({f"{name}_old_zookeeper": test for name, test in CONTRACT.TESTS.items()})


async def test_an_old_server_is_recognised_and_followed(tmp_path: Path, old: Kind) -> None:
    async with Ensemble(tmp_path / "old", kind=old) as ensemble, Writer(ensemble.hosts) as writer:
        for number in range(300):
            await writer.put(f"/mesh/s{number % 30}/{number}", record(f"10.0.{number // 250}.{number % 250}"))
        async with watching(ensemble.hosts) as seen:
            await eventually(lambda: seen.count == 300)
            assert ("watches", "one for each node") in seen.details

            await writer.put("/mesh/s1/1", record("10.9.0.1"))
            await writer.put("/mesh/new/a", record("10.9.0.2"))
            await writer.remove("/mesh/s3")
            await eventually(lambda: "10.9.0.1" in seen.addresses("s1"))
            await eventually(lambda: seen.addresses("new") == {"10.9.0.2"})
            await eventually(lambda: not seen.addresses("s3"))

            server = ensemble.servers[0]
            await server.kill()
            await server.start()
            await server.wait_serving()
            await asyncio.gather(writer.put("/mesh/new/b", record("10.9.0.3")), writer.remove("/mesh/new/a"))
            await eventually(lambda: seen.addresses("new") == {"10.9.0.3"})
            assert seen.count == 291
            assert not seen.errors
