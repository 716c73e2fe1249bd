"""A stand-in for the Kubernetes API server: just enough for istiod to start.

istiod from 1.30 on needs one, even with the whole configuration coming from elsewhere. It watches a dozen
kinds and waits until it has the state of each. Here there are a few namespaces, and nothing else.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

_NAMESPACES = ("default", "istio-system", "kube-system", "meshbridge")
_VERSION = {"major": "1", "minor": "34", "gitVersion": "v1.34.0", "platform": "linux/amd64"}
_NOT_FOUND = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}
_POSITION = {"resourceVersion": "10"}


@asynccontextmanager
async def api_server(host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """Serve for as long as the context lasts; gives a kubeconfig, as text."""
    stopping = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/version":
            return web.json_response(_VERSION)
        if request.method == "GET" and request.query.get("watch") == "true":
            return await _watch(request, stopping)
        # Reading single objects, writing, and asking what else there is: nothing.
        return web.json_response(_NOT_FOUND, status=404)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield json.dumps(_kubeconfig(runner.addresses[0][1]))
    finally:
        stopping.set()
        await runner.cleanup()


async def _watch(request: web.Request, stopping: asyncio.Event) -> web.StreamResponse:
    """Tell the state, say that it is complete, then stay silent until the client's time is up."""
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    collection = request.path.rpartition("/")[2]
    if request.query.get("sendInitialEvents") == "true":
        for found in _objects(collection):
            await response.write(_event("ADDED", found))
        await response.write(_event("BOOKMARK", _bookmark(request)))
    try:
        async with asyncio.timeout(float(request.query.get("timeoutSeconds", "300"))):
            await stopping.wait()
    except TimeoutError:
        pass
    return response


def _objects(collection: str) -> list[Mapping[str, Any]]:
    if collection != "namespaces":
        return []
    return [
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": name,
                "uid": f"uid-of-{name}",
                "resourceVersion": "1",
                "labels": {"kubernetes.io/metadata.name": name},
            },
            "status": {"phase": "Active"},
        }
        for name in _NAMESPACES
    ]


def _event(kind: str, found: Mapping[str, Any]) -> bytes:
    return json.dumps({"type": kind, "object": found}).encode() + b"\n"


def _bookmark(request: web.Request) -> Mapping[str, Any]:
    """Return the mark for the end of the initial state; its type is that of the objects asked for."""
    *group, collection = request.path.strip("/").split("/")
    is_partial = "PartialObjectMetadata" in request.headers.get("Accept", "")
    version = "v1" if group[0] == "api" else "/".join(group[1:3])
    return {
        "apiVersion": "meta.k8s.io/v1" if is_partial else version,
        "kind": "PartialObjectMetadata" if is_partial else _KINDS[collection],
        "metadata": _POSITION | {"annotations": {"k8s.io/initial-events-end": "true"}},
    }


_KINDS = {
    "configmaps": "ConfigMap",
    "customresourcedefinitions": "CustomResourceDefinition",
    "endpointslices": "EndpointSlice",
    "ingresses": "Ingress",
    "mutatingwebhookconfigurations": "MutatingWebhookConfiguration",
    "namespaces": "Namespace",
    "nodes": "Node",
    "pods": "Pod",
    "secrets": "Secret",
    "serviceaccounts": "ServiceAccount",
    "services": "Service",
    "validatingwebhookconfigurations": "ValidatingWebhookConfiguration",
}


def _kubeconfig(port: int) -> Mapping[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "clusters": [{"name": "here", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "here", "user": {}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "here"}}],
    }
