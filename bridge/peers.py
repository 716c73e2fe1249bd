"""Other replicas of this bridge: what they know, for a cold start, and releases that count for all."""

import asyncio
import secrets
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import SplitResult, quote, urlsplit

import aiohttp
import msgspec
import structlog

from meshbridge.bridge.admin.api import INSTANCE_HEADER
from meshbridge.bridge.config.models import Peers
from meshbridge.bridge.pipeline.mesh import MeshKept
from meshbridge.bridge.state_copy import MESH, Copy, decode_copy, decode_mesh

log = structlog.get_logger(__name__)

MAX_COPY = 1 << 30
_TROUBLE = (aiohttp.ClientError, OSError, ValueError, RecursionError)


class _Kept(msgspec.Struct):
    """An item of /api/v1/state."""

    name: str


class _Known(msgspec.Struct):
    instance: str
    items: list[_Kept]


class PeerClient:
    """Asks the replicas that the configuration names; a name stands for all its addresses."""

    def __init__(self, settings: Peers) -> None:
        self._settings = settings
        self.instance = secrets.token_hex(8)
        """Tells this process from its peers, and from itself."""

    async def copies(self) -> tuple[dict[str, list[Copy]], list[MeshKept]]:
        """Return what the peers that answer know, by source and beside; one that does not is logged."""
        urls = await self._addresses()
        try:
            async with self._session() as http:
                answers = await asyncio.gather(*(self._ask(http, *url) for url in urls))
        except OSError as error:  # The token or the authorities can't be read.
            log.warning("peers not asked", reason=_reason(error))
            answers = []
        found: dict[str, list[Copy]] = {}
        told = [answer for answer in answers if answer is not None]
        for copy in (copy for copies, _ in told for copy in copies):
            found.setdefault(copy.header.source, []).append(copy)
        return found, [mesh for _, mesh in told]

    async def release(self, what: str) -> dict[str, str]:
        """Release something at all peers and return what each said, by address."""
        urls = await self._addresses()
        try:
            async with self._session() as http:
                answers = await asyncio.gather(*(self._release(http, *url, what) for url in urls))
        except OSError as error:
            return {url: _reason(error) for url, _ in urls}
        return {url: answer for (url, _), answer in zip(urls, answers, strict=True) if answer}

    async def _ask(
        self, http: aiohttp.ClientSession, url: str, host: str
    ) -> tuple[list[Copy], MeshKept] | None:
        try:
            async with asyncio.timeout(self._settings.timeout):
                listed = msgspec.json.decode(await self._get(http, url, host, "/api/v1/state"), type=_Known)
                if listed.instance == self.instance:
                    return None
                names = [MESH, *(item.name for item in listed.items)]
                mesh, *copies = [
                    await self._get(http, url, host, f"/api/v1/state/{quote(name)}") for name in names
                ]
            return [await asyncio.to_thread(decode_copy, copy) for copy in copies], decode_mesh(mesh)
        except (*_TROUBLE, TimeoutError) as error:
            log.warning("peer tells nothing", peer=url, reason=_reason(error))
            return None

    async def _get(self, http: aiohttp.ClientSession, url: str, host: str, path: str) -> bytes:
        async with http.get(url + path, headers={"Host": host}, server_hostname=_name(host)) as answer:
            answer.raise_for_status()
            content = await answer.content.read(MAX_COPY)
            return content if answer.content.at_eof() else b""

    async def _release(self, http: aiohttp.ClientSession, url: str, host: str, what: str) -> str:
        """Return what a peer said, "" where it turned out to be this process."""
        path = f"{url}/api/v1/release/{quote(what)}"
        try:
            async with (
                asyncio.timeout(self._settings.timeout),
                http.post(path, headers={"Host": host}, server_hostname=_name(host)) as answer,
            ):
                if answer.status == 409:
                    return ""
                body = await answer.content.read(1 << 16)
                return f"{answer.status} {body.decode(errors='replace')}"
        except (*_TROUBLE, TimeoutError) as error:
            return _reason(error)

    def _session(self) -> aiohttp.ClientSession:
        headers = {INSTANCE_HEADER: self.instance}
        if self._settings.token_file:
            headers["Authorization"] = f"Bearer {Path(self._settings.token_file).read_text().strip()}"
        is_secure = any(url.startswith("https") for url in self._settings.urls)
        context = ssl.create_default_context(cafile=self._settings.ca_file or None) if is_secure else True
        return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context), headers=headers)

    async def _addresses(self) -> list[tuple[str, str]]:
        """Return a URL for each address of each peer, and the host to name there."""
        found: list[tuple[str, str]] = []
        for url in self._settings.urls:
            parts = urlsplit(url)
            try:
                async with asyncio.timeout(self._settings.timeout):
                    infos = await asyncio.get_running_loop().getaddrinfo(
                        parts.hostname, parts.port or _PORTS[parts.scheme], type=socket.SOCK_STREAM
                    )
            except (OSError, TimeoutError) as error:
                log.warning("peer not found", peer=url, reason=_reason(error))
                continue
            found += [(_with_address(parts, str(info[4][0])), parts.netloc) for info in infos]
        return list(dict.fromkeys(found))


_PORTS: Mapping[str, int] = {"http": 80, "https": 443}


def _with_address(parts: SplitResult, address: str) -> str:
    bracketed = f"[{address}]" if ":" in address else address
    return f"{parts.scheme}://{bracketed}:{parts.port or _PORTS[parts.scheme]}"


def _name(host: str) -> str:
    """Return the name to expect in a certificate."""
    return urlsplit(f"//{host}").hostname or host


def _reason(error: Exception) -> str:
    return "no answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
