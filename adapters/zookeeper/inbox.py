"""Hands news from the client's thread to the event loop."""

import asyncio
import contextlib
import threading
from collections.abc import Callable

from meshbridge.adapters.zookeeper.session import Change, Link, News


class Inbox:
    """Holds at most one entry per path, so that a flood can't grow it, and wakes the loop once for many."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._woken = asyncio.Event()
        self._is_signalled = False
        self._changes: dict[str, Change] = {}
        self._children: set[str] = set()
        self._since = 0.0
        self.link = Link.SUSPENDED
        self.generation = 0

    def put(self, path: str, change: Change) -> None:
        """Note a change; called by the client's thread."""
        with self._lock:
            if not self._changes and not self._children:
                self._since = self._clock()
            if change is Change.CHILDREN:
                self._children.add(path)
            else:
                self._changes[path] = change
            self._signal()

    def tell(self, link: Link) -> None:
        """Note how the connection is; called by the client's thread."""
        with self._lock:
            if self.link is Link.DENIED:
                return  # What follows is only the client's end.
            self.link = link
            if link in (Link.CONNECTED, Link.READ_ONLY):
                # Changes told by an earlier connection may be undone by ones that nobody told.
                self.generation += 1
                self._changes.clear()
                self._children.clear()
            self._signal()

    async def take(self) -> News:
        """Return everything since the last call; wait until there is something."""
        await self._woken.wait()
        with self._lock:
            self._woken.clear()
            self._is_signalled = False
            changes, self._changes = self._changes, {}
            children, self._children = frozenset(self._children), set()
            return News(self.link, self.generation, changes, children, self._since)

    def tell_again(self) -> None:
        """Have the next `take` return at once; called on the loop."""
        self._woken.set()

    def _signal(self) -> None:
        if not self._is_signalled:
            self._is_signalled = True
            with contextlib.suppress(RuntimeError):  # The loop is closed: nobody waits any more.
                self._loop.call_soon_threadsafe(self._woken.set)
