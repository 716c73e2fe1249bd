"""The status page in a real browser. PAGE_SCREENSHOTS=FOLDER keeps pictures of it."""

import os
from pathlib import Path

import pytest

from integration.bridges import Bridge
from integration.browser import Page, chromium
from integration.conftest import MakeBridge
from integration.samples import PAYMENTS, SHOP, shop
from meshbridge.mcp.client import IstiodClient

EVIL = {
    "name": "evil",
    "protocol": "http",
    "instances": [
        {"address": "10.9.9.9", "port": 80, "labels": {"x": "<img src=x onerror=document.title='bad'>"}},
        {"address": "<script>document.title='bad'</script>", "port": 80},
    ],
}


@pytest.fixture(autouse=True)
def _browser() -> None:
    if chromium() is None:
        pytest.skip(
            "no Chromium here (apt-get install chromium fonts-dejavu-core): the page is not looked at"
        )


async def _keep(page: Page, name: str) -> None:
    if folder := os.environ.get("PAGE_SCREENSHOTS"):
        await page.screenshot(Path(folder) / f"{name}.png")


async def test_it_shows_sources_clients_and_why_something_is_served(bridge: Bridge) -> None:
    async with IstiodClient(bridge.mcp_address), Page(bridge.admin_url) as page:
        await page.wait_for("live, ")
        await page.wait_for("all up to date")
        await page.type("query", SHOP)
        await page.wait_for("vms/shop")

        shown = await page.text()
        await _keep(page, "page")

    assert "synced" in shown
    assert "10.0.0.1" in shown
    assert "not ready" not in shown
    assert page.complaints == []


async def test_what_a_registry_says_never_becomes_markup(bridge: Bridge) -> None:
    bridge.inventory.write(shop("10.0.0.1"), EVIL)

    async with Page(f"{bridge.admin_url}/#q=evil.vms.mesh") as page:
        await page.wait_for("vms/evil evil/10.9.9.9/80")
        await page.wait_for("<script>document.title='bad'</script>")
        await _keep(page, "page-evil")

        assert await page.evaluate("document.title") == "meshbridge"
        assert await page.evaluate("document.images.length") == 0
        assert await page.evaluate("document.scripts.length") == 1

    assert page.complaints == []


async def test_it_says_that_the_bridge_is_away_and_goes_on_when_it_is_back(bridge: Bridge) -> None:
    async with Page(bridge.admin_url) as page:
        await page.wait_for("live, ")

        await bridge.kill()
        await page.wait_for("Disconnected for ")
        away = await page.text()
        await _keep(page, "page-away")
        bridge.inventory.write(shop("10.0.0.7"), PAYMENTS, EVIL)
        await bridge.start()
        await page.wait_for("live, ")
        await page.wait_for("evil.vms.mesh")

        assert "Disconnected" not in await page.text()

    assert "synced" in away, "what was known last is still shown"


async def test_it_fits_a_phone(bridge: Bridge) -> None:
    bridge.inventory.write(shop("10.0.0.1"), PAYMENTS, EVIL)

    async with IstiodClient(bridge.mcp_address), Page(f"{bridge.admin_url}/#q={SHOP}", 390, 844) as page:
        await page.wait_for("vms/shop")
        await page.wait_for("evil.vms.mesh")
        await _keep(page, "page-phone")

        assert await page.evaluate("document.scrollingElement.scrollWidth") <= 390


async def test_it_asks_for_the_token_where_one_is_needed(make_bridge: MakeBridge, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("sesame\n")
    made = make_bridge(admin={"token_file": str(token)})
    made.inventory.write(shop("10.0.0.1"))

    async with made, Page(made.admin_url) as page:
        await page.wait_for("this needs the bearer token")
        assert SHOP not in await page.text()
        await page.type("token", "wrong")
        await page.wait_for("the bearer token is not the one")
        await page.type("token", "sesame")
        await page.wait_for("live, ")

        assert "bearer" not in await page.text()
