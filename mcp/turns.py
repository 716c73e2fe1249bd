"""A limit on how many large responses are written at once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """Lets a few writers go at a time, and lets none of them keep the others waiting for long.

    Each large write costs a private copy inside gRPC; a hundred at once cost a gigabyte and stalls of
    0.7 s (measured). A client that doesn't read keeps its copy, but not the turn of others.
    """

    def __init__(self, at_once: int, longest: float) -> None:
        self._free = asyncio.Semaphore(at_once)
        self._longest = longest

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn; it ends with the context, or after `longest` seconds."""
        await self._free.acquire()
        is_over = False

        def end() -> None:
            nonlocal is_over
            if not is_over:
                is_over = True
                self._free.release()

        timer = asyncio.get_running_loop().call_later(self._longest, end)
        try:
            yield
        finally:
            timer.cancel()
            end()
