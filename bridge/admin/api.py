"""The paths of the admin interface, over a `BridgeView`."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from meshbridge.bridge.admin import answers, page
from meshbridge.bridge.admin.answers import Problem
from meshbridge.bridge.admin.filters import Item, Query, matches, parse_query
from meshbridge.bridge.admin.view import BridgeView
from meshbridge.schemas.resource import Kind

_SLICE = 50
"""Items made in one go, a few milliseconds."""

INSTANCE_HEADER = "Meshbridge-Instance"
"""Names the bridge that asks: a release that comes from a peer goes no further, and nobody asks itself."""

MAX_QUESTION = 512
"""Characters of a query of `explain`."""

COLLECTIONS: Mapping[str, Callable[[BridgeView], Iterable[Item]]] = {
    "serviceentries": lambda view: view.resources(Kind.SERVICE_ENTRY),
    "workloadentries": lambda view: view.resources(Kind.WORKLOAD_ENTRY),
    "workloadgroups": lambda view: view.resources(Kind.WORKLOAD_GROUP),
    "instances": lambda view: view.instances(),
    "services": lambda view: view.services(),
    "conflicts": lambda view: view.conflicts(),
    "sources": lambda view: view.sources(),
    "clients": lambda view: view.clients(),
    "outputs": lambda view: view.outputs(),
    "held": lambda view: view.held(),
    "quarantine": lambda view: view.quarantine(),
}
"""What can be listed under /api/v1/."""


class Api:
    """Answers requests."""

    def __init__(self, view: BridgeView, registry: CollectorRegistry) -> None:
        self._view = view
        self._registry = registry
        self._polls: set[asyncio.Timeout] = set()
        self._closing = False

    def routes(self) -> list[web.RouteDef]:
        """Return every path with what answers it."""
        return [
            web.get("/", page.answer),
            web.get("/healthz", self._healthz),
            web.get("/readyz", self._readyz),
            web.get("/metrics", self._metrics),
            web.get("/api/v1/explain", self._explain),
            web.get("/api/v1/state", self._state),
            web.get("/api/v1/state/{source:.+}", self._copy),
            web.post("/api/v1/release/{source:.+}", self._release),
            *(web.get(f"/api/v1/{collection}", self._list) for collection in COLLECTIONS),
        ]

    def close(self) -> None:
        """End all long polls; those to come don't wait."""
        self._closing = True
        for poll in self._polls:
            if not poll.expired():
                poll.reschedule(asyncio.get_running_loop().time())

    async def _healthz(self, _request: web.Request) -> web.Response:
        return answers.document({"status": "ok"})

    async def _readyz(self, _request: web.Request) -> web.Response:
        found = self._view.readiness()
        body = {
            "ready": found.ready,
            "waitingFor": list(found.waiting_for),
            "reloadError": self._view.last_reload_error(),
        }
        return answers.document(body, 200 if found.ready else 503)

    async def _metrics(self, request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(self._registry), headers={"Content-Type": content_type})

    async def _list(self, request: web.Request) -> web.Response:
        collection = request.path.rpartition("/")[2]
        try:
            query = parse_query(collection, dict(request.query))
        except ValueError as error:
            raise Problem(400, "bad_request", str(error)) from error
        await self._wait(query)
        generation = self._view.generation
        found = await _chosen(COLLECTIONS[collection](self._view), query)
        return await answers.items(found, generation)

    async def _wait(self, query: Query) -> None:
        # Another generation than ours, be it a higher one, is that of an earlier run of the bridge.
        if self._closing or query.generation != self._view.generation or not query.wait:
            return
        poll = asyncio.timeout(query.wait)
        with contextlib.suppress(TimeoutError):
            async with poll:
                self._polls.add(poll)
                try:
                    await self._view.wait_newer(query.generation, query.wait)
                finally:
                    self._polls.discard(poll)

    async def _explain(self, request: web.Request) -> web.Response:
        question = request.query.get("q", "").strip()
        if not question or len(question) > MAX_QUESTION:
            raise Problem(400, "bad_request", 'say in "q" what to explain: a host, a name or an address')
        generation = self._view.generation
        return await answers.items(self._view.explain(question), generation)

    async def _release(self, request: web.Request) -> web.Response:
        source = request.match_info["source"]
        asked_by = request.headers.get(INSTANCE_HEADER, "")
        if asked_by == self._view.instance:
            raise Problem(409, "conflict", "this is the bridge that asks")
        try:
            released = self._view.release(source)
        except KeyError as error:
            raise Problem(404, "not_found", str(error.args[0])) from error
        peers = {} if asked_by else dict(await self._view.release_at_peers(source))
        return answers.document({"source": source, "released": released, "peers": peers})

    async def _state(self, _request: web.Request) -> web.Response:
        items = [{"name": name} for name in self._view.kept_sources()]
        return answers.document({"instance": self._view.instance, "items": items})

    async def _copy(self, request: web.Request) -> web.Response:
        source = request.match_info["source"]
        try:
            # In the loop, as groups change only there; other replicas start seldom.
            content = self._view.kept(source)
        except KeyError as error:
            raise Problem(404, "not_found", f"nothing is known of a source {source!r}") from error
        return web.Response(body=content, content_type="application/octet-stream")


async def _chosen(items: Iterable[Item], query: Query) -> list[Item]:
    """Return the items asked for. Making them takes time, so others get their turn in between."""
    found = []
    for count, item in enumerate(items, start=1):
        if matches(item, query):
            found.append(item)
        if count % _SLICE == 0:
            await asyncio.sleep(0)
    return found
