"""Real programs of the JVM register in a real ZooKeeper: Dubbo 2.7 and 3.3, Curator, Spring Cloud.

They are started once. Each test leaves them as it found them, but for the last, which ends them.
"""

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote_plus

import pytest
import pytest_asyncio

from integration.build_jvm import folder
from integration.conftest import Note
from integration.jvm.view import Endpoint, delays
from integration.jvm.world import BOTH, NEW, OLD, PLAIN, WEB, World
from integration.processes import eventually, stays
from integration.zookeeper.process import missing

pytestmark = pytest.mark.asyncio(loop_scope="module")

BLUE_ORDERS = "com.acme.orderservice.blue.1.2.0"
ORDERS = "com.acme.orderservice.2.0.0"
PAYMENTS = "com.acme.paymentservice"
SESSION = 4.0
"""Seconds of a session: twenty ticks of the server, less than any of the programs asks for."""
WEIGHT_RULE = b"""
configVersion: v2.7
scope: service
key: com.acme.OrderService:2.0.0
enabled: true
configs:
- side: provider
  addresses: ['0.0.0.0']
  parameters: {weight: 10}
"""
CURATOR = {
    "no-payload": [Endpoint(PLAIN, (("TCP", 8080),))],
    "text-payload": [Endpoint(PLAIN, (("TCP", 8082),))],
    "map-payload": [Endpoint("vm11.corp", (("HTTP", 8083),), "v2", 30, "/eu-1a")],
    "class-payload": [Endpoint(PLAIN, (("TCP", 8084),))],
    "tls": [Endpoint(PLAIN, (("HTTP", 8085), ("HTTPS", 8443)))],
    "tls-only": [Endpoint(PLAIN, (("TLS", 8444),))],
    "sequential": [Endpoint(PLAIN, (("TCP", 8086),))],
    "static": [Endpoint(PLAIN, (("TCP", 8087),))],
    "disabled": [],
    "enabled": [Endpoint(PLAIN, (("TCP", 8091),))],
    "team-nested": [Endpoint(PLAIN, (("TCP", 8093),))],
}


@pytest.fixture(scope="module")
def jars() -> Path:
    """The programs. Where they are missing tests are skipped, in CI only if nothing can build them."""
    if reason := missing():
        pytest.skip(reason)
    found = folder()
    if not found.exists() or shutil.which("java") is None:
        reason = f"{found} is missing; `python integration/build_jvm.py` builds it (a minute or two)"
        if os.environ.get("CI") == "true" and shutil.which("mvn"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clients")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(jars: Path, place: Path) -> AsyncIterator[World]:
    async with World(jars, place) as made:
        yield made


async def test_every_program_becomes_the_endpoints_it_registered(world: World, figure: Note) -> None:
    view = world.view
    both = (("GRPC", world.both_tri), ("TCP", world.both_dubbo))
    new = (("GRPC", world.new_tri), ("TCP", world.new_dubbo))
    old = (("TCP", world.old_port),)

    assert view.endpoints(BLUE_ORDERS) == [Endpoint(OLD, old, "1.2.0", 50, tag="gray")]
    assert view.endpoints(ORDERS) == [Endpoint(BOTH, both, "2.0.0", 30), Endpoint(NEW, new, "2.0.0", 100)]
    assert view.addresses(PAYMENTS) == [OLD, BOTH, NEW]
    assert view.endpoints("ledger") == [Endpoint(BOTH, both)]
    assert view.endpoints("billing") == [Endpoint(NEW, new)]
    assert view.endpoints("catalog") == [Endpoint(WEB, (("HTTP", world.web),), "v1", 0, "/eu-1a")]
    assert {name: view.endpoints(name) for name in CURATOR} == CURATOR
    assert view.services == {BLUE_ORDERS, ORDERS, PAYMENTS, "ledger", "billing", "catalog", *CURATOR}
    sources = {source["name"]: source for source in await world.bridge.get("sources")}
    assert {name: source["details"]["layout"] for name, source in sources.items()} == {
        "zk/dubbo27": "dubbo",
        "zk/dubbo": "dubbo",
        "zk/services": "curator",
        "zk/curator-services": "curator",
    }
    assert {source["state"] for source in sources.values()} == {"synced"}
    figure(
        "JVM programs started together to registered",
        ", ".join(f"{name} {seconds:.1f} s" for name, seconds in world.took.items()),
    )


async def test_override_takes_a_provider_out_and_back(world: World, figure: Note) -> None:
    path = _disabling("/dubbo27", f"{OLD}:{world.old_port}", "group=blue&version=1.2.0")

    before = world.view.endpoints(BLUE_ORDERS)
    assert [found.address for found in before] == [OLD]
    began = time.monotonic()
    await world.writer.put(path)
    out = await world.view.becomes(lambda: not world.view.endpoints(BLUE_ORDERS))
    # Dubbo applies the rule to itself as well, and registers again.
    is_out = await stays(lambda: _is(world.view.endpoints(BLUE_ORDERS) == []), 1.5)
    assert world.view.addresses(PAYMENTS) == [OLD, BOTH, NEW], "the rule is for the other interface"
    removed = time.monotonic()
    await world.writer.remove(path)
    back = await world.view.becomes(lambda: bool(world.view.endpoints(BLUE_ORDERS)))

    assert is_out, "the provider came back while the rule said disabled"
    assert world.view.endpoints(BLUE_ORDERS) == before
    figure(
        "override written to client told", f"disabled {_ms(out - began)}, taken back {_ms(back - removed)}"
    )


async def test_rules_reach_dubbo_3_on_both_levels(world: World, figure: Note) -> None:
    path = "/dubbo/config/dubbo/com.acme.OrderService:2.0.0:.configurators"

    def weights() -> list[tuple[str, int]]:
        return [(found.address, found.weight) for found in world.view.endpoints(ORDERS)]

    began = time.monotonic()
    await world.writer.put(path, WEIGHT_RULE)
    told = await world.view.becomes(lambda: weights() == [(BOTH, 10), (NEW, 10)])

    assert await stays(lambda: _is(weights() == [(BOTH, 10), (NEW, 10)]), 1.5)
    figure("rule of the config center written to client told", _ms(told - began))
    disabling = _disabling("/dubbo", f"{BOTH}:{world.both_dubbo}", "version=2.0.0")
    await world.writer.put(disabling)
    await world.view.becomes(lambda: weights() == [(NEW, 10)])
    assert await stays(lambda: _is(weights() == [(NEW, 10)]), 1.5), "it is disabled, on whatever port"
    await world.writer.remove(disabling)
    await world.writer.remove(path)
    # Dubbo 3.3 does not always take a rule back from itself; a new process knows nothing of it.
    await world.programs["both"].stop()
    await world.restart("both")
    await world.view.becomes(lambda: weights() == [(BOTH, 30), (NEW, 100)])


async def test_spring_service_out_of_service_drains_and_returns(world: World, figure: Note) -> None:
    began = time.monotonic()
    await world.instance_status("OUT_OF_SERVICE")
    out = await world.view.becomes(lambda: world.view.addresses("catalog") == [])
    drained = [item for item in await world.bridge.get("services") if item["host"] == "catalog.zk.mesh"]
    returned = time.monotonic()
    await world.instance_status("UP")
    back = await world.view.becomes(lambda: world.view.addresses("catalog") == [WEB])

    assert [(item["ready"], item["total"]) for item in drained] == [(0, 1)], "it is drained, not forgotten"
    figure("Spring OUT_OF_SERVICE to client told", f"{_ms(out - began)}, UP again {_ms(back - returned)}")


async def test_killed_programs_stay_until_their_sessions_expire(world: World, figure: Note) -> None:
    view = world.view
    gone = [
        await world.registry.empties("/dubbo/com.acme.OrderService/providers", BOTH),
        await world.registry.empties("/curator/services/no-payload", ""),
        await world.registry.empties("/services/catalog", ""),
    ]
    services = (ORDERS, "no-payload", "catalog")
    lost = (BOTH, PLAIN, WEB)

    killed = time.monotonic()
    await asyncio.gather(*(world.programs[name].kill() for name in ("both", "plain", "catalog")))
    all_there = await stays(
        lambda: _is(all(at in view.addresses(name) for name, at in zip(services, lost, strict=True))), 1.0
    )
    told = await asyncio.gather(
        *(
            view.becomes(lambda name=name, at=at: at not in view.addresses(name))
            for name, at in zip(services, lost, strict=True)
        )
    )
    expired = await asyncio.gather(*gone)
    await view.becomes(lambda: not view.addresses("ledger") and BOTH not in view.addresses(PAYMENTS))
    await view.becomes(lambda: not view.addresses("team-nested"))

    assert all_there, "an endpoint left before its session had expired"
    assert max(expired) - killed < SESSION + 3.0
    assert view.addresses("static") == [PLAIN], "what Curator registers for good outlives its process"
    assert view.addresses(ORDERS) == [NEW]
    figure(
        "kill -9 to session expired (4 s sessions)",
        f"{min(expired) - killed:.1f} to {max(expired) - killed:.1f} s",
    )
    figure("session expired to client told (Dubbo 3.3, Curator, Spring)", delays(expired, told))
    await world.restart("both", "plain", "catalog")
    await view.becomes(lambda: view.addresses(ORDERS) == [BOTH, NEW] and view.addresses("catalog") == [WEB])
    await eventually(lambda: _is(view.endpoints("enabled") == CURATOR["enabled"]))


async def test_stopped_programs_leave_at_once(world: World, figure: Note) -> None:
    view = world.view
    gone = [
        await world.registry.empties("/dubbo27/com.acme.OrderService/providers", OLD),
        await world.registry.empties("/services/billing", NEW),
        await world.registry.empties("/curator/services/static", ""),
        await world.registry.empties("/services/catalog", ""),
    ]

    async def stop(name: str, is_told: str, address: str) -> tuple[float, float]:
        asked = time.monotonic()
        stopping = asyncio.ensure_future(world.programs[name].stop())
        told = await view.becomes(lambda: address not in view.addresses(is_told))
        await stopping
        return asked, told

    moments = await asyncio.gather(
        stop("old", BLUE_ORDERS, OLD),
        stop("new", ORDERS, NEW),
        stop("plain", "static", PLAIN),
        stop("catalog", "catalog", WEB),
    )
    deregistered = await asyncio.gather(*gone)
    await view.becomes(lambda: view.addresses(PAYMENTS) == [BOTH] and not view.addresses("billing"))

    assert all(told - asked < SESSION - 1.5 for asked, told in moments), "that may be the session's end"
    figure(
        "deregistered to client told (Dubbo 2.7, 3.3, Curator, Spring)",
        delays(deregistered, [told for _, told in moments]),
    )
    asked_to_told = ", ".join(f"{told - asked:.1f}" for asked, told in moments)
    figure("TERM to client told (Dubbo 2.7, 3.3, Curator, Spring)", f"{asked_to_told} s")


def _disabling(root: str, place: str, conditions: str) -> str:
    """Return the node that Dubbo Admin writes to disable a provider of OrderService."""
    rule = (
        f"override://{place}/com.acme.OrderService?category=configurators&dynamic=false&enabled=true"
        f"&{conditions}&disabled=true"
    )
    return f"{root}/com.acme.OrderService/configurators/{quote_plus(rule)}"


async def _is(value: bool) -> bool:
    return value


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"
