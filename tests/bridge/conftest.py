"""A running bridge as the admin interface sees it, without a bridge."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from meshbridge.bridge.admin.view import (
    ConflictStatus,
    HeldStatus,
    InstanceStatus,
    QuarantineStatus,
    Readiness,
    ResourceStatus,
    ServiceStatus,
    SourceStatus,
)
from meshbridge.bridge.pipeline.explain import Explanation, Step
from meshbridge.mcp.clients import ClientStatus, TypeStatus
from meshbridge.schemas.resource import Kind

CREATED = 1_700_000_000.0


def service_entry(name: str, source: str, ready: int) -> ResourceStatus:
    manifest = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": {"name": name, "namespace": "meshbridge", "labels": {"meshbridge/source": source}},
        "spec": {
            "hosts": [f"{name}.{source}.mesh"],
            "location": "MESH_INTERNAL",
            "resolution": "STATIC",
            "ports": [
                {"number": 80, "name": "http", "protocol": "HTTP", "targetPort": 8080},
                {"number": 90, "name": "raw"},
            ],
            "endpoints": [{"address": "10.0.0.1", "labels": {"version": "1e3", "canary": "y"}}],
        },
    }
    return ResourceStatus(manifest, [source], ready, 2, CREATED)


def workload_entry() -> ResourceStatus:
    manifest = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "WorkloadEntry",
        "metadata": {"name": "shop-1", "namespace": "legacy"},
        "spec": {"address": "10.0.0.1", "ports": {"http": 8080}},
    }
    return ResourceStatus(manifest, ["vms"], 1, 1, CREATED)


def source(name: str, state: str, error: str = "") -> SourceStatus:
    return SourceStatus(
        name=name,
        kind="inventory",
        state=state,
        since=CREATED,
        last_success=CREATED if not error else None,
        services=2,
        instances=4,
        held=0,
        required=True,
        retained=False,
        error=error,
        details={},
    )


class FakeView:
    def __init__(self) -> None:
        self.generation = 7
        self.ready = Readiness(ready=True, waiting_for=[])
        self.reload_error = ""
        self.entries = [service_entry("pay", "old", 2), service_entry("shop", "vms", 1)]
        self.groups: list[ResourceStatus] = []
        self.released: list[str] = []
        self.published = asyncio.Event()
        self.polled = asyncio.Event()
        """Set when a long poll waits."""

    def readiness(self) -> Readiness:
        return self.ready

    def sources(self) -> list[SourceStatus]:
        return [source("old", "stale", "can't be read"), source("vms/a", "synced")]

    def services(self) -> list[ServiceStatus]:
        return [
            ServiceStatus(
                namespace="meshbridge",
                name="shop",
                host="shop.vms.mesh",
                ports=["80/http"],
                ready=1,
                total=2,
                held=1,
                sources=["vms"],
                services=["vms/shop"],
                created=CREATED,
                problems=["label x is not one"],
                quarantined=False,
            )
        ]

    def conflicts(self) -> list[ConflictStatus]:
        return [
            ConflictStatus(
                namespace="meshbridge",
                host="shop.vms.mesh",
                kind="port",
                field="port http",
                winner="vms/shop",
                value="80",
                loser="old/SHOP",
                other="81",
                why="its source is listed first",
                sources=["vms", "old"],
            )
        ]

    def resources(self, kind: Kind) -> list[ResourceStatus]:
        if kind is Kind.SERVICE_ENTRY:
            return list(self.entries)
        return {Kind.WORKLOAD_ENTRY: [workload_entry()], Kind.WORKLOAD_GROUP: self.groups}[kind]

    def clients(self) -> list[ClientStatus]:
        types = [
            TypeStatus("networking.istio.io/v1/ServiceEntry", "a1", "a1", 0.025, 0),
            TypeStatus("networking.istio.io/v1/WorkloadEntry", "b2", "", None, 3, "invalid host"),
        ]
        return [ClientStatus("istiod-1", "10.1.1.1:5000", "stable", CREATED, types)]

    def explain(self, query: str) -> list[Explanation]:
        if query == "crash":
            raise RuntimeError("a bug with a secret in it")
        steps = (Step("source", "ok", "2 instances"), Step("rules", "dropped", "rule 1"))
        known = {"shop": True, "hidden": False}
        return [Explanation(f"vms/{query}", known[query], steps)] if query in known else []

    def last_reload_error(self) -> str:
        return self.reload_error

    instance = "this one"

    def instances(self) -> list[InstanceStatus]:
        labels = {"version": "v2"}
        return [
            InstanceStatus("vms", "shop", "a", "10.0.0.1", ["80/http"], "ready", 3, "eu/a", labels, False),
            InstanceStatus("vms", "shop", "b", "10.0.0.2", [], "unready", None, "", {}, True),
        ]

    def held(self) -> list[HeldStatus]:
        return [HeldStatus("vms", "shop", "a", "10.0.0.1", CREATED, "emptied", CREATED + 600)]

    def quarantine(self) -> list[QuarantineStatus]:
        return [
            QuarantineStatus("mesh", "shop.mesh", "", "", "no ports", True, ["vms"]),
            QuarantineStatus("mesh", "shop.mesh", "b", "10.0.0.2", "bad label", False, ["vms"]),
        ]

    async def release_at_peers(self, source: str) -> dict[str, str]:
        return {"http://10.0.0.9:16080": f"200 {source}"}

    def kept_sources(self) -> list[str]:
        return ["vms"]

    def kept(self, source: str) -> bytes:
        return {"vms": b"a copy"}[source]

    def release(self, source: str) -> int:
        if not source.startswith("vms"):
            raise KeyError(f"there is no source {source!r}")
        self.released.append(source)
        return 3

    async def wait_newer(self, generation: int, within: float) -> int:
        self.polled.set()
        async with asyncio.timeout(within):
            await self.published.wait()
        return self.generation

    def publish(self, *entries: ResourceStatus) -> None:
        """Replace the service entries, from within the loop."""
        self.entries = list(entries)
        self.generation += 1
        self.published.set()
        self.published = asyncio.Event()


@pytest.fixture
def view() -> FakeView:
    return FakeView()


@pytest.fixture
def entry() -> Any:
    """Makes a service entry from name, source and number of ready endpoints."""
    return service_entry


@pytest.fixture
def certificates(tmp_path: Path) -> Callable[[str], tuple[Path, Path, Path]]:
    """Makes an authority, a certificate of it for 127.0.0.1, and its key."""

    def make(name: str) -> tuple[Path, Path, Path]:
        authority = trustme.CA()
        issued = authority.issue_cert("127.0.0.1")
        paths = tuple(tmp_path / f"{name}-{part}.pem" for part in ("ca", "cert", "key"))
        for path, pem in zip(
            paths, (authority.cert_pem, issued.cert_chain_pems[0], issued.private_key_pem), strict=True
        ):
            pem.write_to_path(path)
        return paths

    return make
