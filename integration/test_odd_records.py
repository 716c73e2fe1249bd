"""Whatever stands in an inventory: what the bridge publishes, istiod holds."""

import os
import re
from collections import Counter
from dataclasses import dataclass

import pytest

from integration import odd_records
from integration.bridges import Bridge
from integration.conftest import MakeBridge, MakeIstiod, Note
from integration.istiod import configz

SERVICES = 300
SEEDS = int(os.environ.get("ODD_SEEDS", "3"))


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_istiod_drops_nothing_of_what_is_published(
    make_bridge: MakeBridge, make_istiod: MakeIstiod, figure: Note, seed: int
) -> None:
    bridge = make_bridge(rules=odd_records.RULES)
    inventory = odd_records.services(seed, SERVICES)
    bridge.inventory.write(*inventory)
    async with bridge, make_istiod(bridge.mcp_address) as istiod:
        await istiod.wait_ready()

        entries = configz.held(await istiod.configz())

        served = configz.served(
            [*await bridge.objects("serviceentries"), *await bridge.objects("workloadentries")]
        )
        assert entries == served
        assert not [line for line in istiod.log.splitlines() if re.search(r"\t(warn|error)\tadsc\t", line)]
        count = await _counts(bridge, entries)
        instances = sum(len(service["instances"]) for service in inventory)
        figure(
            f"odd records, seed {seed}",
            f"{SERVICES} services, {instances} instances, {count.problems} problems told; published and held:"
            f" {count.services} services, {count.inline} inline endpoints, {count.workloads} workloads",
        )
        # The inventory is neither refused as a whole nor harmless.
        assert count.services > SERVICES / 2
        assert count.inline > SERVICES / 2
        assert count.workloads > 5
        assert count.problems > SERVICES / 2


@dataclass(frozen=True)
class Counts:
    """What became of an inventory."""

    services: int
    inline: int
    workloads: int
    problems: int


async def _counts(bridge: Bridge, entries: configz.Objects) -> Counts:
    source = (await bridge.get("sources"))[0]
    kinds = Counter(found["kind"] for found in entries.values())
    return Counts(
        services=kinds["ServiceEntry"],
        inline=sum(len(found["spec"].get("endpoints", ())) for found in entries.values()),
        workloads=kinds["WorkloadEntry"],
        problems=int(source["details"]["problems"]),
    )
