"""What would remove much waits for somebody to say that it is meant."""

from typing import Any

import aiohttp
import pytest
from structlog.testing import capture_logs

from meshbridge.bridge.app import running
from meshbridge.bridge.config.loading import load
from meshbridge.schemas.errors import ConfigError

MANY = {f"s{number:02}": [f"10.0.0.{number}"] for number in range(1, 21)}


async def test_reload_that_would_remove_many_hosts_waits_for_a_release(site: Any, eventually: Any) -> None:
    site.inventory("vms.yaml", MANY)
    site.configure(site.source("vms", "vms.yaml"))
    async with site.connected() as (bridge, client):
        await eventually(lambda: len(site.held(client)) == 20)
        with pytest.raises(KeyError, match="no configuration was refused"):
            bridge.view.release("config")

        rules = [{"match": {"service": f"s{number:02}"}, "drop": True} for number in range(1, 12)]
        site.configure(site.source("vms", "vms.yaml"), rules=rules)
        await eventually(bridge.view.last_reload_error)

        assert "11 of 20 hosts (s01.vms.mesh, s02.vms.mesh" in bridge.view.last_reload_error()
        assert "meshbridge release config" in bridge.view.last_reload_error()
        assert len(site.held(client)) == 20

        assert bridge.view.release("config") == 11
        await eventually(lambda: len(site.held(client)) == 9)
        assert bridge.view.last_reload_error() == ""


async def test_released_content_is_the_refused_one_and_no_other(site: Any, eventually: Any) -> None:
    site.inventory("vms.yaml", MANY)
    site.configure(site.source("vms", "vms.yaml"))
    async with site.connected() as (bridge, client):
        await eventually(lambda: len(site.held(client)) == 20)
        everything = [{"match": {"service": "*"}, "drop": True}]
        site.configure(site.source("vms", "vms.yaml"), rules=everything)
        await eventually(lambda: "20 of 20 hosts" in bridge.view.last_reload_error())

        site.configure(site.source("vms", "vms.yaml"))
        await eventually(lambda: bridge.view.last_reload_error() == "")
        with pytest.raises(KeyError, match="no configuration was refused"):
            bridge.view.release("config")

        assert len(site.held(client)) == 20


async def test_little_that_a_reload_removes_goes_at_once(site: Any, eventually: Any) -> None:
    site.inventory("vms.yaml", MANY)
    site.inventory("few.yaml", {"one": ["10.1.0.1"], "two": ["10.1.0.2"]})
    site.configure(site.source("vms", "vms.yaml"), site.source("few", "few.yaml"))
    async with site.connected() as (bridge, client):
        await eventually(lambda: len(site.held(client)) == 22)

        site.configure(site.source("vms", "vms.yaml"), rules=[{"match": {"service": "s01"}, "drop": True}])

        await eventually(lambda: len(site.held(client)) == 19)
        assert bridge.view.last_reload_error() == ""


async def test_large_source_that_is_taken_out_stays_until_released(site: Any, eventually: Any) -> None:
    site.inventory("vms.yaml", MANY)
    site.inventory("few.yaml", {"one": ["10.1.0.1"]})
    site.configure(site.source("vms", "vms.yaml"), site.source("few", "few.yaml"))
    async with site.connected() as (bridge, client):
        await eventually(lambda: len(site.held(client)) == 21)

        site.configure(site.source("few", "few.yaml"))
        await eventually(lambda: "20 of 21 hosts" in bridge.view.last_reload_error())
        assert [source.name for source in bridge.view.sources()] == ["few", "vms"]

        bridge.view.release("config")
        await eventually(lambda: len(site.held(client)) == 1)


async def test_source_whose_successor_lacks_most_stays_until_released(site: Any, eventually: Any) -> None:
    defaults = {"host": "{service}.mesh"}
    site.inventory("vms.yaml", MANY)
    site.inventory("new.yaml", {"s01": ["10.0.0.1"], "fresh": ["10.1.0.1"]})
    site.configure(site.source("vms", "vms.yaml"), defaults=defaults)
    async with site.connected() as (bridge, client):
        await eventually(lambda: len(site.held(client)) == 20)

        with capture_logs() as logs:
            site.configure(site.source("new", "new.yaml"), defaults=defaults)
            await eventually(lambda: bridge.publisher.departures.kept_back)

        assert len(site.held(client)) >= 20
        assert "19 of 21 hosts" in str(bridge.publisher.departures.kept_back["vms"])
        assert "source kept, too much would go with it" in [line["event"] for line in logs]

        assert bridge.view.release("config") == 19
        await eventually(lambda: sorted(site.held(client)) == ["fresh.mesh", "s01.mesh"])
        assert bridge.publisher.departures.kept_back == {}


async def test_two_bridges_do_not_share_a_state_directory(site: Any) -> None:
    site.inventory("vms.yaml", {"shop": ["10.0.0.1"]})
    site.configure(site.source("vms", "vms.yaml"), safety={"state_dir": str(site.state)})

    async with site.running():
        with pytest.raises(ConfigError, match="is in use by another bridge"):
            async with site.running():
                pass
    async with site.running():
        pass


class Replica:
    """A second bridge with a state directory, inventory and configuration of its own."""

    def __init__(self, site: Any, *urls: str, token: str = "") -> None:
        site.configure(
            site.source("vms", "vms.yaml"),
            safety={"peers": {"urls": list(urls), "token_file": token}},
            admin={"listen": "127.0.0.1:0", "token_file": token},
        )
        self.config = load(site.path, {})

    def running(self) -> Any:
        return running(self.config)


async def test_cold_replica_learns_from_its_peers_before_it_answers(site: Any, eventually: Any) -> None:
    everyone = [f"10.0.0.{number}" for number in range(1, 21)]
    site.inventory("vms.yaml", {"shop": everyone})
    async with Replica(site).running() as first:
        await first.view.wait_newer(0, 5.0)
        site.inventory("vms.yaml", {"shop": everyone[:3]})
        await eventually(lambda: first.view.sources()[0].held == 17)

        url = f"http://{first.admin_address}"
        async with Replica(site, url).running() as second, site.client(second) as client:
            await eventually(client.synced.is_set)
            assert site.held(client) == {"shop.vms.mesh": sorted(everyone)}
            await eventually(lambda: second.view.sources()[0].state == "synced")
            assert second.view.sources()[0].held == 17
            # Equal in every byte: what they serve has one version.
            assert first.publisher.snapshot == second.publisher.snapshot
            assert [found.since for found in second.view.held()] == pytest.approx(
                [found.since for found in first.view.held()], abs=0.1
            )


async def test_replica_starts_without_peers_that_do_not_answer(site: Any) -> None:
    site.inventory("vms.yaml", {"shop": ["10.0.0.1"]})

    with capture_logs() as logs:
        async with Replica(site, "http://127.0.0.1:1", "http://no.such.host.invalid:1").running() as bridge:
            assert await bridge.view.wait_newer(0, 10.0) == 1

    said = [line["event"] for line in logs]
    assert "peer tells nothing" in said
    assert "peer not found" in said


async def test_release_reaches_the_peers_and_nobody_twice(site: Any, eventually: Any, tmp_path: Any) -> None:
    everyone = [f"10.0.0.{number}" for number in range(1, 21)]
    token = tmp_path / "token"
    token.write_text("sesame")
    site.inventory("vms.yaml", {"shop": everyone})
    async with Replica(site, token=str(token)).running() as first:
        replica = Replica(site, f"http://{first.admin_address}", token=str(token))
        async with replica.running() as second:
            for bridge in (first, second):
                await bridge.view.wait_newer(0, 5.0)
            site.inventory("vms.yaml", {"shop": everyone[:3]})
            await eventually(lambda: all(one.view.sources()[0].held == 17 for one in (first, second)))

            url = f"http://{second.admin_address}/api/v1/release/vms"
            async with (
                aiohttp.ClientSession(headers={"Authorization": "Bearer sesame"}) as http,
                http.post(url) as answer,
            ):
                said = await answer.json()

            assert said["released"] == 17
            assert list(said["peers"]) == [f"http://{first.admin_address}"]
            assert '"released":17' in said["peers"][f"http://{first.admin_address}"]
            assert first.view.sources()[0].held == 0
