"""An API server in this process: as much of one as the sink uses, checked against a real one by the contract.

Server-side apply is kept simple: lists are atomic, fields are owned as paths to leaves.
"""

import asyncio
import copy
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

Object = dict[str, Any]
Leaves = dict[tuple[str, ...], object]
Fault = Callable[[web.Request], Awaitable[web.StreamResponse | None]]

KINDS = {
    "serviceentries": "ServiceEntry",
    "workloadentries": "WorkloadEntry",
    "workloadgroups": "WorkloadGroup",
    "leases": "Lease",
    "namespaces": "Namespace",
}


class ApiError(Exception):
    def __init__(self, code: int, reason: str, message: str, **details: object) -> None:
        super().__init__(message)
        self.code = code
        self.document = {
            "kind": "Status",
            "status": "Failure",
            "message": message,
            "reason": reason,
            "details": details,
            "code": code,
        }


class FakeApi:
    """State and behaviour; `serve()` puts it on a port."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], Object] = {}
        """By collection, namespace and name."""
        self.owners: dict[tuple[str, str, str], dict[tuple[str, str], set[tuple[str, ...]]]] = {}
        self.history: list[tuple[int, str, str, Object]] = []
        self.version = 100
        self.oldest = 0
        """Watches from before this version are told that it is gone."""
        self.requests: list[tuple[str, str]] = []
        self.fault: Fault | None = None
        self.missing_kinds: set[str] = set()
        self.missing_fields: set[str] = set()
        """Fields of specs that the CRDs lack: they are older than what is written."""
        self._moved = asyncio.Event()
        self._epoch = 0

    @property
    def writes(self) -> list[tuple[str, str]]:
        """Writes to objects other than Leases."""
        return [(m, p) for m, p in self.requests if m != "GET" and "/leases" not in p]

    def drop_watches(self, *, forget: bool = False) -> None:
        """End all watches; with `forget`, also what happened so far."""
        self._epoch += 1
        if forget:
            self.version += 1
            self.oldest = self.version
        self._notify()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer a request."""
        self.requests.append((request.method, request.path))
        if self.fault is not None and (answer := await self.fault(request)) is not None:
            return answer
        try:
            return await self._route(request)
        except ApiError as error:
            return web.json_response(error.document, status=error.code)

    async def _route(self, request: web.Request) -> web.StreamResponse:  # noqa: C901, PLR0911 - a table
        parts = request.path.strip("/").split("/")
        parts = parts[2:] if parts[0] == "api" else parts[3:]
        namespace = ""
        if parts[0] == "namespaces" and len(parts) > 2:
            namespace, parts = parts[1], parts[2:]
        plural, name = parts[0], parts[1] if len(parts) > 1 else ""
        if plural not in KINDS or plural in self.missing_kinds:
            raise ApiError(404, "NotFound", "the server could not find the requested resource")
        key = (plural, namespace, name)
        if request.method == "GET" and not name:
            if request.query.get("watch") == "true":
                return await self._watch(request, plural, namespace)
            return self._list(request, plural, namespace)
        if request.method == "GET":
            return web.json_response(self._found(key))
        if plural != "namespaces" and ("namespaces", "", namespace) not in self.objects:
            raise ApiError(
                404, "NotFound", f'namespaces "{namespace}" not found', name=namespace, kind="namespaces"
            )
        is_dry = "dryRun" in request.query
        body = json.loads(await request.read() or b"{}")
        match request.method, request.content_type:
            case "PATCH", "application/apply-patch+yaml":
                return self._apply(key, body, request.query, is_dry=is_dry)
            case "PATCH", _:
                found = _merged(self._found(key), body)
                return web.json_response(self._update(key, found, request.query.get("fieldManager", "?")))
            case "PUT", _:
                known = self._found(key)
                if body["metadata"].get("resourceVersion") != known["metadata"]["resourceVersion"]:
                    raise ApiError(409, "Conflict", "the object has been modified")
                return web.json_response(self._update(key, body, "put"))
            case "POST", _:
                key = (plural, namespace, body["metadata"]["name"])
                if key in self.objects:
                    raise ApiError(409, "AlreadyExists", f'"{key[2]}" already exists')
                made = self._make(key, body)
                return web.json_response(self._update(key, made, "post"), status=201)
        return self._delete(key, body, is_dry=is_dry)

    def _found(self, key: tuple[str, str, str]) -> Object:
        if key not in self.objects:
            raise ApiError(404, "NotFound", f'{key[0]} "{key[2]}" not found', name=key[2], kind=key[0])
        return copy.deepcopy(self.objects[key])

    def _make(self, key: tuple[str, str, str], body: Object) -> Object:
        made = copy.deepcopy(body)
        made["metadata"] |= {"namespace": key[1], "name": key[2], "uid": str(uuid.uuid4())}
        made.setdefault("kind", KINDS[key[0]])
        return made

    def _apply(
        self, key: tuple[str, str, str], body: Object, query: Mapping[str, str], *, is_dry: bool
    ) -> web.Response:
        manager = (query.get("fieldManager", ""), "Apply")
        if not manager[0]:
            raise ApiError(422, "Invalid", "fieldManager: Required value")
        uid = body["metadata"].pop("uid", "")
        for field in sorted(self.missing_fields & body.get("spec", {}).keys()):
            text = f"failed to create typed patch object: .spec.{field}: field not declared in schema"
            raise ApiError(500, "", text)
        is_new = key not in self.objects
        if uid and (is_new or self.objects[key]["metadata"]["uid"] != uid):
            raise ApiError(409, "Conflict", "Precondition failed: UID in precondition")
        found = self._make(key, {**body, "metadata": {}, "spec": {}}) if is_new else self._found(key)
        wanted, has = _leaves(body), _leaves(found)
        owners = {} if is_new else copy.deepcopy(self.owners[key])
        differing = {leaf for leaf in wanted if has.get(leaf) != wanted[leaf]}
        clashes = {who: owned & differing for who, owned in owners.items() if who != manager}
        causes = [
            {"reason": "FieldManagerConflict", "field": "." + ".".join(leaf), "message": _clash(who)}
            for who, leaves in clashes.items()
            for leaf in sorted(leaves)
        ]
        if causes and query.get("force") != "true":
            raise ApiError(409, "Conflict", f"Apply failed with {len(causes)} conflicts", causes=causes)
        for who, leaves in clashes.items():
            owners[who] -= leaves
        others = set().union(*(owned for who, owned in owners.items() if who != manager))
        for leaf in owners.get(manager, set()) - wanted.keys() - others:
            _drop(found, leaf)
        for leaf in differing:
            _put(found, leaf, wanted[leaf])
        owners[manager] = set(wanted)
        self._check(key, found)
        if is_dry:
            return web.json_response(found, status=201 if is_new else 200)
        self.owners[key] = {who: owned for who, owned in owners.items() if owned}
        return web.json_response(self._store(key, found), status=201 if is_new else 200)

    def _check(self, key: tuple[str, str, str], found: Object) -> None:
        if key[0] == "serviceentries" and not found["spec"].get("hosts"):
            raise ApiError(422, "Invalid", "spec.hosts: Required value", causes=[{"field": "spec.hosts"}])
        if len(json.dumps(found)) > 1_500_000:
            raise ApiError(500, "", "etcdserver: request is too large")

    def _update(self, key: tuple[str, str, str], found: Object, manager: str) -> Object:
        before = _leaves(self.objects.get(key, {}))
        after = _leaves(found)
        changed = {leaf for leaf in after if before.get(leaf) != after[leaf]}
        owners = self.owners.setdefault(key, {})
        owners |= {who: (owned - changed) & after.keys() for who, owned in owners.items()}
        if changed:
            owners.setdefault((manager, "Update"), set()).update(changed)
        self.owners[key] = {who: owned for who, owned in owners.items() if owned}
        return self._store(key, found)

    def _store(self, key: tuple[str, str, str], found: Object) -> Object:
        managed = [
            {"manager": who, "operation": operation} for who, operation in sorted(self.owners.get(key, {}))
        ]
        found["metadata"]["managedFields"] = managed
        known = self.objects.get(key)
        found["metadata"].pop("resourceVersion", None)
        if known is not None:
            version = known["metadata"]["resourceVersion"]
            found["metadata"]["resourceVersion"] = version
            if found == known:
                return copy.deepcopy(known)
        self.version += 1
        found["metadata"]["resourceVersion"] = str(self.version)
        self.objects[key] = copy.deepcopy(found)
        self._tell("MODIFIED" if known else "ADDED", key[0], found)
        return found

    def _delete(self, key: tuple[str, str, str], body: Object, *, is_dry: bool) -> web.Response:
        meta = self._found(key)["metadata"]
        for name, value in body.get("preconditions", {}).items():
            if meta[name] != value:
                raise ApiError(409, "Conflict", f"Precondition failed: {name}")
        if not (is_dry or body.get("dryRun")):
            found = self.objects.pop(key)
            del self.owners[key]
            self.version += 1
            found["metadata"]["resourceVersion"] = str(self.version)
            self._tell("DELETED", key[0], found)
        return web.json_response({"kind": "Status", "status": "Success"})

    def _tell(self, event: str, plural: str, found: Object) -> None:
        self.history.append((self.version, event, plural, copy.deepcopy(found)))
        self._notify()

    def _notify(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

    def _list(self, request: web.Request, plural: str, namespace: str) -> web.Response:
        keys = sorted(key for key in self.objects if key[0] == plural and namespace in ("", key[1]))
        start = int(request.query.get("continue", "0"))
        limit = int(request.query.get("limit", "0")) or len(keys) or 1
        metadata: Object = {"resourceVersion": str(self.version)}
        if start + limit < len(keys):
            metadata["continue"] = str(start + limit)
        items = [self.objects[key] for key in keys[start : start + limit]]
        return web.json_response({"metadata": metadata, "items": items})

    async def _watch(self, request: web.Request, plural: str, namespace: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        since, epoch = int(request.query["resourceVersion"]), self._epoch
        if since < self.oldest:
            gone = {"type": "ERROR", "object": {"code": 410, "message": "too old resource version"}}
            await response.write(json.dumps(gone).encode() + b"\n")
            return response
        while epoch == self._epoch:
            moved = self._moved
            for version, event, kind, found in [one for one in self.history if one[0] > since]:
                since = version
                if kind == plural and namespace in ("", found["metadata"]["namespace"]):
                    line = json.dumps({"type": event, "object": found}).encode() + b"\n"
                    await response.write(line)
            try:
                async with asyncio.timeout(1.0):
                    await moved.wait()
            except TimeoutError:
                mark = {"metadata": {"resourceVersion": str(self.version)}}
                await response.write(json.dumps({"type": "BOOKMARK", "object": mark}).encode() + b"\n")
        return response


@asynccontextmanager
async def serving(fake: FakeApi) -> AsyncIterator[str]:
    """Serve for as long as the context lasts; gives a kubeconfig, as text."""
    app = web.Application(client_max_size=4 << 20)
    app.router.add_route("*", "/{path:.*}", fake.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield kubeconfig(f"http://127.0.0.1:{runner.addresses[0][1]}")
    finally:
        fake.drop_watches()
        await runner.cleanup()


def kubeconfig(server: str) -> str:
    """Return a kubeconfig for a server, as text."""
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "clusters": [{"name": "here", "cluster": {"server": server}}],
            "users": [{"name": "here", "user": {"token": "let-me-in"}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "here"}}],
        }
    )


def _clash(who: tuple[str, str]) -> str:
    name, operation = who
    return f'conflict with "{name}"' + (" using networking.istio.io/v1" if operation == "Update" else "")


def _leaves(found: Object) -> Leaves:
    """Return what can be owned: labels, annotations and the spec, down to lists and plain values."""
    leaves: Leaves = {}
    for part in ("labels", "annotations"):
        for key, value in found.get("metadata", {}).get(part, {}).items():
            leaves["metadata", part, key] = value
    _collect(("spec",), found.get("spec", {}), leaves)
    return leaves


def _collect(path: tuple[str, ...], value: object, leaves: Leaves) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            _collect((*path, key), inner, leaves)
    else:
        leaves[path] = value


def _put(found: Object, leaf: tuple[str, ...], value: object) -> None:
    for key in leaf[:-1]:
        found = found.setdefault(key, {})
    found[leaf[-1]] = copy.deepcopy(value)


def _drop(found: Object, leaf: tuple[str, ...]) -> None:
    for key in leaf[:-1]:
        found = found.get(key, {})
    found.pop(leaf[-1], None)


def _merged(found: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    merged = dict(found) if isinstance(found, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merged(merged.get(key), value)
    return merged
