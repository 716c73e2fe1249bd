"""The server and the client that behaves as istiod does, over loopback."""

import asyncio
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from meshbridge.mcp.cache import SnapshotCache
from meshbridge.mcp.client import ClientSettings, IstiodClient
from meshbridge.mcp.client_store import MESH_CONFIG, Change, istio_types
from meshbridge.schemas.errors import ConfigError
from meshbridge.schemas.registry import labels
from meshbridge.schemas.settings import ServerTls

SE = "networking.istio.io/v1/ServiceEntry"
OLD_SE = "networking.istio.io/v1alpha3/ServiceEntry"
OURS = {f"networking.istio.io/v1/{kind}" for kind in ("ServiceEntry", "WorkloadEntry", "WorkloadGroup")}
QUICK = ClientSettings(first_retry=0.05, max_retry=0.2)


def settings(**more: object) -> ClientSettings:
    return ClientSettings(**{"first_retry": 0.05, "max_retry": 0.2, **more})


def address(port: int) -> str:
    return f"127.0.0.1:{port}"


async def test_client_is_ready_only_when_our_kinds_are_answered(port, publisher, entry) -> None:
    async with IstiodClient(address(port), QUICK) as client:
        await client.wait_for(lambda c: c.unsynced == OURS, within=5)
        assert not client.synced.is_set()

        await publisher.put(entry("a"))

        await client.wait_for(lambda c: c.synced.is_set(), within=5)
        assert client.entries[SE].keys() == {"legacy/a"}


async def test_older_istiod_is_served_under_its_own_urls(port, publisher, entry) -> None:
    await publisher.put(entry("a"))

    async with IstiodClient(address(port), settings(types=istio_types(before_1_24=True))) as client:
        await client.wait_for(lambda c: c.synced.is_set(), within=5)

        assert client.entries[OLD_SE].keys() == {"legacy/a"}


async def test_changes_arrive_as_they_are_published(port, publisher, entry) -> None:
    changes: list[Change] = []
    await publisher.put(entry("a"), entry("b"))
    async with IstiodClient(address(port), QUICK, changes.append) as client:
        await client.wait_for(lambda c: c.synced.is_set(), within=5)

        await publisher.put(entry("a", salt=1), entry("c"))
        await client.wait_for(lambda c: "legacy/c" in c.entries[SE], within=5)
        await publisher.remove(entry("b").key)
        await client.wait_for(lambda c: "legacy/b" not in c.entries[SE], within=5)

    told = [(c.added, c.changed, c.removed) for c in changes if c.type_url == SE]
    assert told == [
        (("legacy/a", "legacy/b"), (), ()),
        (("legacy/c",), ("legacy/a",), ()),
        ((), (), ("legacy/b",)),
    ]
    assert client.counters.responses == len(istio_types()) + 2
    assert client.counters.bytes == sum(change.size for change in changes)


async def test_delta_client_is_told_what_changed_and_what_is_gone(serve, cache, publisher, entry) -> None:
    changes: list[Change] = []
    server, port = await serve(cache)
    await publisher.put(entry("a"), entry("b"))
    async with IstiodClient(address(port), settings(delta=True), changes.append) as client:
        await client.wait_for(lambda c: c.synced.is_set(), within=5)
        await publisher.put(entry("a", salt=1), entry("c"))
        await client.wait_for(lambda c: "legacy/c" in c.entries[SE], within=5)
        await server.stop(0.1)
        await publisher.remove(entry("b").key)
        await serve(cache, address(port))

        await client.wait_for(lambda c: "legacy/b" not in c.entries[SE], within=5)

    told = [(c.added, c.changed, c.removed) for c in changes if c.type_url == SE]
    assert told == [
        (("legacy/a", "legacy/b"), (), ()),
        (("legacy/c",), ("legacy/a",), ()),
        ((), (), ("legacy/b",)),  # It said what it had.
    ]
    assert max(c.size for c in changes[-3:]) < 300


async def test_changed_labels_alone_reach_the_client(port, publisher, entry) -> None:
    await publisher.put(entry("a"))
    async with IstiodClient(address(port), QUICK) as client:
        await client.wait_for(lambda c: c.synced.is_set(), within=5)

        await publisher.put(entry("a", labels=labels({"team": "x"})))

        await client.wait_for(lambda c: c.entries[SE]["legacy/a"].labels == (("team", "x"),), within=5)


async def test_every_client_of_many_gets_the_newest_state(port, publisher, entry) -> None:
    await publisher.put(entry("a"))
    clients = [IstiodClient(address(port), settings(pod=f"istiod-{i}")) for i in range(5)]
    for client in clients:
        await client.__aenter__()
    for client in clients:
        await client.wait_for(lambda c: c.synced.is_set(), within=5)

    for salt in range(1, 30):
        await publisher.put(entry("a", salt=salt))
        await asyncio.sleep(0)

    newest = entry("a", salt=29).version
    for client in clients:
        await client.wait_for(lambda c: c.entries[SE]["legacy/a"].version == newest, within=5)
        assert client.counters.responses < len(istio_types()) + 29  # They were gathered.
        await client.__aexit__(None, None, None)


async def test_client_keeps_what_it_has_when_the_server_stops(serve, cache, publisher, entry) -> None:
    server, port = await serve(cache)
    await publisher.put(entry("a"))
    async with IstiodClient(address(port), QUICK) as client:
        await client.wait_for(lambda c: c.synced.is_set(), within=5)

        await server.stop(1.0)

        await client.wait_for(lambda c: not c.is_connected, within=5)
        assert client.entries[SE].keys() == {"legacy/a"}


async def test_fail_over_to_an_equal_replica_changes_nothing(serve, cache, publisher, entry) -> None:
    changes: list[Change] = []
    server, port = await serve(cache)
    await publisher.put(entry("a"), entry("b"))
    async with IstiodClient(address(port), QUICK, changes.append) as client:
        await client.wait_for(lambda c: c.synced.is_set(), within=5)
        await server.stop(1.0)
        changes.clear()
        replica = SnapshotCache()
        await serve(replica, address(port))
        await client.wait_for(lambda c: c.counters.streams == 2, within=10)
        assert client.entries[SE].keys() == {"legacy/a", "legacy/b"}

        await replica.apply(publisher.prepare())

        await client.wait_for(lambda _: sum(c.type_url in OURS for c in changes) == 3, within=5)
        assert all(not (c.added or c.changed or c.removed) for c in changes)


async def test_reconnect_storm_leaves_nothing_behind(
    serve, cache, publisher, entry, eventually, caplog
) -> None:
    server, port = await serve(cache)
    await publisher.put(entry("a"))

    for _ in range(20):
        async with asyncio.TaskGroup() as group:
            for i in range(5):
                group.create_task(sync_once(port, f"istiod-{i}"))

    await eventually(lambda: len(server.clients) == 0)
    assert server.clients.statuses() == []
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def sync_once(port: int, pod: str) -> None:
    async with IstiodClient(address(port), settings(pod=pod)) as client:
        await client.wait_for(lambda c: c.synced.is_set(), within=10)


async def test_client_that_never_acknowledges_follows_all_the_same(port, publisher, entry) -> None:
    await publisher.put(entry("a"))
    async with IstiodClient(address(port), settings(acknowledges=False)) as client:
        await client.wait_for(lambda c: c.synced.is_set(), within=5)

        await publisher.put(entry("b"))

        await client.wait_for(lambda c: "legacy/b" in c.entries[SE], within=5)


async def test_two_revisions_take_what_is_theirs(port, publisher, entry) -> None:
    await publisher.put(
        entry("any"),
        entry("blue", labels=labels({"istio.io/rev": "blue"})),
        entry("green", labels=labels({"istio.io/rev": "green"})),
    )
    held = {}
    for revision in ("blue", "green"):
        async with IstiodClient(address(port), settings(revision=revision)) as client:
            await client.wait_for(lambda c: c.synced.is_set(), within=5)
            held[revision] = client.entries[SE].keys()

    assert held == {"blue": {"legacy/any", "legacy/blue"}, "green": {"legacy/any", "legacy/green"}}


async def test_client_waits_for_a_server_that_is_not_there_yet(serve, cache, publisher) -> None:
    server, port = await serve(cache)
    await server.stop(0.1)
    await publisher.put()
    async with IstiodClient(address(port), QUICK) as client:
        with pytest.raises(TimeoutError):
            await client.wait_for(lambda c: c.is_connected, within=0.2)

        await serve(cache, address(port))

        await client.wait_for(lambda c: c.synced.is_set(), within=10)


async def test_mesh_config_is_answered_and_acknowledged(serve, cache, eventually) -> None:
    server, port = await serve(cache)
    async with IstiodClient(address(port), settings(types=(MESH_CONFIG,))):
        await eventually(lambda: [t for c in server.clients.statuses() for t in c.types if t.acked])


@pytest.fixture
def files(tmp_path: Path, certs: Path) -> ServerTls:
    """TLS files of a server whose certificate is the first."""
    for kind in ("pem", "key"):
        shutil.copy(certs / f"first.{kind}", tmp_path / f"tls.{kind}")
    return ServerTls(cert_file=str(tmp_path / "tls.pem"), key_file=str(tmp_path / "tls.key"))


@pytest.fixture
def trusting(certs: Path) -> Callable[[str], ClientSettings]:
    """Makes the settings of a client that expects this name in the server's certificate."""
    return lambda name: settings(ca_pem=(certs / "ca.pem").read_bytes(), server_name=name)


async def test_tls_client_is_served(serve, cache, publisher, files, trusting) -> None:
    _, port = await serve(cache, tls=files)
    await publisher.put()

    async with IstiodClient(address(port), trusting("first.test")) as client:
        await client.wait_for(lambda c: c.synced.is_set(), within=5)


async def test_plaintext_client_is_not_served_by_tls(serve, cache, publisher, files) -> None:
    _, port = await serve(cache, tls=files)
    await publisher.put()

    async with IstiodClient(address(port), QUICK) as client:
        with pytest.raises(TimeoutError):
            await client.wait_for(lambda c: c.counters.responses > 0, within=0.5)


async def test_renewed_certificate_counts_from_the_next_connection(
    serve, cache, publisher, files, trusting, certs
) -> None:
    _, port = await serve(cache, tls=files)
    await publisher.put()
    async with IstiodClient(address(port), trusting("first.test")) as old:
        await old.wait_for(lambda c: c.synced.is_set(), within=5)

        for kind, target in (("pem", files.cert_file), ("key", files.key_file)):
            shutil.copy(certs / f"second.{kind}", f"{target}.new")
            os.replace(f"{target}.new", target)

        async with IstiodClient(address(port), trusting("second.test")) as new:
            await new.wait_for(lambda c: c.synced.is_set(), within=5)
        assert old.is_connected


async def test_certificate_that_vanishes_stays_in_force(serve, cache, publisher, files, trusting) -> None:
    _, port = await serve(cache, tls=files)
    await publisher.put()
    os.unlink(files.cert_file)

    for _ in range(2):
        async with IstiodClient(address(port), trusting("first.test")) as client:
            await client.wait_for(lambda c: c.synced.is_set(), within=5)


async def test_client_without_certificate_is_refused_where_one_is_required(
    serve, cache, publisher, files, trusting, certs
) -> None:
    strict = files.model_copy(update={"client_ca_file": str(certs / "ca.pem")})
    _, port = await serve(cache, tls=strict)
    await publisher.put()

    async with IstiodClient(address(port), trusting("first.test")) as client:
        with pytest.raises(TimeoutError):
            await client.wait_for(lambda c: c.counters.responses > 0, within=0.5)


async def test_missing_certificate_is_an_error_that_names_the_file(cache, serve, tmp_path) -> None:
    missing = str(tmp_path / "none.pem")

    with pytest.raises(ConfigError, match=r"none\.pem: No such file"):
        await serve(cache, tls=ServerTls(cert_file=missing, key_file=missing))
