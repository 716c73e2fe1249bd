"""Every way in which Consul says, or seems to say, that there is nothing: nothing registered may leave."""

import asyncio
import json
import random
from typing import Any

import pytest
import structlog

A, B, C = "192.0.2.1", "192.0.2.2", "192.0.2.3"
EVERYTHING = {A, B, C}


@pytest.fixture
async def shop(fake: Any) -> Any:
    """A fake with one service of three instances, and another."""
    for address in sorted(EVERYTHING):
        await fake.register("shop", address)
    await fake.register("other", A)
    return fake


def lie(headers: dict[str, str], body: bytes = b"[]", *, when: str = "index") -> Any:
    """Return a fault: answers like a streaming view that isn't filled, to requests that ask for a view."""

    def fault(request: Any) -> Any:
        if request.path.startswith("/v1/health/service/") and when in request.query:
            return 200, headers, body
        return None

    return fault


async def kept(seen: Any, seconds: float = 0.6) -> None:
    """Fail as soon as an instance is missing. Lasts, since what must not happen can't be waited for."""
    for _ in range(int(seconds / 0.02)):
        assert seen.addresses("shop") == EVERYTHING
        assert seen.addresses("other") == {A}
        await asyncio.sleep(0.02)


STREAMING = {
    "X-Consul-Query-Backend": "streaming",
    "X-Consul-KnownLeader": "false",
    "X-Consul-LastContact": "0",
}


@pytest.mark.parametrize("index", ["1", "0", None])
async def test_an_empty_view_after_a_restart_is_not_believed(
    shop: Any, watch: Any, eventually: Any, index: str | None
) -> None:
    seen = watch(shop)
    await eventually(lambda: seen.addresses("shop") == EVERYTHING)
    shop.fault = lie(STREAMING | ({"X-Consul-Index": index} if index is not None else {}))
    await shop.bump("shop")
    await kept(seen)

    shop.fault = lambda _request: None
    await shop.deregister("shop", A)
    await eventually(lambda: seen.addresses("shop") == {B, C})


async def test_an_empty_view_is_not_believed_while_the_servers_have_no_leader(
    shop: Any, watch: Any, eventually: Any
) -> None:
    seen = watch(shop)
    await eventually(lambda: seen.addresses("shop") == EVERYTHING)
    view = lie(STREAMING | {"X-Consul-Index": "1"})

    def fault(request: Any) -> Any:
        return view(request) or (500, {}, b"No cluster leader")

    shop.fault = fault
    await shop.bump("shop")
    await eventually(lambda: seen.state == "stale")
    assert "No cluster leader" in seen.report.reason
    await kept(seen)

    shop.fault = lambda _request: None
    await eventually(lambda: seen.state in ("", "synced"), within=10)
    await kept(seen, 0.1)


async def test_a_narrowed_token_is_denied_and_takes_nothing(shop: Any, watch: Any, eventually: Any) -> None:
    seen = watch(shop)
    await eventually(lambda: seen.addresses("shop") == EVERYTHING)
    view = lie(STREAMING | {"X-Consul-Index": str(shop.index_of("/v1/health/service/shop"))})
    shop.hides = lambda service: service in ("shop", "other")
    shop.fault = view
    await shop.bump("consul")
    await eventually(lambda: seen.state == "denied")
    await kept(seen)

    shop.hides = lambda _service: False
    shop.fault = lambda _request: None
    await eventually(lambda: seen.state == "synced", within=10)
    await kept(seen, 0.1)


async def test_a_token_narrowed_on_a_release_that_does_not_say_so_takes_nothing(
    shop: Any, watch: Any, eventually: Any
) -> None:
    seen = watch(shop)
    await eventually(lambda: seen.addresses("shop") == EVERYTHING)

    shop.says_filtered = False
    shop.hides = lambda _service: True
    await shop.bump("shop")

    await eventually(lambda: seen.state == "denied")
    await kept(seen)


async def test_a_narrowed_token_that_still_sees_nodes_takes_nothing(
    shop: Any, watch: Any, eventually: Any
) -> None:
    seen = watch(shop)
    await eventually(lambda: seen.addresses("shop") == EVERYTHING)

    shop.says_filtered = False
    shop.hides = lambda service: service not in ("other", "nodes")
    await shop.bump("shop")

    await eventually(lambda: seen.state == "denied")
    await kept(seen)


async def test_a_deleted_token_is_denied_and_takes_nothing(shop: Any, watch: Any, eventually: Any) -> None:
    seen = watch(shop)
    await eventually(lambda: seen.addresses("shop") == EVERYTHING)

    shop.fault = lambda _request: (403, {}, b"ACL not found")
    await shop.bump("shop")

    await eventually(lambda: seen.state == "denied")
    assert "ACL not found" in seen.report.reason
    await kept(seen)


async def test_default_deny_without_a_token_is_denied_and_says_what_to_do(
    shop: Any, watch: Any, eventually: Any
) -> None:
    shop.hides = lambda _service: True
    shop.headers = {"X-Consul-Default-Acl-Policy": "deny"}
    shop.says_filtered = False

    with structlog.testing.capture_logs() as logs:
        seen = watch(shop)
        await eventually(lambda: seen.state == "denied")

    assert seen.data == []
    assert "token_file" in seen.report.reason
    assert any("default policy is deny" in line["event"] for line in logs)


async def test_default_deny_without_a_token_that_shows_something_is_a_warning(
    shop: Any, watch: Any, eventually: Any
) -> None:
    shop.headers = {"X-Consul-Default-Acl-Policy": "deny"}

    seen = watch(shop)
    await eventually(lambda: "acl" in seen.details)

    assert "default policy is deny" in seen.details["acl"]


async def test_an_index_that_goes_back_is_read_anew_and_followed(
    shop: Any, watch: Any, eventually: Any
) -> None:
    shop.index = 5000
    shop.indexes = dict.fromkeys(("shop", "other"), 5000)
    seen = watch(shop)
    await eventually(lambda: seen.addresses("shop") == EVERYTHING)

    shop.index = 200  # As a restored snapshot has it; that wakes nobody.
    shop.indexes = {}
    await shop.register("shop", "192.0.2.9")
    await eventually(lambda: "192.0.2.9" in seen.addresses("shop"))
    await shop.register("new", A)
    await eventually(lambda: seen.addresses("new") == {A})
    await shop.deregister("shop", "192.0.2.9")

    await eventually(lambda: seen.addresses("shop") == EVERYTHING)


@pytest.mark.parametrize("text", [b"No cluster leader", b"No path to datacenter", b"rpc error: EOF"])
async def test_an_error_of_the_servers_takes_nothing(
    shop: Any, watch: Any, eventually: Any, text: bytes
) -> None:
    seen = watch(shop)
    await eventually(lambda: seen.addresses("shop") == EVERYTHING)

    shop.fault = lambda _request: (500, {}, text)
    await shop.bump()

    await eventually(lambda: seen.state == "stale")
    assert len(seen.data) == 1
    assert text.decode() in seen.report.reason


async def test_one_service_with_an_error_leaves_the_others_alone(
    shop: Any, watch: Any, eventually: Any
) -> None:
    seen = watch(shop)
    await eventually(lambda: seen.addresses("shop") == EVERYTHING)
    shop.fault = lambda request: (500, {}, b"odd") if request.path.endswith("/shop") else None
    await shop.bump("shop")
    await eventually(lambda: seen.state == "stale")
    await shop.register("other", B)
    await eventually(lambda: seen.addresses("other") == {A, B})
    assert seen.addresses("shop") == EVERYTHING
    assert "shop: HTTP status 500: odd" in seen.report.reason

    shop.fault = lambda _request: None
    await eventually(lambda: seen.state == "synced", within=10)


async def test_too_many_connections_halve_the_budget_and_lose_nothing(
    fake: Any, watch: Any, eventually: Any
) -> None:
    for number in range(60):
        await fake.register(f"s{number}", A)
    seen = watch(fake, wait="5s", timeout="2s")
    await eventually(lambda: fake.open == 64)

    fake.limit = 40
    for number in range(60):
        await fake.register(f"s{number}", B)
    await eventually(lambda: seen.details.get("connections") == "75 of 150", within=10)
    fake.limit = 1000

    await eventually(lambda: all(seen.addresses(f"s{number}") == {A, B} for number in range(60)), within=15)


async def test_a_refused_list_is_asked_for_again(shop: Any, watch: Any, eventually: Any) -> None:
    seen = watch(shop)
    await eventually(lambda: seen.addresses("shop") == EVERYTHING)
    refused = []

    def fault(request: Any) -> Any:
        if request.path == "/v1/catalog/services" and not refused:
            refused.append(request.path)
            return 429, {}, b"too many"
        return None

    shop.fault = fault
    await shop.bump()
    await eventually(lambda: refused, within=10)
    await shop.register("new", A)

    await eventually(lambda: seen.addresses("new") == {A}, within=10)
    assert seen.state == "synced"


async def test_an_agent_killed_while_it_is_waited_for_takes_nothing(
    shop: Any, watch: Any, eventually: Any
) -> None:
    seen = watch(shop, wait="30s")
    await eventually(lambda: seen.addresses("shop") == EVERYTHING)
    await eventually(lambda: shop.open >= 6)
    await shop.kill()
    await eventually(lambda: seen.state == "stale")
    await kept(seen, 0.2)

    await shop.revive()
    await shop.deregister("other", A)
    await eventually(lambda: seen.addresses("other") == set(), within=10)
    assert seen.addresses("shop") == EVERYTHING


async def test_a_frozen_agent_is_noticed_and_takes_nothing(shop: Any, watch: Any, eventually: Any) -> None:
    seen = watch(shop)
    await eventually(lambda: seen.addresses("shop") == EVERYTHING)
    shop.is_frozen = True
    await eventually(lambda: seen.state == "stale", within=10)
    assert "no complete answer in time" in seen.report.reason

    shop.is_frozen = False
    await shop.deregister("other", A)
    await eventually(lambda: seen.addresses("other") == set(), within=10)
    assert seen.addresses("shop") == EVERYTHING


async def test_truncated_answers_take_nothing(shop: Any, watch: Any, eventually: Any) -> None:
    seen = watch(shop)
    await eventually(lambda: seen.addresses("shop") == EVERYTHING)

    shop.is_truncating = True
    await shop.bump("shop")

    await eventually(lambda: seen.state == "stale")
    await kept(seen, 0.2)


@pytest.mark.parametrize("body", [b"", b"{}", b"[", b"<html>welcome</html>", b"null", b"[" * 100_000])
async def test_answers_of_another_shape_take_nothing(
    shop: Any, watch: Any, eventually: Any, body: bytes
) -> None:
    seen = watch(shop)
    await eventually(lambda: seen.addresses("shop") == EVERYTHING)
    headers = {"X-Consul-Index": "900", "X-Consul-KnownLeader": "true"}

    shop.fault = lambda request: (200, headers, body) if request.path.endswith("/shop") else None
    await shop.bump("shop")

    await eventually(lambda: seen.state == "stale")
    await kept(seen, 0.2)


async def test_an_answer_that_drips_ends_with_its_time(shop: Any, watch: Any, eventually: Any) -> None:
    seen = watch(shop)
    await eventually(lambda: seen.addresses("shop") == EVERYTHING)
    target = shop.url.removeprefix("http://").split(":")

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on what the fake says, a few bytes a second."""
        upstream, up = await asyncio.open_connection(*target)
        try:
            up.write(await reader.readuntil(b"\r\n\r\n"))
            while piece := await upstream.read(2):
                writer.write(piece)
                await asyncio.sleep(0.2)
        finally:
            up.close()
            writer.close()

    proxy = await asyncio.start_server(drip, "127.0.0.1", 0)
    async with proxy:
        slow = watch(
            None, address=f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}", is_supervised=False
        )
        await eventually(slow.task.done, within=10)

    assert "no complete answer in time" in str(slow.task.exception())
    assert slow.data == []


async def test_an_answer_beyond_the_limit_is_refused(shop: Any, watch: Any, eventually: Any) -> None:
    seen = watch(shop, max_size=20_000)
    await eventually(lambda: seen.addresses("shop") == EVERYTHING)

    await shop.register("shop", A, Meta={"big": "x" * 30_000})

    await eventually(lambda: seen.state == "stale")
    assert "max_size" in seen.report.reason
    assert seen.addresses("shop") == EVERYTHING


async def test_a_service_that_is_empty_yet_listed_stays(shop: Any, watch: Any, eventually: Any) -> None:
    seen = watch(shop)
    await eventually(lambda: seen.addresses("shop") == EVERYTHING)

    def fault(request: Any) -> Any:
        found = {"X-Consul-Index": "800", "X-Consul-KnownLeader": "true"}
        return (200, found, b"[]") if request.path.endswith("/shop") else None

    shop.fault = fault
    await shop.bump("shop")

    await eventually(lambda: seen.state == "stale")
    await kept(seen, 0.2)


@pytest.mark.parametrize(
    "headers",
    [{"X-Consul-KnownLeader": "false"}, {"X-Consul-KnownLeader": "true", "X-Consul-LastContact": "60000"}],
)
async def test_a_server_that_lost_its_leader_takes_nothing(
    shop: Any, watch: Any, eventually: Any, headers: dict[str, str]
) -> None:
    seen = watch(shop)
    await eventually(lambda: seen.addresses("shop") == EVERYTHING)
    found = {"X-Consul-Index": "800"} | headers

    shop.fault = lambda request: (200, found, b"[]") if request.path.endswith("/shop") else None
    await shop.bump("shop")

    await eventually(lambda: seen.state == "stale")
    await kept(seen, 0.2)


async def test_what_was_known_before_the_start_is_not_given_up_on_doubt(
    shop: Any, watch: Any, eventually: Any
) -> None:
    before = watch(shop)
    await eventually(lambda: before.addresses("shop") == EVERYTHING)
    shop.hides = lambda service: service == "shop"

    after = watch(shop, previous=before.groups)
    await eventually(lambda: after.state == "denied")

    assert after.addresses("shop") == EVERYTHING
    assert after.addresses("other") == {A}


async def test_names_are_taken_as_they_are(fake: Any, watch: Any, eventually: Any) -> None:
    for name in ("Under_Score", "with space", "per%cent", "sch\u00f6n", "a/b"):
        await fake.register(name, A)

    seen = watch(fake)
    await eventually(lambda: seen.data)

    assert set(seen.groups) == {"Under_Score", "with space", "per%cent", "sch\u00f6n", "a/b"}


async def test_a_name_the_agent_refuses_stops_nothing(shop: Any, watch: Any, eventually: Any) -> None:
    await shop.register("bad", A)
    shop.fault = lambda request: (400, {}, b"Invalid name") if request.path.endswith("/bad") else None

    seen = watch(shop)
    await eventually(lambda: seen.state == "stale")

    assert seen.addresses("shop") == EVERYTHING
    assert "bad: HTTP status 400: Invalid name" in seen.report.reason
    assert "rejected refused" in seen.counts.seen


async def test_odd_registrations_are_taken_or_skipped_with_a_reason(
    shop: Any, watch: Any, eventually: Any
) -> None:
    await shop.register("shop", "2001:db8::1")
    await shop.register("shop", "vm-7.corp.example")
    await shop.register("shop", "192.0.2.7", 0)
    await shop.register("shop", "192.0.2.8", 0, SocketPath="/run/x")

    seen = watch(shop)
    await eventually(lambda: seen.data)

    assert seen.addresses("shop") == EVERYTHING | {"2001:db8::1", "vm-7.corp.example"}
    reasons = {note.reason for note in seen.groups["shop"].notes}
    assert reasons == {"it has no port", "it listens on a unix socket, which no other host can reach"}


async def test_random_faults_never_take_anything(shop: Any, watch: Any, eventually: Any) -> None:
    chance = random.Random(7)
    empty = {"X-Consul-Index": "1"}
    faults = [
        (500, {}, b"No cluster leader"),
        (429, {}, b""),
        (403, {}, b"Permission denied"),
        (200, empty, b"[]"),
        (200, STREAMING | {"X-Consul-Index": "900"}, b"[]"),
        (200, {}, json.dumps([{"Node": 1}]).encode()),
    ]
    seen = watch(shop)
    await eventually(lambda: seen.addresses("shop") == EVERYTHING)

    def fault(request: Any) -> Any:
        is_view = "index" in request.query and request.path.startswith("/v1/health/service/")
        return chance.choice(faults[:3] + faults[3:] * is_view) if chance.random() < 0.5 else None

    shop.fault = fault
    for _ in range(30):
        await shop.bump("shop")
        await kept(seen, 0.04)
