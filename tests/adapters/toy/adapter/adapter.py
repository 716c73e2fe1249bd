"""Reads the toy's document again and again and says what changed: the order of things, no rules."""

import asyncio

import aiohttp

from meshbridge.adapters.base import AdapterContext, Emit
from meshbridge.adapters.toy.listing import parse
from meshbridge.adapters.toy.settings import ToyConfig
from meshbridge.schemas.errors import PayloadError, RegistryDenied, RegistryUnavailable
from meshbridge.schemas.registry import (
    FullSync,
    GroupUpdate,
    InstanceGroup,
    ServiceKey,
    SourceReport,
    SourceState,
    group,
)

_MAX_SIZE = 16 * 1024 * 1024
"""Largest document in bytes."""


class ToyAdapter:
    """One toy source. `run()` may be called again after it ended, not while it runs."""

    def __init__(self, config: ToyConfig, context: AdapterContext) -> None:
        self._config = config
        self._context = context
        self._groups: dict[str, InstanceGroup] = {}
        """The newest reading, also of an earlier run: records that are bad now keep what they had."""

    @property
    def name(self) -> str:
        """The source's configured name."""
        return self._context.source

    async def run(self, emit: Emit) -> None:
        """Read the document until cancelled.

        Raises:
            RegistryUnavailable: there is no usable answer; the caller runs us again, with back-off.
            RegistryDenied: the server refuses us.
        """
        self._groups = self._groups or dict(self._context.previous())
        timeout = aiohttp.ClientTimeout(total=self._config.timeout)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            await self._read(session)
            await emit(FullSync(tuple(self._groups.values()), self._context.clock()))
            await emit(SourceReport(SourceState.SYNCED))
            while True:
                await asyncio.sleep(self._config.refresh)
                await self._tell(await self._read(session), emit)

    async def _read(self, session: aiohttp.ClientSession) -> list[InstanceGroup]:
        """Take the document as it is now and return the groups that differ from before."""
        metrics = self._context.metrics
        metrics.attempt()
        try:
            fresh = parse(self.name, await self._fetch(session), self._groups)
        except PayloadError as error:
            metrics.error("payload")
            raise RegistryUnavailable(self.name, "read the document", str(error)) from error
        metrics.success()
        gone = [group(ServiceKey(self.name, name), ()) for name in self._groups if name not in fresh]
        changed = [found for name, found in fresh.items() if found != self._groups.get(name)]
        for found in changed:
            for _ in found.notes:
                metrics.rejected("malformed")
        self._groups = fresh
        return gone + changed

    async def _fetch(self, session: aiohttp.ClientSession) -> bytes:
        metrics = self._context.metrics
        try:
            async with session.get(self._config.url, allow_redirects=False) as answer:
                status, body = answer.status, await _body(answer)
        except TimeoutError as error:
            metrics.error("timeout")
            raise RegistryUnavailable(self.name, "read the document", "no answer in time") from error
        except aiohttp.ClientError as error:
            metrics.error("connection")
            # Only its kind: the text of the error would show the address, in which a token may stand.
            raise RegistryUnavailable(self.name, "read the document", type(error).__name__) from error
        if status in (401, 403):
            metrics.error("denied")
            raise RegistryDenied(self.name, "read the document", f"HTTP status {status}")
        if status != 200:
            metrics.error("http")
            raise RegistryUnavailable(self.name, "read the document", f"HTTP status {status}")
        return body

    async def _tell(self, changed: list[InstanceGroup], emit: Emit) -> None:
        """Emit what changed: one service alone, several together, so that the guard sees all at once."""
        now = self._context.clock()
        if len(changed) == 1:
            await emit(GroupUpdate(changed[0], now))
        elif changed:
            await emit(FullSync(tuple(self._groups.values()), now))


async def _body(answer: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in answer.content.iter_chunked(65536):
        body += chunk
        if len(body) > _MAX_SIZE:
            raise aiohttp.ClientPayloadError(f"more than {_MAX_SIZE} bytes")
    return bytes(body)
