"""A Eureka server in this process: what its clients see of eureka-core 2.0, without caches and evictions.

Times are a counter, so that every registration and change has its own. As in the real one, a delta lists the
instances that changed, each in its present state, and DELETED is said by `actionType` alone.
"""

import gzip
import json
import time
from collections import Counter
from collections.abc import Iterator

from aiohttp import web

Item = dict[str, object]


class FakeEureka:
    """One server; its registry is lost when it restarts, its port is not."""

    def __init__(self, authorization: str = "") -> None:
        self.authorization = authorization
        """Header to demand, "" for none."""
        self.apps: dict[str, dict[str, Item]] = {}
        self.changes: list[Item] = []
        self.has_delta = True
        self.status = 200
        """What is answered instead of 200."""
        self.bodies: dict[str, bytes] = {}
        """What is answered instead, by path."""
        self.hash_code: str | None = None
        """What is said instead of the true hash."""
        self.is_reversed = False
        self.asked: Counter[str] = Counter()
        self.queries: list[str] = []
        self._port = 0
        self._clock = time.time_ns() // 1_000_000
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/eureka"

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/eureka/{path:.*}", self._answer)
        app.router.add_post("/eureka/apps/{app}", self._take)
        app.router.add_put("/eureka/apps/{app}/{id}", self._renew)
        app.router.add_delete("/eureka/apps/{app}/{id}", self._drop)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True).start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def restart(self) -> None:
        """Come back as Spring's server does: at once, and with nothing."""
        await self.stop()
        self.apps.clear()
        self.changes.clear()
        await self.start()

    def register(self, app: str, address: str, **fields: object) -> Item:
        now = self.tick()
        item: Item = {
            "instanceId": f"{address}:{app}:8080",
            "hostName": f"vm-{address}.corp",
            "app": app.upper(),
            "ipAddr": address,
            "status": "UP",
            "overriddenStatus": "UNKNOWN",
            "port": {"$": 8080, "@enabled": "true"},
            "securePort": {"$": 443, "@enabled": "false"},
            "countryId": 1,
            "dataCenterInfo": {"@class": "x", "name": "MyOwn"},
            "leaseInfo": {
                "renewalIntervalInSecs": 30,
                "durationInSecs": 90,
                "registrationTimestamp": now,
                "lastRenewalTimestamp": now,
            },
            "metadata": {"zone": "eu-1a", "version": "v1"},
            "vipAddress": app,
            "secureVipAddress": app,
            "lastUpdatedTimestamp": str(now),
            "lastDirtyTimestamp": str(now),
            "actionType": "ADDED",
            **fields,
        }
        self.apps.setdefault(app.upper(), {})[address] = item
        self.changes.append(item)
        return item

    def change(self, app: str, address: str, **fields: object) -> None:
        """Change an instance; an override moves lastUpdatedTimestamp only."""
        item = self.apps[app.upper()][address]
        item |= {"actionType": "MODIFIED", "lastUpdatedTimestamp": str(self.tick()), **fields}
        self.changes.append(item)

    def cancel(self, app: str, address: str) -> None:
        item = self.apps[app.upper()].pop(address)
        if not self.apps[app.upper()]:
            del self.apps[app.upper()]
        item |= {"actionType": "DELETED", "lastUpdatedTimestamp": str(self.tick())}
        self.changes.append(item)

    def copy_to(self, other: "FakeEureka") -> None:
        """Replicate to a peer, which registers everything at its own time."""
        for app, items in self.apps.items():
            for address, item in items.items():
                other.register(app.lower(), address, lastDirtyTimestamp=item["lastDirtyTimestamp"])

    def forget_changes(self) -> None:
        """Let the retention window pass."""
        self.changes.clear()

    def tick(self) -> int:
        self._clock += 1
        return self._clock

    def _hash(self) -> str:
        if self.hash_code is not None:
            return self.hash_code
        counts = Counter(str(item["status"]) for items in self.apps.values() for item in items.values())
        return "".join(f"{status}_{count}_" for status, count in sorted(counts.items()))

    def _document(self, path: str) -> dict[str, object]:
        if path == "apps":
            listed = [(app, list(items.values())) for app, items in self.apps.items()]
        else:
            listed = list(self._changed().items())
        if self.is_reversed:
            listed = [(app, items[::-1]) for app, items in reversed(listed)]
        applications = [{"name": app, "instance": items} for app, items in listed]
        return {
            "applications": {
                "versions__delta": "1",
                "apps__hashcode": self._hash(),
                "application": applications,
            }
        }

    def _changed(self) -> dict[str, list[Item]]:
        found: dict[str, list[Item]] = {}
        for item in self._newest_last():
            found.setdefault(str(item["app"]), []).append(item)
        return found

    def _newest_last(self) -> Iterator[Item]:
        """Yield each changed instance once, where it was changed last."""
        seen: dict[object, Item] = {}
        for item in self.changes:
            key = (item["app"], item.get("instanceId", item["hostName"]))
            seen.pop(key, None)
            seen[key] = item
        yield from seen.values()

    async def _answer(self, request: web.Request) -> web.Response:
        path = request.match_info["path"]
        self.asked[path] += 1
        self.queries.append(request.query_string)
        if self.authorization and request.headers.get("Authorization") != self.authorization:
            return web.Response(status=401)
        if self.status != 200:
            return web.Response(status=self.status, text=f"you sent {request.headers.get('Authorization')}")
        if path == "apps/delta" and not self.has_delta:
            return web.Response(status=403)
        body = self.bodies.get(path)
        if body is None:
            body = json.dumps(self._document(path)).encode()
        headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        return web.Response(body=gzip.compress(body, mtime=0), headers=headers)

    async def _take(self, request: web.Request) -> web.Response:
        if refusal := self._refusal(request):
            return refusal
        item = (await request.json())["instance"]
        self.apps.setdefault(request.match_info["app"], {})[item["ipAddr"]] = {**item, "actionType": "ADDED"}
        return web.Response(status=204)

    async def _renew(self, request: web.Request) -> web.Response:
        self.asked["heartbeat"] += 1
        known = [item["instanceId"] for item in self.apps.get(request.match_info["app"], {}).values()]
        return self._refusal(request) or web.Response(
            status=200 if request.match_info["id"] in known else 404
        )

    async def _drop(self, request: web.Request) -> web.Response:
        if refusal := self._refusal(request):
            return refusal
        self.apps.pop(request.match_info["app"], None)
        return web.Response()

    def _refusal(self, request: web.Request) -> web.Response | None:
        if self.authorization and request.headers.get("Authorization") != self.authorization:
            return web.Response(status=401)
        return None if self.status == 200 else web.Response(status=self.status)
