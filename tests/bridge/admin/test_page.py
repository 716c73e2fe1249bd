"""The status page as it is served; integration/test_page.py looks at it in a browser."""

import base64
import hashlib
import re
from pathlib import Path
from typing import Any

import aiohttp

from meshbridge.bridge.admin import page
from meshbridge.bridge.admin.api import COLLECTIONS


async def test_the_page_is_served_with_a_policy_that_allows_its_own_text_only(
    http: aiohttp.ClientSession, url: str
) -> None:
    async with http.get(f"{url}/") as answer:
        html = await answer.text()
        policy = dict(
            part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";")
        )

    assert answer.status == 200
    assert answer.content_type == "text/html"
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    for kind in ("script", "style"):
        content = html.split(f"<{kind}>")[1].split(f"</{kind}>")[0]
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert policy[f"{kind}-src"] == f"'sha256-{digest}'"


def test_the_page_needs_nothing_from_elsewhere() -> None:
    html = page.text()

    assert not re.search(r"""(?:src|href)=["'](?!data:)""", html)
    assert not re.search(r"https?://|@import|url\(", html)


def test_the_policy_would_stop_nothing_that_the_page_does() -> None:
    html = page.text()

    # Attributes with code or style in them are refused by the policy.
    assert not re.search(r"""\s(?:style|on[a-z]+)=["']""", html)
    assert html.count("<script") == html.count("<style") == 1


def test_the_page_makes_no_markup_of_what_it_shows() -> None:
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function("):
        assert way not in page.text()


async def test_the_page_asks_only_for_paths_that_there_are(http: aiohttp.ClientSession, url: str) -> None:
    asked = re.findall(r"(?:ask|list)\(\"([^\"]+)\"", page.text())

    assert set(asked) == {
        "readyz",
        "api/v1/sources",
        "api/v1/clients",
        "api/v1/services",
        "api/v1/explain?q=",
    }
    for path in asked:
        async with http.get(f"{url}/{path}{'shop' if path.endswith('=') else ''}") as answer:
            assert answer.status == 200, path


async def test_the_page_reads_only_fields_that_there_are(http: aiohttp.ClientSession, url: str) -> None:
    known = set()
    for collection in ("sources", "clients", "services"):
        async with http.get(f"{url}/api/v1/{collection}") as answer:
            known |= (await answer.json())["items"][0].keys()

    assert set(re.findall(r"\bone\.(\w+)", page.text())) <= known | {"subject", "served", "steps"}
    assert set(COLLECTIONS) >= {"sources", "clients", "services"}


async def test_the_page_comes_without_the_token_but_tells_nothing(
    http: aiohttp.ClientSession, serve: Any, token_file: Path
) -> None:
    url = f"http://{await serve(token_file=str(token_file))}"

    async with http.get(f"{url}/") as answer:
        assert answer.status == 200
        assert "shop" not in await answer.text()
    async with http.get(f"{url}/api/v1/services") as answer:
        assert answer.status == 401
