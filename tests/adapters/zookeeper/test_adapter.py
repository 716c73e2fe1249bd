"""A watched root under everything that can go wrong with its server."""

import asyncio

import pytest

from meshbridge.schemas.errors import RegistryDenied, RegistryUnavailable
from meshbridge.schemas.registry import (
    FullSync,
    GroupUpdate,
    Instance,
    ServiceKey,
    SourceReport,
    SourceState,
    group,
)

GET_DATA, GET_CHILDREN, SYNC, ADD_WATCH = 4, 8, 9, 106


@pytest.fixture(params=["recursive", "one-shot"])
def either(request, server) -> None:
    """Runs the test with recursive watches and without."""
    server.knows_watches = request.param == "recursive"


@pytest.mark.usefixtures("either")
async def test_changes_during_the_first_read_are_not_lost(server, make_watching, record, eventually) -> None:
    server.create("/mesh/orders/a", record("10.0.0.1"))
    server.create("/mesh/orders/b", record("10.0.0.2"))
    told = []

    def interfere(operation: int, path: str) -> None:
        if operation == GET_DATA and path == "/mesh/orders/a" and not told:
            told.append(path)
            server.create("/mesh/orders/c", record("10.0.0.3"))
            server.create("/mesh/payments/d", record("10.0.0.4"))
            server.delete("/mesh/orders/b")
            server.set("/mesh/orders/a", record("10.0.0.9"))

    server.before = interfere
    watching = make_watching()
    watching.start()

    await eventually(
        lambda: watching.addresses == {"orders": {"10.0.0.9", "10.0.0.3"}, "payments": {"10.0.0.4"}}
    )
    assert isinstance(watching.data[0], FullSync)


@pytest.mark.usefixtures("either")
async def test_changes_missed_while_disconnected_arrive(server, watching, record, eventually) -> None:
    for name in ("a", "b", "c"):
        server.create(f"/mesh/orders/{name}", record(f"10.0.0.{ord(name)}"))
    await eventually(lambda: watching.addresses)
    await server.stop()
    await eventually(lambda: watching.is_stale)

    server.delete("/mesh/orders/a")
    server.create("/mesh/payments/d", record("10.0.0.4"))
    await server.start()

    await eventually(
        lambda: watching.addresses == {"orders": {"10.0.0.98", "10.0.0.99"}, "payments": {"10.0.0.4"}}
    )
    await eventually(lambda: watching.is_synced)


@pytest.mark.usefixtures("either")
async def test_an_expired_session_is_replaced_and_loses_nothing(server, watching, record, eventually) -> None:
    server.create("/mesh/orders/a", record("10.0.0.1"))
    await eventually(lambda: watching.addresses == {"orders": {"10.0.0.1"}})
    said = len(watching.data)

    server.expire()
    await eventually(lambda: watching.is_stale)
    await eventually(lambda: watching.is_synced)

    assert len(watching.data) == said
    server.create("/mesh/orders/b", record("10.0.0.2"))
    await eventually(lambda: watching.addresses == {"orders": {"10.0.0.1", "10.0.0.2"}})


@pytest.mark.usefixtures("either")
async def test_directories_made_later_are_watched_too(server, watching, record, eventually) -> None:
    await eventually(lambda: watching.is_synced)

    server.create("/mesh/new", ephemeral=False)
    server.create("/mesh/new/a", record("10.0.0.1"))
    await eventually(lambda: watching.addresses == {"new": {"10.0.0.1"}})
    server.create("/mesh/new/b", record("10.0.0.2"))
    await eventually(lambda: watching.addresses == {"new": {"10.0.0.1", "10.0.0.2"}})
    server.set("/mesh/new/b", record("10.0.0.3"))
    await eventually(lambda: watching.addresses == {"new": {"10.0.0.1", "10.0.0.3"}})

    server.delete("/mesh/new")
    await eventually(lambda: watching.addresses == {})


async def test_a_server_that_hangs_up_on_unknown_requests_is_old(
    server, make_watching, record, eventually
) -> None:
    server.knows_watches = False
    server.hangs_up_on_the_unknown = True
    server.create("/mesh/orders/a", record("10.0.0.1"))
    watching = make_watching(connect_timeout="20s")
    watching.start()

    await eventually(lambda: watching.addresses == {"orders": {"10.0.0.1"}}, within=20)

    assert ("watches", "one for each node") in watching.report.details


async def test_a_server_that_turned_older_is_followed_as_it_can(server, watching, record, eventually) -> None:
    await eventually(lambda: watching.is_synced)

    server.knows_watches = False
    server.drop()
    await eventually(lambda: watching.is_stale)
    await eventually(lambda: watching.is_synced or watching.task.done())
    server.create("/mesh/orders/a", record("10.0.0.1"))

    await eventually(lambda: watching.addresses == {"orders": {"10.0.0.1"}})


async def test_a_read_only_server_serves_but_deletes_nothing(server, watching, record, eventually) -> None:
    for name in ("a", "b"):
        server.create(f"/mesh/orders/{name}", record(f"10.0.0.{ord(name)}"))
    await eventually(lambda: len(watching.addresses.get("orders", ())) == 2)
    await server.stop()
    server.is_read_only = True
    server.delete("/mesh/orders/a")
    server.create("/mesh/orders/c", record("10.0.0.3"))
    await server.start()

    await eventually(lambda: watching.report.reason.startswith("the server is read-only"))
    assert watching.addresses == {"orders": {"10.0.0.97", "10.0.0.98", "10.0.0.3"}}

    await server.stop()
    server.is_read_only = False
    await server.start()
    await eventually(lambda: watching.is_synced)
    assert watching.addresses == {"orders": {"10.0.0.98", "10.0.0.3"}}


async def test_a_read_only_server_at_the_start_takes_nothing_from_what_was_known(
    server, make_watching, record, eventually
) -> None:
    server.is_read_only = True
    server.create("/mesh/orders/a", record("10.0.0.1"))
    watching = make_watching()
    old = Instance(id="orders/old", address="10.0.0.7")
    watching.previous = {"orders": group(ServiceKey("zk", "orders"), [old])}
    watching.start()

    await eventually(lambda: watching.is_stale)

    assert watching.addresses == {"orders": {"10.0.0.1", "10.0.0.7"}}
    server.is_read_only = False
    server.expire()
    await eventually(lambda: watching.addresses == {"orders": {"10.0.0.1"}})


async def test_a_frozen_server_is_noticed_and_does_not_hold_up_the_end(
    server, make_watching, record, eventually
) -> None:
    server.create("/mesh/orders/a", record("10.0.0.1"))
    watching = make_watching(session_timeout="1s")
    watching.start()
    await eventually(lambda: watching.is_synced)

    server.freeze()
    await eventually(lambda: watching.is_stale, within=10)
    assert watching.addresses == {"orders": {"10.0.0.1"}}

    started = asyncio.get_running_loop().time()
    await watching.stop()
    assert asyncio.get_running_loop().time() - started < 0.5
    server.thaw()


async def test_a_frozen_server_that_thaws_is_followed_again(
    server, make_watching, record, eventually
) -> None:
    watching = make_watching(session_timeout="1s")
    watching.start()
    await eventually(lambda: watching.is_synced)

    server.freeze()
    await eventually(lambda: watching.is_stale, within=10)
    server.create("/mesh/orders/a", record("10.0.0.1"))
    server.thaw()

    await eventually(lambda: watching.is_synced, within=10)
    assert watching.addresses == {"orders": {"10.0.0.1"}}


async def test_denied_nodes_are_skipped_and_counted(server, make_watching, record, eventually) -> None:
    server.create("/mesh/orders/a", record("10.0.0.1"))
    server.create("/mesh/orders/b", record("10.0.0.2"))
    server.create("/mesh/secret/c", record("10.0.0.3"))
    server.denied |= {"/mesh/orders/b", "/mesh/secret"}
    watching = make_watching()
    watching.start()

    await eventually(lambda: watching.is_synced)

    assert watching.addresses == {"orders": {"10.0.0.1"}}
    assert ("unreadable nodes", "2") in watching.report.details
    assert watching.counts["rejected denied"] == 2


async def test_nodes_that_turn_denied_keep_their_instances(server, watching, record, eventually) -> None:
    server.create("/mesh/orders/a", record("10.0.0.1"))
    server.create("/mesh/payments/b", record("10.0.0.2"))
    await eventually(lambda: len(watching.addresses) == 2)

    server.denied |= {"/mesh/orders", "/mesh/payments/b"}
    server.drop()
    await eventually(lambda: watching.is_stale)
    await eventually(lambda: watching.is_synced)
    assert watching.addresses == {"orders": {"10.0.0.1"}, "payments": {"10.0.0.2"}}

    server.set("/mesh/payments/b", record("10.0.0.3"))
    server.create("/mesh/payments/c", record("10.0.0.4"))
    await eventually(lambda: watching.addresses["payments"] == {"10.0.0.2", "10.0.0.4"})


async def test_a_denied_root_is_said_loudly(server, make_watching) -> None:
    server.denied.add("/mesh")
    watching = make_watching()
    watching.start()

    with pytest.raises(RegistryDenied, match="/mesh may not be read"):
        await watching.task

    assert watching.counts["error denied"] == 1
    assert not watching.events


async def test_a_node_that_is_too_large_is_skipped_and_counted(
    server, make_watching, record, eventually
) -> None:
    server.create("/mesh/orders/a", record("10.0.0.1"))
    server.create("/mesh/orders/b", b" " * 1_000_000 + record("10.0.0.2"))
    watching = make_watching(max_node_size=100_000)
    watching.start()

    await eventually(lambda: watching.is_synced)
    assert watching.addresses == {"orders": {"10.0.0.1"}}
    assert watching.counts["rejected too-large"] == 1

    server.set("/mesh/orders/b", record("10.0.0.2"))
    await eventually(lambda: watching.addresses == {"orders": {"10.0.0.1", "10.0.0.2"}})
    assert "unreadable nodes" not in dict(watching.report.details)


async def test_a_root_that_never_was_is_trouble_not_emptiness(server, make_watching) -> None:
    watching = make_watching(root={"path": "/none", "layout": "json"})
    watching.start()

    with pytest.raises(RegistryUnavailable, match="/none does not exist"):
        await watching.task

    assert not watching.events


async def test_a_root_that_is_missing_after_an_outage_takes_nothing_along(
    server, watching, record, eventually
) -> None:
    server.create("/mesh/orders/a", record("10.0.0.1"))
    await eventually(lambda: watching.addresses)
    await server.stop()
    server.delete("/mesh")
    await server.start()

    await eventually(lambda: watching.report.reason == "/mesh does not exist")
    assert watching.addresses == {"orders": {"10.0.0.1"}}

    server.create("/mesh/orders/b", record("10.0.0.2"))
    await eventually(lambda: watching.addresses == {"orders": {"10.0.0.2"}})
    await eventually(lambda: watching.is_synced)


async def test_removals_that_are_told_one_by_one_are_meant(server, watching, record, eventually) -> None:
    server.create("/mesh/orders/a", record("10.0.0.1"))
    await eventually(lambda: watching.addresses)

    server.delete("/mesh")

    await eventually(lambda: watching.addresses == {})


async def test_an_emptied_server_is_read_twice_and_told_as_one_event(
    server, watching, record, eventually
) -> None:
    for number in range(10):
        server.create(f"/mesh/s{number}/a", record("10.0.0.1"))
    await eventually(lambda: len(watching.addresses) == 10)
    await server.stop()
    server.delete("/mesh")
    server.create("/mesh", ephemeral=False)
    await server.start()
    server.asked.clear()
    said = len(watching.data)

    await eventually(lambda: watching.addresses == {})

    assert watching.data[said:] == [watching.data[-1]]
    assert isinstance(watching.data[-1], FullSync)
    assert [operation for operation, _ in server.asked].count(SYNC) == 2


async def test_few_losses_are_told_one_by_one(server, watching, record, eventually) -> None:
    for number in range(3):
        server.create(f"/mesh/s{number}/a", record("10.0.0.1"))
    await eventually(lambda: len(watching.addresses) == 3)
    said = len(watching.data)

    for number in range(3):
        server.delete(f"/mesh/s{number}")
    await eventually(lambda: watching.addresses == {})

    assert all(isinstance(event, GroupUpdate) for event in watching.data[said:])


async def test_a_connection_that_breaks_in_the_first_read_raises(server, make_watching, record) -> None:
    server.create("/mesh/orders/a", record("10.0.0.1"))
    server.before = lambda operation, _path: server.drop() if operation == SYNC else None
    watching = make_watching()
    watching.start()

    with pytest.raises(RegistryUnavailable):
        await watching.task

    assert not watching.events


async def test_a_connection_that_breaks_in_a_later_read_is_endured(
    server, watching, record, eventually
) -> None:
    await eventually(lambda: watching.is_synced)
    drops = []

    def interfere(operation: int, path: str) -> None:
        if operation == GET_DATA and path == "/mesh/orders/a" and len(drops) < 2:
            drops.append(path)
            server.drop()

    server.before = interfere
    server.create("/mesh/orders/a", record("10.0.0.1"))

    await eventually(lambda: watching.addresses == {"orders": {"10.0.0.1"}})
    assert len(drops) == 2
    assert watching.counts["error interrupted"] >= 2


async def test_everything_is_read_again_from_time_to_time(server, make_watching, record, eventually) -> None:
    server.create("/mesh/orders/a", record("10.0.0.1"))
    server.denied.add("/mesh/orders/a")
    watching = make_watching()
    watching.config = watching.config.model_copy(update={"resync": 0.1})
    watching.adapter = type(watching.adapter)(watching.config, watching.adapter._context)
    watching.start()
    await eventually(lambda: watching.is_synced)
    assert watching.addresses == {}

    server.denied.clear()  # Which no watch tells.

    await eventually(lambda: watching.addresses == {"orders": {"10.0.0.1"}})


async def test_the_layout_is_recognised_as_soon_as_there_is_something_to_see(
    server, make_watching, eventually
) -> None:
    watching = make_watching(root={"path": "/mesh"})
    watching.start()
    await eventually(lambda: watching.is_synced)
    assert watching.data == [FullSync((), watching.data[0].observed)]

    server.create(
        "/mesh/com.acme.Orders/providers/dubbo%3A%2F%2F10.0.0.1%3A20880%2Fcom.acme.Orders%3Fside%3Dprovider"
    )

    await eventually(lambda: "com.acme.orders" in {name.lower() for name in watching.addresses})
    assert ("layout", "dubbo") in watching.report.details
    assert "providers" in dict(watching.report.details)["recognised"]


async def test_a_root_without_any_known_layout_is_trouble(server, make_watching) -> None:
    server.create("/mesh/orders/a", b"what is this?")
    watching = make_watching(root={"path": "/mesh"})
    watching.start()

    with pytest.raises(RegistryUnavailable, match="set `layout`"):
        await watching.task


async def test_the_whole_server_may_be_the_root(server, make_watching, record, eventually) -> None:
    server.create("/zookeeper/quota/a", record("10.0.0.7"))
    server.create("/mesh/a", record("10.0.0.1"))
    watching = make_watching(root={"path": "/", "layout": "json"})
    watching.start()
    await eventually(lambda: watching.addresses == {"mesh": {"10.0.0.1"}})

    server.create("/mesh/b", record("10.0.0.2"))
    server.create("/zookeeper/quota/b", record("10.0.0.8"))
    server.create("/more/c", record("10.0.0.3"))

    await eventually(lambda: watching.addresses == {"mesh": {"10.0.0.1", "10.0.0.2"}, "more": {"10.0.0.3"}})


async def test_a_chroot_is_put_before_every_path(server, make_watching, record, eventually) -> None:
    server.create("/prod/eu/mesh/orders/a", record("10.0.0.1"))
    server.create("/mesh/orders/x", record("10.9.9.9"))
    watching = make_watching(hosts=f"127.0.0.1:{server.port}/prod/eu")
    watching.start()
    await eventually(lambda: watching.addresses == {"orders": {"10.0.0.1"}})

    server.create("/prod/eu/mesh/orders/b", record("10.0.0.2"))
    server.create("/mesh/orders/y", record("10.9.9.8"))

    await eventually(lambda: watching.addresses == {"orders": {"10.0.0.1", "10.0.0.2"}})


async def test_a_thousand_changes_of_one_node_are_few_updates(server, watching, record, eventually) -> None:
    server.create("/mesh/orders/a", record("10.0.0.1"))
    await eventually(lambda: watching.addresses)
    said = len(watching.data)

    for number in range(1000):
        server.set("/mesh/orders/a", record(f"10.0.{number // 250}.{number % 250}"))

    await eventually(lambda: watching.addresses == {"orders": {"10.0.3.249"}})
    assert len(watching.data) - said < 200


async def test_reports_are_said_once(server, watching, record, eventually) -> None:
    await eventually(lambda: watching.is_synced)

    for number in range(3):
        server.create(f"/mesh/orders/{number}", record(f"10.0.0.{number}"))
        await eventually(lambda number=number: len(watching.addresses.get("orders", ())) == number + 1)

    reports = [event for event in watching.events if isinstance(event, SourceReport)]
    assert [report.state for report in reports] == [SourceState.SYNCED]
