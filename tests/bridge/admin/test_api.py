import asyncio
from typing import Any

import aiohttp
import pytest


async def fetch(http: aiohttp.ClientSession, url: str, method: str = "GET") -> tuple[int, Any]:
    async with http.request(method, url) as answer:
        return answer.status, await answer.json()


async def names(http: aiohttp.ClientSession, url: str) -> list[str]:
    status, body = await fetch(http, url)
    assert status == 200
    return [item["object"]["metadata"]["name"] for item in body["items"]]


async def test_healthz_says_that_the_loop_lives(http: aiohttp.ClientSession, url: str) -> None:
    assert await fetch(http, f"{url}/healthz") == (200, {"status": "ok"})


async def test_readyz_names_what_it_waits_for(http: aiohttp.ClientSession, url: str, view: Any) -> None:
    view.ready = type(view.ready)(ready=False, waiting_for=["vms"])
    view.reload_error = "line 3: no"

    status, body = await fetch(http, f"{url}/readyz")

    assert status == 503
    assert body == {"ready": False, "waitingFor": ["vms"], "reloadError": "line 3: no"}


async def test_readyz_is_ok_when_the_gate_is_open(http: aiohttp.ClientSession, url: str) -> None:
    assert (await fetch(http, f"{url}/readyz"))[0] == 200


async def test_metrics_are_in_prometheus_text(http: aiohttp.ClientSession, url: str) -> None:
    async with http.get(f"{url}/metrics") as answer:
        assert answer.headers["Content-Type"].startswith("text/plain")
        assert "things_total 1.0" in await answer.text()


async def test_metrics_are_in_openmetrics_when_asked_for(http: aiohttp.ClientSession, url: str) -> None:
    accept = {"Accept": "application/openmetrics-text; version=1.0.0"}

    async with http.get(f"{url}/metrics", headers=accept) as answer:
        assert (await answer.text()).endswith("# EOF\n")


@pytest.mark.parametrize(
    ("collection", "count"),
    [
        ("serviceentries", 2),
        ("workloadentries", 1),
        ("workloadgroups", 0),
        ("services", 1),
        ("conflicts", 1),
        ("sources", 2),
        ("clients", 1),
    ],
)
async def test_every_collection_has_items_and_the_generation(
    http: aiohttp.ClientSession, url: str, collection: str, count: int
) -> None:
    status, body = await fetch(http, f"{url}/api/v1/{collection}")

    assert status == 200
    assert (len(body["items"]), body["generation"]) == (count, 7)


async def test_keys_are_camel_case_as_documented(http: aiohttp.ClientSession, url: str) -> None:
    _, clients = await fetch(http, f"{url}/api/v1/clients")
    _, sources = await fetch(http, f"{url}/api/v1/sources")

    assert clients["items"][0]["types"][0] == {
        "typeUrl": "networking.istio.io/v1/ServiceEntry",
        "version": "a1",
        "acked": "a1",
        "latencySeconds": 0.025,
        "nacks": 0,
        "nackText": "",
    }
    assert sources["items"][0]["lastSuccess"] is None


async def test_many_items_come_whole_and_in_order(
    http: aiohttp.ClientSession, url: str, view: Any, entry: Any
) -> None:
    expected = [f"s{number}" for number in range(777)]
    view.entries = [entry(name, "vms", 1) for name in expected]

    assert await names(http, f"{url}/api/v1/serviceentries") == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("name=shop", ["shop"]),
        ("name=shop.vms.mesh", ["shop"]),
        ("name=sho", []),
        ("source=old", ["pay"]),
        ("source=vm", []),
        ("namespace=meshbridge", ["pay", "shop"]),
        ("namespace=other", []),
        ("name=shop&source=old", []),
    ],
)
async def test_filters_select_items(
    http: aiohttp.ClientSession, url: str, query: str, expected: list[str]
) -> None:
    assert await names(http, f"{url}/api/v1/serviceentries?{query}") == expected


@pytest.mark.parametrize(
    ("path", "count"),
    [
        ("sources?source=vms", 1),
        ("sources?name=old", 1),
        ("services?name=shop.vms.mesh&namespace=meshbridge&source=vms", 1),
        ("services?namespace=x", 0),
        ("conflicts?name=shop.vms.mesh&namespace=meshbridge&source=old", 1),
        ("conflicts?name=shop", 0),
        ("conflicts?namespace=x", 0),
        ("clients?name=istiod-1", 1),
        ("clients?name=istiod-2", 0),
    ],
)
async def test_filters_work_on_everything(
    http: aiohttp.ClientSession, url: str, path: str, count: int
) -> None:
    _, body = await fetch(http, f"{url}/api/v1/{path}")

    assert len(body["items"]) == count


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("serviceentries?namspace=x", 'did you mean "namespace"'),
        ("sources?namespace=x", 'sources know no "namespace"'),
        ("clients?source=x", 'clients know no "source"'),
        ("sources?wait=5", 'needs "generation"'),
        ("sources?generation=7&wait=long", "number of seconds"),
        ("sources?generation=7&wait=nan", "number of seconds"),
        ("sources?generation=7&wait=-1", "number of seconds"),
        ("sources?generation=seven", "number from an earlier answer"),
        ("explain", "what to explain"),
        ("explain?q=%20", "what to explain"),
        (f"explain?q={'x' * 600}", "what to explain"),
    ],
)
async def test_wrong_query_is_a_bad_request(
    http: aiohttp.ClientSession, url: str, path: str, words: str
) -> None:
    status, body = await fetch(http, f"{url}/api/v1/{path}")

    assert (status, body["error"]["code"]) == (400, "bad_request")
    assert words in body["error"]["message"]


async def test_unknown_path_suggests_one(http: aiohttp.ClientSession, url: str) -> None:
    status, body = await fetch(http, f"{url}/api/v1/serviceentrys")

    assert (status, body["error"]["code"]) == (404, "not_found")
    assert 'did you mean "serviceentries"' in body["error"]["message"]


async def test_wrong_method_names_the_right_one(http: aiohttp.ClientSession, url: str) -> None:
    async with http.get(f"{url}/api/v1/release/vms") as answer:
        body = await answer.json()

        assert (answer.status, body["error"]["code"]) == (405, "method_not_allowed")
        assert answer.headers["Allow"] == "POST"


async def test_a_bug_is_an_internal_error_without_its_text(http: aiohttp.ClientSession, url: str) -> None:
    status, body = await fetch(http, f"{url}/api/v1/explain?q=crash")

    assert (status, body["error"]["code"]) == (500, "internal")
    assert "secret" not in body["error"]["message"]


async def test_explain_gives_every_step(http: aiohttp.ClientSession, url: str) -> None:
    status, body = await fetch(http, f"{url}/api/v1/explain?q=shop")

    assert status == 200
    assert body["items"][0]["steps"][1] == {"stage": "rules", "verdict": "dropped", "text": "rule 1"}


async def test_long_poll_returns_with_the_next_publication(
    http: aiohttp.ClientSession, url: str, view: Any, entry: Any
) -> None:
    poll = asyncio.create_task(names(http, f"{url}/api/v1/serviceentries?generation=7&wait=30"))
    await asyncio.wait_for(view.polled.wait(), 5)

    view.publish(entry("new", "vms", 1))

    assert await asyncio.wait_for(poll, 5) == ["new"]


async def test_long_poll_ends_after_the_wait(http: aiohttp.ClientSession, url: str) -> None:
    _, body = await asyncio.wait_for(fetch(http, f"{url}/api/v1/sources?generation=7&wait=0.05"), 5)

    assert body["generation"] == 7


@pytest.mark.parametrize("generation", [6, 9])
async def test_another_generation_is_answered_at_once(
    http: aiohttp.ClientSession, url: str, generation: int
) -> None:
    asked = fetch(http, f"{url}/api/v1/sources?generation={generation}&wait=60")

    _, body = await asyncio.wait_for(asked, 5)

    assert body["generation"] == 7


async def test_held_and_quarantined_things_can_be_listed_and_narrowed(http: Any, url: str) -> None:
    async with http.get(f"{url}/api/v1/held?name=10.0.0.1&source=vms") as answer:
        [held] = (await answer.json())["items"]
    async with http.get(f"{url}/api/v1/quarantine?name=b&namespace=mesh&source=vms") as answer:
        [kept_out] = (await answer.json())["items"]

    assert (held["service"], held["id"], held["cause"]) == ("shop", "a", "emptied")
    assert held["until"] - held["since"] == 600
    assert (kept_out["endpoint"], kept_out["reason"], kept_out["lastValid"]) == ("b", "bad label", False)


async def test_state_is_told_source_by_source(http: Any, url: str) -> None:
    async with http.get(f"{url}/api/v1/state") as answer:
        assert await answer.json() == {"instance": "this one", "items": [{"name": "vms"}]}
    async with http.get(f"{url}/api/v1/state/vms") as answer:
        assert await answer.read() == b"a copy"
    async with http.get(f"{url}/api/v1/state/nobody") as answer:
        assert answer.status == 404
