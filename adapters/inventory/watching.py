"""Tells when files may have changed: file notifications, with a regular look as the fall-back."""

import asyncio
import os
from collections.abc import Callable, Iterable
from contextlib import aclosing

import structlog
import watchfiles

from meshbridge.adapters.inventory import files

_log = structlog.get_logger(__name__)

_QUIET_MS = 50
"""A burst of changes ends when nothing happened for this long."""
_BURST_MS = 1000
"""A burst is reported after this long at the latest."""
_LOOK_MS = 5000
"""How often it is checked that the watched directories are still the same ones."""


async def watch(patterns: Iterable[str], changed: Callable[[], None], retry: float) -> None:
    """Call `changed` whenever a file that the patterns name may have changed, until cancelled.

    Notifications follow directories, not paths: when one is replaced, watching starts again. Where the system
    has none to give (its limit is reached), it is tried again every `retry` seconds.
    """
    chosen = tuple(patterns)
    is_failing = False
    while True:
        try:
            await _watch_once(chosen, changed)
        except OSError as error:  # Also FileNotFoundError: a directory went between looking and watching.
            if not is_failing and not isinstance(error, FileNotFoundError):
                _log.warning("no file notifications, files are read regularly instead", error=str(error))
                is_failing = True
            await asyncio.sleep(retry if is_failing else 0.1)
        else:
            is_failing = False
        changed()


async def _watch_once(patterns: tuple[str, ...], changed: Callable[[], None]) -> None:
    """Watch until the directories are other ones."""
    homes = await asyncio.to_thread(files.homes, patterns)
    watched = await asyncio.to_thread(files.watchable, homes)

    def matters(_change: watchfiles.Change, path: str) -> bool:
        return os.path.dirname(path) in homes or any(f"{home}/".startswith(f"{path}/") for home in homes)

    notices = watchfiles.awatch(
        *watched,
        watch_filter=matters,
        debounce=_BURST_MS,
        step=_QUIET_MS,
        rust_timeout=_LOOK_MS,
        yield_on_timeout=True,
        recursive=False,
    )
    # What changed between the last look and now has no notice. A callback runs when the iteration below first
    # waits, and by then the notifications have begun.
    asyncio.get_running_loop().call_soon(changed)
    async with aclosing(notices):
        async for changes in notices:
            if changes:
                changed()
            if await asyncio.to_thread(files.watchable, files.homes(patterns)) != watched:
                return
