"""A client of the mesh without a proxy: gRPC itself asks istiod where a service is, and whom to trust."""

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from integration.mesh.backends import METHOD
from integration.mesh.certificates import Identity
from integration.mesh.registries import PORT
from integration.processes import PATIENCE, dies_with_us, end

_PROGRAM = Path(__file__).with_name("caller.py")
_ADDRESS = "127.0.0.78"
_GRACE = 10.0


class Call(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One call and its end."""

    sent: float
    """Monotonic seconds."""
    seconds: float
    host: str
    server: str
    caller: str
    """Who the server says that we are."""
    error: str
    """Its status, empty when all is well."""


class Client:
    """Calls hosts in turn for as long as `async with` lasts. `calls` has every call that ended."""

    def __init__(
        self,
        istiod: str,
        hosts: Sequence[str],
        *,
        rate: float = 200.0,
        identity: Identity | None = None,
        is_fresh: bool = False,
    ) -> None:
        """Prepare to make `rate` calls a second altogether; `is_fresh`: each with a new connection."""
        self._targets = [f"{host}:{PORT}" for host in hosts]
        self._words = [METHOD, str(rate), "fresh" if is_fresh else "standing"]
        self._bootstrap = json.dumps(_bootstrap(istiod, identity))
        self._moved = asyncio.Event()
        self.calls: list[Call] = []

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *dies_with_us(),
            *(sys.executable, str(_PROGRAM), *self._words, *self._targets),
            env=os.environ | {"GRPC_XDS_BOOTSTRAP_CONFIG": self._bootstrap, "GRPC_VERBOSITY": "NONE"},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        self._reading = asyncio.create_task(self._read(), name="calls of a client")
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        try:
            await self.finish()
        finally:
            await end(self._process)
            self._reading.cancel()

    @property
    def failed(self) -> list[Call]:
        """Calls without an answer."""
        return [call for call in self.calls if call.error]

    async def finish(self) -> None:
        """Call no more, and return as soon as all calls have ended."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        async with asyncio.timeout(_GRACE):
            await self._reading

    async def wait_for(
        self, condition: Callable[[Call], bool], *, since: float = 0.0, within: float = PATIENCE
    ) -> Call:
        """Return the first call, sent after `since`, that meets the condition.

        Raises:
            TimeoutError: there is none within so many seconds.
        """
        seen = 0
        async with asyncio.timeout(within):
            while True:
                for call in self.calls[seen:]:
                    if call.sent > since and condition(call):
                        return call
                seen = len(self.calls)
                await self._news()

    async def wait_for_answer(self, server: str, *, since: float = 0.0) -> Call:
        """Return the first call, sent after `since`, that this server answered."""
        return await self.wait_for(lambda call: call.server == server, since=since)

    async def next(self, count: int, *, within: float = PATIENCE) -> list[Call]:
        """Return the first calls sent from now on.

        Raises:
            TimeoutError: there are not so many within so many seconds.
        """
        now = time.monotonic()
        async with asyncio.timeout(within):
            while len(found := [call for call in self.calls if call.sent > now]) < count:
                await self._news()
        return found[:count]

    async def quiet(self, server: str, *, calls: int = 100) -> None:
        """Return as soon as none of so many successive calls was answered by this server.

        Raises:
            TimeoutError: it is still called.
        """
        async with asyncio.timeout(PATIENCE):
            while any(call.server == server for call in await self.next(calls)):
                pass

    async def wait_for_sent(self, at: float) -> None:
        """Return as soon as a call that was sent after this moment, in monotonic seconds, has ended."""
        await self.wait_for(lambda _: True, since=at, within=max(0.0, at - time.monotonic()) + PATIENCE)

    async def _news(self) -> None:
        self._moved.clear()
        if self._reading.done():
            raise RuntimeError("the client has ended")
        await self._moved.wait()

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.calls.append(msgspec.json.decode(line, type=Call))
            self._moved.set()
        self._moved.set()


def _bootstrap(istiod: str, identity: Identity | None) -> Mapping[str, Any]:
    """Return gRPC's xDS bootstrap, much as Istio's agent writes it."""
    node = {
        "id": f"sidecar~{_ADDRESS}~client.default~default.svc.cluster.local",
        "metadata": {
            "GENERATOR": "grpc",
            "NAMESPACE": "default",
            "CLUSTER_ID": "Kubernetes",
            "INSTANCE_IPS": _ADDRESS,
            "ISTIO_VERSION": "1.31.0",
        },
    }
    server = {
        "server_uri": istiod,
        "channel_creds": [{"type": "insecure"}],
        "server_features": ["xds_v3"],
    }
    bootstrap: dict[str, Any] = {"xds_servers": [server], "node": node}
    if identity:
        bootstrap["certificate_providers"] = {"default": _file_watcher(identity)}
    return bootstrap


def _file_watcher(identity: Identity) -> Mapping[str, Any]:
    files = {
        "certificate_file": str(identity.chain),
        "private_key_file": str(identity.key),
        "ca_certificate_file": str(identity.root),
    }
    return {"plugin_name": "file_watcher", "config": files | {"refresh_interval": "1s"}}
