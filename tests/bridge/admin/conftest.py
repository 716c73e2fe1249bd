"""The real admin server on a loopback port."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Counter

from meshbridge.bridge.admin.server import AdminServer
from meshbridge.bridge.config.models import Admin

Serve = Callable[..., Awaitable[str]]


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as found:
        yield found


@pytest.fixture
def serve(view: Any, stack: AsyncExitStack) -> Serve:
    """Starts a server with the given settings and returns its address."""

    async def start(**settings: Any) -> str:
        registry = CollectorRegistry()
        Counter("things", "Things.", registry=registry).inc()
        server = AdminServer(view, Admin(**{"listen": "127.0.0.1:0", **settings}), registry)
        address = await server.start()
        stack.push_async_callback(server.stop)
        return address

    return start


@pytest.fixture
async def http(stack: AsyncExitStack) -> aiohttp.ClientSession:
    return await stack.enter_async_context(aiohttp.ClientSession())


@pytest.fixture
async def url(serve: Serve) -> str:
    """Of a server with plain settings."""
    return f"http://{await serve()}"


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("sesame\n")
    return path


@pytest.fixture
def trusting() -> Callable[[Path], ssl.SSLContext]:
    def context(ca: Path) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(ca))

    return context
