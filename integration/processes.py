"""What it takes to run real servers beside a test: ports, processes that surely end, waiting."""

import asyncio
import random
import shutil
import socket
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 30.0
"""Seconds for what takes less than one or two when the machine is idle."""
_POLL = 0.02
_OUTSIDE_EPHEMERAL = range(20_000, 32_000)
_GRACE = 5.0
"""Seconds from asking a process to end to making it."""


async def eventually(condition: Callable[[], Awaitable[T]], within: float = PATIENCE) -> T:
    """Return the first true value of the condition.

    Raises:
        TimeoutError: it has none within so many seconds.
    """
    async with asyncio.timeout(within):
        while True:
            value = await condition()
            if value:
                return value
            await asyncio.sleep(_POLL)


async def stays(condition: Callable[[], Awaitable[object]], seconds: float) -> bool:
    """Whether the condition holds all the time, for so many seconds."""
    end = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < end:
        if not await condition():
            return False
        await asyncio.sleep(_POLL)
    return True


def free_ports(count: int) -> list[int]:
    """Return ports of 127.0.0.1 that nobody listens on now.

    None of them is one that outgoing connections get: a client that dials an ephemeral port again and
    again, waiting for its server to come back, may in the end be connected to itself.
    """
    found: list[int] = []
    while len(found) < count:
        port = random.choice(_OUTSIDE_EPHEMERAL)
        with socket.socket() as probe:
            if port not in found and probe.connect_ex(("127.0.0.1", port)) != 0:
                found.append(port)
    return found


def dies_with_us() -> list[str]:
    """Return what to put before a command, so that a killed test run leaves no process behind."""
    found = shutil.which("setpriv")
    return [found, "--pdeathsig", "KILL"] if found else []


async def end(process: asyncio.subprocess.Process) -> bool:
    """Ask a process to end, make it after a while, and return whether asking was enough."""
    if process.returncode is not None:
        return True
    process.terminate()
    try:
        async with asyncio.timeout(_GRACE):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
        return False
    return True
