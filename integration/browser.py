"""A Chromium without a window, and one page in it."""

import asyncio
import base64
import itertools
import json
import shutil
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

from integration.processes import PATIENCE, dies_with_us, end, eventually

_OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--remote-debugging-port=0"),
)


def chromium() -> str | None:
    """Return where Chromium is, None where there is none."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Page:
    """An open page, for as long as `async with` lasts."""

    def __init__(self, url: str, width: int = 1100, height: int = 1200) -> None:
        self._url = url
        self._size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self._numbers = itertools.count(1)
        self._stack = AsyncExitStack()
        self.complaints: list[str] = []
        """What the page's console shows as errors: exceptions, and what its policy stops."""

    async def __aenter__(self) -> Self:
        try:
            await self._open()
        except BaseException:
            await self.__aexit__(*sys.exc_info())
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    async def text(self) -> str:
        """Return what a reader sees."""
        return str(await self.evaluate("document.body?.innerText ?? ''"))

    async def wait_for(self, words: str) -> None:
        """Return as soon as the page shows these words.

        Raises:
            TimeoutError: it doesn't.
        """

        async def shows() -> bool:
            return words in await self.text()

        try:
            await eventually(shows, PATIENCE)
        except TimeoutError:
            raise TimeoutError(f"no {words!r} in: {await self.text()}") from None

    async def evaluate(self, script: str) -> Any:
        """Return the value of a piece of JavaScript in the page."""
        answer = await self._call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def type(self, field: str, text: str) -> None:
        """Write into the field of this id, and press Enter."""
        await self.evaluate(f"document.getElementById({json.dumps(field)}).focus()")
        await self._call("Input.insertText", text=text)
        for kind in ("keyDown", "keyUp"):
            await self._call(
                "Input.dispatchKeyEvent",
                type=kind,
                key="Enter",
                code="Enter",
                text="\r",
                windowsVirtualKeyCode=13,
            )

    async def screenshot(self, file: Path) -> None:
        """Write a picture of the page."""
        answer = await self._call("Page.captureScreenshot", captureBeyondViewport=True)
        await asyncio.to_thread(file.write_bytes, base64.b64decode(answer["data"]))

    async def _open(self) -> None:
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        program = chromium()
        assert program is not None
        process = await asyncio.create_subprocess_exec(
            *dies_with_us(),
            *(program, *_OPTIONS, f"--user-data-dir={folder}", "about:blank"),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        self._stack.push_async_callback(end, process)
        http = await self._stack.enter_async_context(aiohttp.ClientSession())
        port = await eventually(lambda: _port(folder))
        async with http.get(f"http://127.0.0.1:{port}/json/list") as response:
            target = next(one for one in json.loads(await response.read()) if one["type"] == "page")
        self._socket = await self._stack.enter_async_context(
            http.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0)
        )
        for domain in ("Page", "Runtime", "Log"):
            await self._call(f"{domain}.enable")
        await self._call("Emulation.setDeviceMetricsOverride", **self._size)
        await self._call("Page.navigate", url=self._url)

    async def _call(self, method: str, **parameters: object) -> Any:
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        async with asyncio.timeout(PATIENCE):
            while True:
                message = await self._socket.receive_json()
                if message.get("id") == number:
                    assert "error" not in message, message
                    return message["result"]
                self._note(message)

    def _note(self, message: Any) -> None:
        match message["method"]:
            case "Runtime.exceptionThrown":
                self.complaints.append(str(message["params"]["exceptionDetails"]))
            case "Log.entryAdded" if message["params"]["entry"]["level"] == "error":
                self.complaints.append(message["params"]["entry"]["text"])


async def _port(folder: Path) -> str:
    # Written in one go, but perhaps not there yet.
    file = folder / "DevToolsActivePort"
    lines = file.read_text().splitlines() if file.exists() else []
    return lines[0] if len(lines) > 1 else ""
