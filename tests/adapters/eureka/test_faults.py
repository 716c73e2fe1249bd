"""Nothing that is registered leaves because of the servers' own troubles."""

import gzip
import json

import pytest
import structlog

from meshbridge.adapters.eureka.client import Failure
from meshbridge.schemas.errors import RegistryDenied, RegistryUnavailable
from meshbridge.schemas.registry import (
    FullSync,
    GroupUpdate,
    Health,
    Instance,
    Port,
    ServiceKey,
    SourceReport,
    SourceState,
    group,
)

A, B, C = "192.0.2.1", "192.0.2.2", "192.0.2.3"
MANY = [f"10.0.0.{number}" for number in range(1, 41)]


@pytest.fixture
def polls(eventually):
    """`await polls(server, 3)` waits until the server was read so many times more."""

    async def wait(server, count: int = 3, path: str = "apps/delta") -> None:
        target = server.asked[path] + count
        await eventually(lambda: server.asked[path] >= target)

    return wait


async def test_server_that_answers_403_while_it_starts_is_tried_again(eureka, start, eventually) -> None:
    eureka.register("shop", A)
    eureka.status = 403

    with pytest.raises(RegistryUnavailable, match="it is starting"):
        await start(eureka)


async def test_403_after_a_restart_keeps_everything(eureka, start, eventually, polls) -> None:
    eureka.register("shop", A)
    run = await start(eureka)

    eureka.status = 403
    await eventually(lambda: run.report.state is SourceState.STALE)
    await polls(eureka, path="apps")

    assert len(run.data) == 1
    assert run.addresses("shop") == {A}


async def test_refusal_is_told_as_one(eureka, start) -> None:
    eureka.status = 401

    with pytest.raises(RegistryDenied):
        await start(eureka)


async def test_restarted_server_with_nothing_removes_nothing(eureka, start, eventually) -> None:
    for address in MANY:
        eureka.register("shop", address)
    run = await start(eureka)

    await eureka.restart()
    await eventually(lambda: run.report.state is SourceState.STALE and "lists nothing" in run.report.reason)
    full_reads = eureka.asked["apps"]

    def time_passes() -> bool:
        run.clock.ahead += 60.0
        return eureka.asked["apps"] >= full_reads + 3

    await eventually(time_passes)

    assert run.addresses("shop") == set(MANY)
    assert run.details["kept"] == "40"


async def test_restarted_server_with_half_loses_only_what_does_not_come_back(
    eureka, start, eventually
) -> None:
    for address in MANY:
        eureka.register("shop", address)
    run = await start(eureka)

    await eureka.restart()
    for address in MANY[:20]:
        eureka.register("shop", address)
    await eventually(lambda: run.details.get("kept") == "20")
    assert run.addresses("shop") == set(MANY)
    for address in MANY[20:39]:
        eureka.register("shop", address)
    await eventually(lambda: run.details.get("kept") == "1")
    run.clock.ahead = 91.0
    await eventually(lambda: run.addresses("shop") == set(MANY[:39]))

    assert run.report.state is SourceState.SYNCED
    assert all(len(event.group.instances) >= 39 for event in run.data[1:])


async def test_restarted_server_that_knows_all_again_ends_the_doubt(eureka, start, eventually) -> None:
    eureka.register("shop", A)
    eureka.register("shop", B)
    run = await start(eureka)

    await eureka.restart()
    await eventually(lambda: run.report.state is SourceState.STALE)
    eureka.register("shop", A)
    eureka.register("shop", B)
    await eventually(lambda: run.report.state is SourceState.SYNCED)

    assert len(run.data) == 1, "nothing changed for the services"


async def test_removal_told_by_a_restarted_server_counts(eureka, start, eventually) -> None:
    eureka.register("shop", A)
    eureka.register("shop", B)
    run = await start(eureka)

    await eureka.restart()
    eureka.register("shop", A)
    await eventually(lambda: run.report.state is SourceState.STALE)
    eureka.register("shop", B)
    eureka.cancel("shop", B)
    await eventually(lambda: run.addresses("shop") == {A})


async def test_deleted_items_that_say_up_are_deleted(eureka, start, eventually) -> None:
    eureka.register("shop", A)
    eureka.register("shop", B)
    run = await start(eureka)

    eureka.cancel("shop", B)
    await eventually(lambda: run.addresses("shop") == {A})

    assert eureka.changes[-1]["status"] == "UP"


async def test_instance_that_came_back_survives_its_own_deletion(eureka, start, eventually, polls) -> None:
    eureka.register("shop", A)
    run = await start(eureka)

    eureka.register("shop", B)
    await eventually(lambda: run.addresses("shop") == {A, B})
    eureka.cancel("shop", A)
    eureka.register("shop", A)
    await polls(eureka)

    assert run.addresses("shop") == {A, B}


async def test_override_drains_and_unknown_after_it_still_does(eureka, start, eventually, polls) -> None:
    eureka.register("shop", A)
    run = await start(eureka)

    def health() -> Health:
        return run.groups["shop"].instances[0].health

    eureka.change("shop", A, status="OUT_OF_SERVICE", overriddenStatus="OUT_OF_SERVICE")
    await eventually(lambda: health() is Health.DRAINING)
    updates = len(run.data)
    eureka.change("shop", A, status="UNKNOWN", overriddenStatus="UNKNOWN")
    await polls(eureka)
    assert health() is Health.DRAINING
    assert len(run.data) == updates
    eureka.register("shop", A)
    await eventually(lambda: health() is Health.READY)


async def test_empty_peer_is_not_read_while_another_one_lists_more(eureka, peer, start) -> None:
    peer.register("shop", A)

    run = await start(eureka, peer)

    assert run.addresses("shop") == {A}
    assert run.details["server"] == peer.url
    assert run.details["peers"] == ", ".join(sorted([f"{eureka.url}: 0", f"{peer.url}: 1"]))


async def test_half_filled_peer_gives_way_to_the_full_one(eureka, peer, start) -> None:
    for address in MANY:
        peer.register("shop", address)
    for address in MANY[:20]:
        eureka.register("shop", address)

    run = await start(eureka, peer)

    assert run.addresses("shop") == set(MANY)


async def test_peer_that_takes_over_with_less_removes_nothing_at_once(
    eureka, peer, start, eventually, polls
) -> None:
    for address in MANY:
        eureka.register("shop", address)
        peer.register("shop", address)
    run = await start(eureka, peer)
    assert run.details["server"] == eureka.url

    for address in MANY[10:]:
        peer.cancel("shop", address)
    peer.forget_changes()
    await eureka.stop()
    await eventually(lambda: run.details["server"] == peer.url)
    assert run.report.state is SourceState.STALE
    assert "another server" in run.report.reason
    await polls(peer)
    assert run.addresses("shop") == set(MANY)

    run.clock.ahead = 91.0
    await eventually(lambda: run.addresses("shop") == set(MANY[:10]))
    assert "failing" in run.details


async def test_server_that_was_emptied_is_left_for_a_peer(eureka, peer, start, eventually) -> None:
    for address in MANY:
        eureka.register("shop", address)
    eureka.copy_to(peer)
    run = await start(eureka, peer)

    await eureka.restart()
    await eventually(lambda: run.details["server"] == peer.url)
    await eventually(lambda: run.report.state is SourceState.SYNCED)

    assert run.addresses("shop") == set(MANY)
    assert len(run.data) == 1


async def test_peers_that_order_an_override_differently_do_not_undo_it(
    eureka, peer, start, eventually, polls
) -> None:
    item = eureka.register("shop", A)
    eureka.register("shop", B)
    eureka.copy_to(peer)
    run = await start(eureka, peer)

    newer = str(int(item["lastDirtyTimestamp"]) + 50)
    eureka.change("shop", A, status="DOWN", lastDirtyTimestamp=newer)
    await eventually(lambda: run.groups["shop"].instances[0].health is Health.UNREADY)
    await eureka.stop()
    await eventually(lambda: run.details["server"] == peer.url)
    await polls(peer)

    assert run.groups["shop"].instances[0].health is Health.UNREADY, "the peer's older state won"


async def test_disabled_delta_means_full_answers(eureka, start, eventually) -> None:
    eureka.has_delta = False
    eureka.register("shop", A)
    eureka.register("shop", B)
    run = await start(eureka)

    eureka.cancel("shop", A)
    await eventually(lambda: run.addresses("shop") == {B})

    await eventually(lambda: run.details["strategy"] == "full")
    assert eureka.asked["apps/delta"] < eureka.asked["apps"]


async def test_gap_longer_than_the_retention_window_is_filled_by_a_full_answer(
    eureka, start, eventually, polls
) -> None:
    eureka.register("shop", A)
    eureka.register("shop", B)
    run = await start(eureka)
    await polls(eureka)

    eureka.status = 500
    await eventually(lambda: run.report.state is SourceState.STALE)
    eureka.cancel("shop", B)
    eureka.register("shop", C)
    eureka.forget_changes()
    run.clock.ahead = 200.0
    eureka.status = 200
    await eventually(lambda: run.addresses("shop") == {A, C})


async def test_lost_change_is_found_by_the_hash(eureka, start, eventually, polls) -> None:
    eureka.register("shop", A)
    eureka.register("shop", B)
    run = await start(eureka)
    await polls(eureka)

    eureka.cancel("shop", B)
    eureka.forget_changes()
    await eventually(lambda: run.addresses("shop") == {A})


async def test_lost_change_of_metadata_is_found_by_the_periodic_full_answer(
    eureka, start, eventually, polls
) -> None:
    eureka.register("shop", A)
    run = await start(eureka)

    eureka.change("shop", A, metadata={"version": "v2"})
    eureka.forget_changes()
    await polls(eureka)
    assert run.groups["shop"].instances[0].labels == (("version", "v1"),)
    run.clock.ahead = 301.0
    await eventually(lambda: run.groups["shop"].instances[0].labels == (("version", "v2"),))


async def test_storm_of_hash_mismatches_does_not_make_every_read_a_full_one(
    eureka, start, eventually, polls
) -> None:
    eureka.register("shop", A)
    run = await start(eureka)

    eureka.hash_code = "UP_17_"
    await polls(eureka, 60)

    assert eureka.asked["apps"] < 12, eureka.asked
    assert run.details["hash"] == "differs"
    assert len(run.data) == 1


@pytest.mark.parametrize(
    "body",
    [
        b'{"applications": {"application": [{"name": "SHOP", "instan',
        b"<html>sign in</html>",
        b"{}",
        b'{"applications": []}',
        b'{"applications": {"application": 7}}',
        b"",
    ],
)
async def test_answer_that_is_no_list_keeps_everything(eureka, start, eventually, body: bytes, polls) -> None:
    eureka.register("shop", A)
    run = await start(eureka)

    eureka.bodies = {"apps": body, "apps/delta": body}
    await eventually(lambda: run.report.state is SourceState.STALE)
    await polls(eureka, path="apps")

    assert len(run.data) == 1
    assert run.counts.seen["error parse"] > 0
    eureka.bodies = {}
    eureka.register("shop", B)
    await eventually(lambda: run.addresses("shop") == {A, B})
    await eventually(lambda: run.report.state is SourceState.SYNCED)


async def test_answer_above_max_size_is_refused_unread(eureka, start, eventually) -> None:
    eureka.register("shop", A)
    run = await start(eureka, max_size=100_000)

    bomb = json.dumps({"applications": {"application": []}, "more": "x" * 50_000_000}).encode()
    assert len(gzip.compress(bomb)) < 100_000
    eureka.bodies = {"apps/delta": bomb}
    await eventually(lambda: "max_size" in run.report.reason)

    assert run.report.state is SourceState.STALE
    assert run.addresses("shop") == {A}


async def test_answer_of_50_mb_is_taken(eureka, start, eventually) -> None:
    for number in range(50):
        eureka.register(f"app-{number}", A, metadata={str(key): "x" * 1_000 for key in range(1_000)})

    run = await start(eureka)

    assert len(run.groups) == 50
    assert "pairs of metadata" in run.notes("app-7")[0]


async def test_odd_records_do_not_hide_their_neighbours(eureka, start) -> None:
    eureka.register("shop", A)
    del eureka.register("shop", B)["instanceId"]
    eureka.register("shop", "vm3.corp", hostName="VM3.corp")
    eureka.register("shop", "192.0.2.4", port={"$": 8080, "@enabled": "false"})
    eureka.register("shop", "192.0.2.5", port={"$": "8080"}, metadata={"@class": "EmptyMap"})
    eureka.register("shop", "192.0.2.6", status=["UP"])
    eureka.register("shop", "${ip}", hostName="${host}")

    run = await start(eureka)

    found = {instance.address: instance for instance in run.groups["shop"].instances}
    assert set(found) == {A, B, "vm3.corp", "192.0.2.4", "192.0.2.5"}
    assert found[B].id == f"vm-{B}.corp"
    assert found["192.0.2.4"].ports == ()
    assert found["192.0.2.5"].ports == (Port("http", 8080, "http"),)
    assert found["192.0.2.5"].metadata == ()
    assert sorted(run.notes("shop")) == [
        "${ip}:shop:8080: neither ipAddr '${ip}' nor hostName '${host}' is an address",
        "192.0.2.4:shop:8080: neither of its ports is enabled",
        "192.0.2.6:shop:8080: Expected `str | null`, got `array` - at `$.status`",
    ]
    assert run.counts.seen["rejected instance"] == 2


async def test_what_an_earlier_process_knew_is_kept_until_the_server_had_its_time(
    eureka, start, eventually
) -> None:
    old = [Instance(id=f"{address}:shop:8080", address=address) for address in (A, B, C)]
    previous = {"shop": group(ServiceKey("spring", "shop"), old)}
    eureka.register("shop", A)

    run = await start(eureka, previous=previous)
    assert run.addresses("shop") == {A, B, C}
    assert run.report.state is SourceState.STALE
    run.clock.ahead = 91.0
    await eventually(lambda: run.addresses("shop") == {A})


async def test_mass_changes_are_told_in_one_event(eureka, start, eventually) -> None:
    for number in range(10):
        eureka.register(f"app-{number}", A)
        eureka.register(f"app-{number}", B)
    run = await start(eureka)

    eureka.status = 500
    await eventually(lambda: run.report.state is SourceState.STALE)
    for number in range(10):
        eureka.cancel(f"app-{number}", A)
    eureka.status = 200
    await eventually(lambda: len(run.data) > 1)

    assert isinstance(run.data[1], FullSync)
    assert all(run.addresses(f"app-{number}") == {B} for number in range(10))


async def test_self_preservation_is_noticed(eureka, start) -> None:
    lease = {"durationInSecs": 90, "registrationTimestamp": 5, "lastRenewalTimestamp": 1_700_000_000_000}
    eureka.register("shop", A)
    eureka.register("shop", B, leaseInfo=lease)

    run = await start(eureka)

    assert run.details["self_preservation"].startswith("suspected: 1 of 2 leases")
    assert run.report.suspect


async def test_guard_is_warned_before_losses_of_a_suspect_registry_are_told(
    eureka, start, eventually
) -> None:
    lease = {"durationInSecs": 90, "registrationTimestamp": 5, "lastRenewalTimestamp": 1_700_000_000_000}
    for address in (A, B, C):
        eureka.register("shop", address)
    run = await start(eureka)
    assert not run.report.suspect

    eureka.cancel("shop", A)
    eureka.change("shop", B, leaseInfo=lease)
    eureka.forget_changes()
    run.clock.ahead = 400.0
    await eventually(lambda: run.addresses("shop") == {B, C})
    warned = [type(event) for event in run.events if getattr(event, "suspect", True)]
    assert warned == [FullSync, SourceReport, GroupUpdate]
    eureka.cancel("shop", B)
    eureka.forget_changes()
    run.clock.ahead = 800.0
    await eventually(lambda: not run.report.suspect)
    assert isinstance(run.events[-2], GroupUpdate), "losses at the end of the suspicion are judged with it"


async def test_failure_never_repeats_a_secret(eureka, start, tmp_path) -> None:
    (tmp_path / "token").write_text("s3cr3t\n")
    eureka.authorization = "Bearer s3cr3t"
    eureka.status = 503

    with pytest.raises(RegistryUnavailable) as raised:
        await start(eureka, token_file=str(tmp_path / "token"))

    assert "s3cr3t" not in str(raised.value)
    assert "s3cr3t" not in repr(Failure("http", "x"))


async def test_application_that_can_not_be_placed_does_not_hide_the_others(eureka, start) -> None:
    item = eureka.register("shop", A)
    applications = [{"instance": [item]}, {"name": "SHOP", "instance": [item]}]
    eureka.bodies = {"apps": json.dumps({"applications": {"application": applications}}).encode()}

    run = await start(eureka)

    assert run.addresses("shop") == {A}
    assert run.counts.seen["rejected application"] == 1


async def test_flood_of_unusable_records_is_counted_but_not_logged_one_by_one(eureka, start) -> None:
    for number in range(1, 100):
        eureka.register("shop", f"192.0.2.{number}", port={"$": 0, "@enabled": "true"})

    with structlog.testing.capture_logs() as logs:
        run = await start(eureka)

    assert run.counts.seen["rejected instance"] == 99
    assert len([line for line in logs if line["log_level"] == "warning"]) == 21


async def test_peer_that_gives_no_list_is_told_and_not_read(eureka, peer, start) -> None:
    peer.register("shop", A)
    eureka.bodies = {"apps/delta": b"<html>"}

    run = await start(eureka, peer)

    assert run.details["server"] == peer.url
    assert eureka.url in run.details["failing"]
    assert eureka.asked["apps"] == 0


async def test_own_zone_is_read_again_when_it_is_back(eureka, peer, start, eventually) -> None:
    for server in (eureka, peer):
        server.register("shop", A)
    await eureka.stop()

    run = await start(zone="near", zones={"near": [eureka.url], "far": [peer.url]}, full_interval="1h")
    assert run.details["server"] == peer.url
    await eureka.start()
    run.clock.ahead = 3601.0
    await eventually(lambda: run.details["server"] == eureka.url)


async def test_empty_cluster_is_an_empty_sync(eureka, peer, start) -> None:
    run = await start(eureka, peer)

    assert run.data == [FullSync((), run.data[0].observed)]
    assert run.report.state is SourceState.SYNCED


async def test_change_that_the_servers_delta_cache_missed_is_found(eureka, start, eventually) -> None:
    eureka.register("shop", A)
    run = await start(eureka, confirm_after="50ms")

    eureka.register("shop", B)
    frozen = json.dumps(eureka._document("apps/delta")).encode()
    eureka.bodies = {"apps/delta": frozen}
    eureka.register("shop", C)
    await eventually(lambda: run.addresses("shop") == {A, B})
    await eventually(lambda: run.addresses("shop") == {A, B, C})
