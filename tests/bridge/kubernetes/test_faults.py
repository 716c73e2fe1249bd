"""Faults of the API server that are hard to make with a real one."""

import asyncio
import sys
from typing import Any

import pytest
from aiohttp import web

pytest.importorskip("kubernetes")

CONTRACT = sys.modules["sink_contract"]
running, eventually = CONTRACT.running, CONTRACT.eventually


def is_write(request: web.Request) -> bool:
    return request.method == "PATCH"


async def test_busy_server_is_asked_again_when_it_says(fake: Any, cluster: Any) -> None:
    asked: list[float] = []

    async def busy(request: web.Request) -> web.Response | None:
        if not is_write(request):
            return None
        asked.append(asyncio.get_running_loop().time())
        if len(asked) > 8:
            return None
        return web.Response(status=429, text="Too many requests", headers={"Retry-After": "1"})

    fake.fault = busy
    async with running(cluster.settings()) as bridge:
        await bridge.publish(*(cluster.entry(f"s{number}", "10.0.0.1") for number in range(8)))
        await bridge.settle()

    assert len(await cluster.names()) == 8
    assert asked[8] - asked[7] >= 0.9
    assert bridge.results["busy"] == 8


@pytest.mark.parametrize("status", [500, 503, 504])
async def test_server_errors_pass(fake: Any, cluster: Any, status: int) -> None:
    left = 3

    async def failing(request: web.Request) -> web.Response | None:
        nonlocal left
        if is_write(request) and left:
            left -= 1
            return web.Response(status=status, text="etcdserver: mvcc: database space exceeded")
        return None

    fake.fault = failing
    async with running(cluster.settings(in_flight=1)) as bridge:
        await bridge.publish(cluster.entry("a", "10.0.0.1"))
        await eventually(lambda: bridge.results["created"] == 1)
        await bridge.settle()

    assert bridge.results["unavailable"] == 3
    assert bridge.troubles == {}


async def test_full_etcd_is_reported_as_that(fake: Any, cluster: Any) -> None:
    async def full(request: web.Request) -> web.Response | None:
        return (
            web.Response(status=500, text="etcdserver: mvcc: database space exceeded")
            if is_write(request)
            else None
        )

    fake.fault = full
    async with running(cluster.settings()) as bridge:
        await bridge.publish(cluster.entry("a", "10.0.0.1"))

        await eventually(lambda: "etcd is full" in bridge.text(cluster.entry("a").key))


@pytest.mark.parametrize("forget", [False, True])
async def test_dropped_watch_misses_nothing(fake: Any, cluster: Any, forget: bool) -> None:
    async with running(cluster.settings()) as bridge:
        await bridge.publish(cluster.entry("a", "10.0.0.1"), cluster.entry("b", "10.0.0.1"))
        await bridge.settle()
        fake.drop_watches(forget=forget)
        await cluster.delete("a")
        await cluster.edit("b", {"spec": {"hosts": ["mine.mesh"]}})

        async def is_right() -> bool:
            found = await cluster.get("b")
            return await cluster.names() == ["a", "b"] and found["spec"]["hosts"] == ["b.mesh"]

        await eventually(is_right)


async def test_denied_place_is_tried_with_one_object(fake: Any, cluster: Any) -> None:
    async def denied(request: web.Request) -> web.Response | None:
        return web.json_response({"message": "forbidden"}, status=403) if is_write(request) else None

    fake.fault = denied
    async with running(cluster.settings(in_flight=1)) as bridge:
        await bridge.publish(*(cluster.entry(f"s{number}", "10.0.0.1") for number in range(20)))
        await eventually(lambda: sum(bridge.troubles.values()) == 20)

        assert bridge.troubles == {"denied": 1, "waiting": 19}
        assert bridge.results == {"denied": 1}


async def test_long_lists_come_in_pages(fake: Any, cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshbridge.bridge.kubernetes.reflector.PAGE", 7)
    entries = [cluster.entry(f"s{number}", "10.0.0.1") for number in range(30)]
    async with running(cluster.settings()) as first:
        await first.publish(*entries)
        await first.settle()
    fake.requests.clear()

    async with running(cluster.settings()) as second:
        await second.publish(*entries)
        await second.settle()

    assert second.results == {}
    assert fake.requests.count(("GET", cluster.path("serviceentries"))) >= 6


async def test_list_that_expires_between_its_pages_is_made_again(
    fake: Any, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meshbridge.bridge.kubernetes.reflector.PAGE", 3)
    for number in range(5):
        await cluster.create(cluster.foreign(f"s{number}"))

    async def expired(request: web.Request) -> web.Response | None:
        if "continue" not in request.query:
            return None
        return web.json_response({"message": "The provided continue parameter is too old"}, status=410)

    fake.fault = expired
    async with running(cluster.settings()) as bridge:
        await bridge.publish(cluster.entry("s1", "10.0.0.1"))
        await bridge.settle()

        assert bridge.troubles == {"conflict": 1}


async def test_endless_fight_is_given_up_and_reported(cluster: Any) -> None:
    async with running(cluster.settings()) as bridge:
        await bridge.publish(cluster.entry("a", "10.0.0.1"))
        await bridge.settle()
        for number in range(6):
            await cluster.edit("a", {"spec": {"hosts": [f"mine{number}.mesh"]}})
            await eventually(lambda expected=number: bridge.results["repaired"] > expected or bridge.troubles)

        assert bridge.results["repaired"] == 5
        assert "keeps undoing" in bridge.text(cluster.entry("a").key)


async def test_field_that_an_older_crd_lacks_is_reported_and_hinders_no_other(
    fake: Any, cluster: Any
) -> None:
    fake.missing_fields = {"workloadSelector"}
    async with running(cluster.settings()) as bridge:
        await bridge.publish(cluster.selecting("new"), cluster.entry("a", "10.0.0.1"))
        await bridge.settle()

        assert bridge.troubles == {"refused": 1}
        assert ".spec.workloadSelector" in bridge.text(cluster.entry("new").key)
        assert "older" in bridge.text(cluster.entry("new").key)
    assert await cluster.names() == ["a"]


async def test_odd_answers_of_the_server_are_survived(fake: Any, cluster: Any) -> None:
    left = 2

    async def odd(request: web.Request) -> web.StreamResponse | None:
        nonlocal left
        if request.query.get("watch") and "serviceentries" in request.path and left:
            left -= 1
            lines = b'{"type": "ADDED", "object": {"metadata": 5}}\n' if left else b"no json\n"
            return web.Response(body=lines)
        if "workloadentries" in request.path and left == 2:
            return web.Response(text="not a list")
        return None

    fake.fault = odd
    async with running(cluster.settings()) as bridge:
        await bridge.publish(cluster.entry("a", "10.0.0.1"), cluster.workload("w", "10.0.0.1"))
        await eventually(lambda: bridge.results["created"] == 2)


async def test_namespace_that_may_not_be_created_is_reported(fake: Any, cluster: Any) -> None:
    missing = CONTRACT.Cluster(cluster.kubeconfig, "missing")

    async def denied(request: web.Request) -> web.Response | None:
        if request.method == "POST" and request.path == "/api/v1/namespaces":
            return web.json_response({"message": "forbidden"}, status=403)
        return None

    fake.fault = denied
    settings = cluster.settings(create_namespaces=True, namespaces=())
    async with running(settings) as bridge:
        entry = missing.entry("a", "10.0.0.1")
        await bridge.publish(entry)
        await eventually(lambda: "can't be created: forbidden" in bridge.text(entry.key))
    await missing._session.close()


async def test_unreadable_credentials_are_told_and_tried_again(cluster: Any) -> None:
    async with running(cluster.settings(kubeconfig="/nowhere")) as bridge:
        await eventually(lambda: "credentials" in bridge.sink.status().error)

        assert bridge.sink.status().state == "failed"
