"""The command line against a real admin server, in a thread, over a fake bridge."""

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
from prometheus_client import CollectorRegistry
from typer.testing import CliRunner, Result

from meshbridge.bridge.admin.server import AdminServer
from meshbridge.bridge.cli.program import app
from meshbridge.bridge.config.models import Admin

Run = Callable[..., Result]


class LiveBridge:
    """The server's thread, its URL, and the view behind it."""

    def __init__(self, view: Any) -> None:
        self.view = view
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="admin server")
        self._thread.start()
        self._servers: list[AdminServer] = []

    def serve(self, **settings: Any) -> str:
        """Start a server with these settings and return its address."""
        server = AdminServer(self.view, Admin(**{"listen": "127.0.0.1:0", **settings}), CollectorRegistry())
        address = self.run(server.start())
        self._servers.append(server)
        return address

    def run(self, awaitable: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(awaitable, self._loop).result(5)

    def publish(self, *entries: Any) -> None:
        """Wait for a long poll, then replace the service entries."""

        async def change() -> None:
            await asyncio.wait_for(self.view.polled.wait(), 5)
            self.view.polled.clear()
            self.view.publish(*entries)

        self.run(change())

    def stop(self) -> None:
        for server in self._servers:
            self.run(server.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()


@pytest.fixture(autouse=True)
def logs_are_reset() -> Iterator[None]:
    """Commands send logs to the standard error of their time."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def bridge(view: Any) -> Iterator[LiveBridge]:
    found = LiveBridge(view)
    yield found
    found.stop()


@pytest.fixture
def url(bridge: LiveBridge) -> str:
    return f"http://{bridge.serve()}"


@pytest.fixture
def run() -> Run:
    """Runs a command in this process."""

    def invoke(*arguments: str, **environ: str) -> Result:
        return CliRunner().invoke(app, arguments, env={"MESHBRIDGE_ADMIN": None, **environ})

    return invoke


@pytest.fixture
def get(run: Run, url: str) -> Run:
    """Runs `meshbridge get` against the live bridge."""

    def invoke(*arguments: str) -> Result:
        return run("get", *arguments, "--admin", url)

    return invoke


@pytest.fixture
def get_json(get: Run) -> Callable[..., Any]:
    def invoke(*arguments: str) -> Any:
        result = get(*arguments, "-o", "json")
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)

    return invoke


@pytest.fixture
def start(bridge: LiveBridge) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts the program as a process of its own, which ends before the bridge does."""
    started: list[subprocess.Popen[str]] = []

    def popen(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", "from meshbridge.bridge.cli import main; main()", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONSAFEPATH": "1"},
        )
        started.append(process)
        return process

    yield popen
    for process in started:
        process.kill()
        process.communicate()
