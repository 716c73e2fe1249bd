"""A Consul of our own, small enough to be spoilt in every way, and the contract's view of it."""

import asyncio
import contextlib
import gc
import json
import ssl
import threading
import warnings
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from aiohttp import web

from meshbridge.adapters.consul.settings import ConsulConfig

PORT = 8080
SERVERS = {"ID": "consul", "Service": "consul", "Port": 8300, "Address": ""}
WAIT = "400ms"

Answer = tuple[int, dict[str, str], bytes]


class FakeConsul:
    """Answers as an agent does: health, catalog, blocking queries, indexes, and the faults of real ones."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._port = 0
        self.index = 100
        self.indexes: dict[str, int] = {}
        self.nodes: dict[str, dict[str, Any]] = {"srv1": {"Node": "srv1", "Address": "10.0.0.250"}}
        self.services: dict[str, dict[str, dict[str, Any]]] = {
            "consul": {"srv1/consul": {"Service": SERVERS}}
        }
        self.statuses: dict[str, list[dict[str, str]]] = {}
        self.is_reversed = False
        self.peering = "ACTIVE"
        self.tokens: set[str] = set()
        """Tokens that are good; none: all are."""
        self.hides: Callable[[str], bool] = lambda _service: False
        self.says_filtered = True
        self.headers: dict[str, str] = {}
        self.fault: Callable[[web.Request], Answer | None] = lambda _request: None
        """Gives what is answered instead of the truth."""
        self.is_frozen = False
        self.is_truncating = False
        self.limit = 1_000_000
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.used: list[str] = []
        """The tokens of the requests."""
        self.open = 0
        self.most_open = 0
        self.url = ""
        self._transports: set[Any] = set()
        self._loop = asyncio.new_event_loop()
        self._changed = asyncio.Condition()

    async def start(self, path: str = "") -> None:
        """Serve from a thread, so that the server's tasks are none of the test's loop."""
        self._thread = threading.Thread(target=self._loop.run_forever, name="fake consul", daemon=True)
        self._thread.start()
        await self._there(self._start(path))

    async def stop(self) -> None:
        await self._there(self._finish())
        self._loop.call_soon_threadsafe(self._loop.stop)
        await asyncio.to_thread(self._thread.join)
        self._loop.close()
        self._transports.clear()
        # A busy machine leaves some of the fake's own sockets half closed. Only these are passed over, by
        # their port and the form of a transport whose loop is closed: what the adapter leaks fails the test.
        with warnings.catch_warnings():
            for own in (rf".*laddr=\('127.0.0.1', {self._port}\)", r"unclosed transport <\w+ fd=\d+>$"):
                warnings.filterwarnings("ignore", own, ResourceWarning)
            gc.collect(1)

    async def _there(self, work: Coroutine[Any, Any, None]) -> None:
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    async def _start(self, path: str) -> None:
        app = web.Application()
        app.router.add_get("/v1/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        site = (
            web.UnixSite(self._runner, path)
            if path
            else web.TCPSite(self._runner, "127.0.0.1", self._port, ssl_context=self._tls)
        )
        await site.start()
        self._port = 0 if path else self._runner.addresses[0][1]
        scheme = "https" if self._tls else "http"
        self.url = f"unix://{path}" if path else f"{scheme}://127.0.0.1:{self._port}"

    async def _finish(self) -> None:
        await self._runner.cleanup()
        await asyncio.sleep(0.01)
        self._transports.update(self._loop._transports.values())
        for transport in self._transports:  # Of clients that came while it ended.
            transport.abort()
        await asyncio.sleep(0.01)

    async def kill(self) -> None:
        """Stop listening and drop every connection; `revive` goes on at the same address."""
        await self._there(self._finish())

    async def revive(self) -> None:
        await self._there(self._start(""))

    async def register(
        self, service: str, address: str, port: object = PORT, *, status: str = "passing", **fields: object
    ) -> None:
        """Register an instance on a node of its own, with one check."""
        node = f"node-{address}"
        id_ = str(fields.pop("ID", f"{service}-{address}"))
        self.nodes.setdefault(node, {"Node": node, "Address": "10.0.0.1"})
        made = {"ID": id_, "Service": service, "Address": address, "Port": port, "Tags": [], **fields}
        self.services.setdefault(service, {})[f"{node}/{id_}"] = {"Service": made}
        self.statuses[f"{service} {node}/{id_}"] = [
            {
                "Node": node,
                "CheckID": f"service:{id_}",
                "Status": status,
                "ServiceName": service,
                "ServiceID": id_,
            }
        ]
        await self.bump(service)

    async def deregister(self, service: str, address: str) -> None:
        key = next(key for key in self.services[service] if key.startswith(f"node-{address}/"))
        del self.services[service][key]
        del self.statuses[f"{service} {key}"]
        if not self.services[service]:
            del self.services[service]
        await self.bump(service)

    async def set_status(self, service: str, address: str, status: str) -> None:
        key = next(key for key in self.services[service] if key.startswith(f"node-{address}/"))
        self.statuses[f"{service} {key}"][0]["Status"] = status
        await self.bump(service)

    async def bump(self, service: str = "") -> None:
        """Move the index on and wake whoever waits."""
        self.index += 1
        self.indexes[service] = self.index
        await self._there(self._notify())

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.path, dict(request.query)))
        if request.transport is not None:
            self._transports.add(request.transport)
        self.used.append(request.headers.get("X-Consul-Token", ""))
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            return await self._answer(request)
        finally:
            self.open -= 1

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if self.is_frozen:
            await asyncio.sleep(3600)
        if self.open > self.limit:
            return web.Response(status=429, text="Your IP is issuing too many concurrent connections")
        if self.tokens and request.headers.get("X-Consul-Token", "") not in ("", *self.tokens):
            return web.Response(status=403, text=f"ACL not found: {request.headers['X-Consul-Token']}")
        if (fault := self.fault(request)) is None:
            await self._wait(request)
            fault = self.fault(request)
        code, headers, body = fault if fault is not None else self._truth(request)
        if self.is_truncating:
            return await self._truncate(request, body)
        return web.Response(status=code, headers=self.headers | headers, body=body)

    async def _truncate(self, request: web.Request, body: bytes) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(len(body) + 1000)})
        await response.prepare(request)
        await response.write(body)
        assert request.transport is not None
        request.transport.close()
        return response

    async def _wait(self, request: web.Request) -> None:
        asked = int(request.query.get("index", 0))
        if not asked:
            return
        wait = request.query.get("wait", "300000ms")
        assert wait.endswith("ms")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(int(wait[:-2]) / 1000), self._changed:
                await self._changed.wait_for(
                    lambda: self.index_of(request.path) > asked or self.fault(request) is not None
                )

    def index_of(self, path: str) -> int:
        if path.startswith("/v1/health/service/"):
            return self.indexes.get(path.removeprefix("/v1/health/service/"), self.index)
        return self.index

    def truth(self, path: str) -> tuple[object, bool]:
        """Return what the fake holds, and whether something of it is hidden."""
        shown = {name: found for name, found in self.services.items() if not self.hides(name)}
        is_hiding = len(shown) < len(self.services)
        if path == "/v1/catalog/services":
            return {name: self._tags(found) for name, found in self._order(shown.items())}, is_hiding
        if path.startswith("/v1/peering/"):
            return {"State": self.peering, "StreamStatus": {"ImportedServices": sorted(shown)}}, is_hiding
        if path == "/v1/catalog/nodes":
            return self._order(
                [] if self.hides("consul") and self.hides("nodes") else self.nodes.values()
            ), is_hiding
        if path.startswith("/v1/health/state/"):
            state = path.rpartition("/")[2]
            return [c for checks in self.statuses.values() for c in checks if c["Status"] == state], False
        name = path.removeprefix("/v1/health/service/")
        found = shown.get(name, {})
        entries = [
            entry
            | {"Node": self.nodes[key.partition("/")[0]], "Checks": self.statuses.get(f"{name} {key}", [])}
            for key, entry in self._order(found.items())
        ]
        return entries, name in self.services and name not in shown

    def _truth(self, request: web.Request) -> Answer:
        found, is_hiding = self.truth(request.path)
        headers = {"X-Consul-Index": str(self.index_of(request.path)), "X-Consul-KnownLeader": "true"}
        headers |= {"X-Consul-LastContact": "0"}
        if is_hiding and self.says_filtered:
            headers["X-Consul-Results-Filtered-By-ACLs"] = "true"
        return 200, headers, json.dumps(found).encode()

    def _tags(self, entries: dict[str, dict[str, Any]]) -> list[str]:
        return self._order({tag for entry in entries.values() for tag in entry["Service"].get("Tags") or ()})

    def _order(self, items: Any) -> list[Any]:
        return list(reversed(list(items))) if self.is_reversed else list(items)


class Consul:
    """The contract's view of it."""

    kind = "consul"
    label = "consul"
    secret = "5ecre7-acl-t0ken"

    def __init__(self, tmp_path: Path) -> None:
        self.fake = FakeConsul()
        self.fake.tokens = {self.secret}
        self._token_file = tmp_path / "token"

    async def start(self) -> None:
        self._token_file.write_text(self.secret + "\n")
        await self.fake.start()

    async def stop(self) -> None:
        await self.fake.stop()

    def config(self, **settings: object) -> ConsulConfig:
        found = {
            "name": "tested",
            "address": self.fake.url,
            "token_file": str(self._token_file),
            "wait": WAIT,
        }
        return ConsulConfig(**(found | settings))

    async def register(self, service: str, address: str) -> None:
        await self.fake.register(service, address)

    async def deregister(self, service: str, address: str) -> None:
        await self.fake.deregister(service, address)

    async def corrupt(self, service: str, address: str) -> None:
        await self.fake.register(service, address, 70_000)

    async def shuffle(self) -> None:
        self.fake.is_reversed = not self.fake.is_reversed

    async def break_(self) -> None:
        text = f"No cluster leader; the token was {self.secret}"
        self.fake.fault = lambda _request: (500, {}, text.encode())
        await self.fake.bump()

    async def heal(self) -> None:
        self.fake.fault = lambda _request: None
        await self.fake.bump()


HARNESSES = [Consul]
