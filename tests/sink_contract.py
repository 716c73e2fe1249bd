"""What the Kubernetes sink promises, as tests, for every API server that brings a fixture `kubeconfig`.

Applying twice is applying once; what is removed goes; what is not ours is never touched. The tests against
the fake one and those against a real one are these.
"""

import asyncio
import json
import ssl
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import aiohttp
import pytest
import yaml

from meshbridge.bridge.config.kubernetes import KubernetesOutput
from meshbridge.bridge.kubernetes.leavers import Limits
from meshbridge.bridge.kubernetes.sink import KubernetesSink
from meshbridge.schemas import wire
from meshbridge.schemas.istio import (
    Location,
    Resolution,
    ServiceEntry,
    ServicePort,
    WorkloadEntry,
    WorkloadGroup,
    WorkloadSelector,
)
from meshbridge.schemas.registry import labels
from meshbridge.schemas.resource import (
    EMPTY_SNAPSHOT,
    Kind,
    Publication,
    Resource,
    ResourceKey,
    diff,
    resource,
    snapshot,
)

PLURALS = {
    Kind.SERVICE_ENTRY: "serviceentries",
    Kind.WORKLOAD_ENTRY: "workloadentries",
    Kind.WORKLOAD_GROUP: "workloadgroups",
}
MANAGED = labels({"app.kubernetes.io/managed-by": "meshbridge"})
PATIENCE = 15.0
ORDINARY = Limits()

Object = dict[str, Any]


class Counts:
    """Metrics that can be looked at."""

    def __init__(self) -> None:
        self.results: Counter[str] = Counter()

    def written(self, _kind: Kind, result: str, _seconds: float) -> None:
        self.results[result] += 1


class Cluster:
    """One namespace of an API server as other people see and change it, and the sink's settings for it."""

    def __init__(self, kubeconfig: Path, namespace: str = "") -> None:
        self.kubeconfig = kubeconfig
        self.namespace = namespace or f"mesh-{uuid.uuid4().hex[:8]}"
        config = yaml.safe_load(kubeconfig.read_text())
        cluster = config["clusters"][0]["cluster"]
        ca = cluster.get("certificate-authority")
        self._session = aiohttp.ClientSession(
            base_url=cluster["server"],
            headers={"Authorization": f"Bearer {config['users'][0]['user']['token']}"},
            connector=aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=ca) if ca else True),
        )

    async def __aenter__(self) -> Self:
        await self.create_namespace(self.namespace)
        return self

    async def __aexit__(self, *_: object) -> None:
        for plural in (*PLURALS.values(),):
            await self.call("DELETE", self.path(plural))
        await self._session.close()

    def settings(self, **changed: Any) -> KubernetesOutput:
        """Return settings of an output to this namespace."""
        chosen = {
            "enabled": True,
            "kubeconfig": str(self.kubeconfig),
            "group": self.namespace,
            "namespaces": (self.namespace,),
            "lease": {"namespace": self.namespace, "duration": "3s"},
            **changed,
        }
        return KubernetesOutput.model_validate(chosen)

    def path(self, plural: str, name: str = "") -> str:
        """Return the path of a collection or object of this namespace."""
        group = "coordination.k8s.io/v1" if plural == "leases" else "networking.istio.io/v1"
        return f"/apis/{group}/namespaces/{self.namespace}/{plural}{name and '/'}{name}"

    async def call(
        self, method: str, path: str, body: object = None, content: str = "application/json"
    ) -> Any:
        """Send a request as an administrator; return the document, None when it is not, or already, there."""
        data = None if body is None else json.dumps(body)
        async with self._session.request(method, path, data=data, headers={"Content-Type": content}) as found:
            document = await found.json()
            if found.status == 404 or document.get("reason") == "AlreadyExists":
                return None
            assert found.status < 400 or (method, found.status) == ("DELETE", 405), document
            return document

    async def create_namespace(self, name: str) -> None:
        document = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        await self.call("POST", "/api/v1/namespaces", document)

    async def names(self, kind: Kind = Kind.SERVICE_ENTRY) -> list[str]:
        """Return the names of all objects of a kind."""
        found = await self.call("GET", self.path(PLURALS[kind]))
        return sorted(one["metadata"]["name"] for one in found["items"])

    async def get(self, name: str, kind: Kind = Kind.SERVICE_ENTRY) -> Object | None:
        found: Object | None = await self.call("GET", self.path(PLURALS[kind], name))
        return found

    async def edit(self, name: str, change: object, kind: Kind = Kind.SERVICE_ENTRY) -> None:
        """Change an object as `kubectl edit` does."""
        path = self.path(PLURALS[kind], name) + "?fieldManager=kubectl-edit"
        assert await self.call("PATCH", path, change, "application/merge-patch+json")

    async def apply(self, document: Object, manager: str, *, force: bool = False) -> None:
        """Apply an object as another controller does."""
        name, plural = document["metadata"]["name"], PLURALS[Kind(document["kind"])]
        query = f"?fieldManager={manager}&force={'true' if force else 'false'}"
        assert await self.call(
            "PATCH", self.path(plural, name) + query, document, "application/apply-patch+yaml"
        )

    async def create(self, document: Object) -> None:
        """Create an object as `kubectl create` does."""
        assert await self.call("POST", self.path(PLURALS[Kind(document["kind"])]), document)

    async def delete(self, name: str, kind: Kind = Kind.SERVICE_ENTRY) -> None:
        await self.call("DELETE", self.path(PLURALS[kind], name))

    def entry(self, name: str, *addresses: str, host: str = "", **more: Any) -> Resource:
        """Return a ServiceEntry as the pipeline makes them."""
        spec = ServiceEntry(
            hosts=(host or f"{name}.mesh",),
            location=Location.MESH_INTERNAL,
            resolution=Resolution.STATIC,
            ports=(ServicePort(number=80, name="http", protocol="HTTP"),),
            endpoints=tuple(WorkloadEntry(address=one, labels={"app": name}) for one in addresses),
            **more,
        )
        return self._resource(Kind.SERVICE_ENTRY, name, spec)

    def workload(self, name: str, address: str) -> Resource:
        """Return a WorkloadEntry."""
        return self._resource(Kind.WORKLOAD_ENTRY, name, WorkloadEntry(address=address, labels={"app": name}))

    def workload_group(self, name: str) -> Resource:
        """Return a WorkloadGroup."""
        template = WorkloadEntry(ports={"http": 80}, labels={"app": name}, service_account=name)
        return self._resource(Kind.WORKLOAD_GROUP, name, WorkloadGroup(template=template))

    def selecting(self, name: str) -> Resource:
        """Return a ServiceEntry without endpoints of its own."""
        return self.entry(name, workload_selector=WorkloadSelector(labels={"app": name}))

    def foreign(self, name: str, host: str = "", kind: Kind = Kind.SERVICE_ENTRY, **metadata: Any) -> Object:
        """Return somebody else's object."""
        spec: Object = {
            "hosts": [host or f"{name}.elsewhere"],
            "location": "MESH_EXTERNAL",
            "resolution": "STATIC",
            "ports": [{"number": 9, "name": "tcp", "protocol": "TCP"}],
        }
        if kind is Kind.WORKLOAD_ENTRY:
            spec = {"address": "192.0.2.9"}
        return {
            "apiVersion": "networking.istio.io/v1",
            "kind": kind.value,
            "metadata": {"name": name, "namespace": self.namespace, **metadata},
            "spec": spec,
        }

    def _resource(self, kind: Kind, name: str, spec: Any) -> Resource:
        return resource(ResourceKey(kind, self.namespace, name), wire.encode(spec), MANAGED)


class Running:
    """A sink that runs."""

    def __init__(self, sink: KubernetesSink, counts: Counts) -> None:
        self.sink = sink
        self.results = counts.results
        self._snapshot = EMPTY_SNAPSHOT
        self._generation = 0

    async def publish(self, *resources: Resource) -> None:
        """Make these the resources that should be."""
        new = snapshot(resources)
        self._generation += 1
        await self.sink.apply(Publication(self._generation, new, diff(self._snapshot, new), {}))
        self._snapshot = new

    async def settle(self) -> None:
        """Return when everything is as it should be, or known not to be."""

        def is_settled() -> bool:
            status = self.sink.status()
            return status.state in ("leading", "rehearsing") and status.pending == sum(
                count for reason, count in status.troubles.items() if reason in _COMES_AGAIN
            )

        await eventually(is_settled)

    @property
    def troubles(self) -> Mapping[str, int]:
        return self.sink.status().troubles

    def text(self, key: ResourceKey) -> str:
        return self.sink.trouble(key)


_COMES_AGAIN = {"denied", "no-namespace", "no-kind", "refused", "too-large", "waiting"}


async def eventually(condition: Callable[[], Any], within: float = PATIENCE) -> Any:
    """Return the condition's first true value; it may be a coroutine function."""
    async with asyncio.timeout(within):
        while True:
            value = condition()
            value = await value if isinstance(value, Awaitable) else value
            if value:
                return value
            await asyncio.sleep(0.01)


@asynccontextmanager
async def running(
    settings: KubernetesOutput,
    *,
    is_complete: Callable[[], bool] = lambda: True,
    limits: Limits = ORDINARY,
    identity: str = "",
) -> AsyncIterator[Running]:
    """Run a sink for as long as the context lasts."""
    counts = Counts()
    sink = KubernetesSink(settings, counts, is_complete, limits, identity)
    task = asyncio.create_task(sink.run(), name="sink")
    try:
        yield Running(sink, counts)
    finally:
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled(), task.exception()


@pytest.fixture
async def cluster(kubeconfig: Path) -> AsyncIterator[Cluster]:
    """An empty namespace."""
    async with Cluster(kubeconfig) as made:
        yield made


async def test_resources_become_objects(cluster: Cluster) -> None:
    async with running(cluster.settings()) as bridge:
        await bridge.publish(
            cluster.entry("shop", "10.0.0.1", "10.0.0.2"),
            cluster.selecting("vms"),
            cluster.workload("vm-1", "10.0.0.3"),
            cluster.workload_group("vms"),
        )
        await bridge.settle()

    shop = await cluster.get("shop")
    assert shop is not None
    assert shop["spec"] == {
        "hosts": ["shop.mesh"],
        "location": "MESH_INTERNAL",
        "resolution": "STATIC",
        "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
        "endpoints": [
            {"address": "10.0.0.1", "labels": {"app": "shop"}},
            {"address": "10.0.0.2", "labels": {"app": "shop"}},
        ],
    }
    assert shop["metadata"]["labels"]["meshbridge.io/group"] == cluster.namespace
    assert await cluster.names() == ["shop", "vms"]
    assert await cluster.names(Kind.WORKLOAD_ENTRY) == ["vm-1"]
    assert await cluster.names(Kind.WORKLOAD_GROUP) == ["vms"]
    assert bridge.results == {"created": 4}


async def test_applying_twice_is_applying_once(cluster: Cluster) -> None:
    entries = [cluster.entry(name, "10.0.0.1") for name in ("a", "b", "c")]
    async with running(cluster.settings()) as bridge:
        await bridge.publish(*entries)
        await bridge.settle()
        await bridge.publish(*entries)
        await bridge.settle()

    assert bridge.results == {"created": 3}


async def test_restart_with_nothing_changed_writes_nothing(cluster: Cluster) -> None:
    resources = [
        cluster.entry("a", "10.0.0.1"),
        cluster.workload("b", "10.0.0.2"),
        cluster.workload_group("c"),
    ]
    async with running(cluster.settings()) as first:
        await first.publish(*resources)
        await first.settle()

    async with running(cluster.settings()) as second:
        await second.publish(*resources)
        await second.settle()

    assert second.results == {}


async def test_one_change_is_one_write(cluster: Cluster) -> None:
    others = [cluster.entry(f"s{number}", "10.0.0.1") for number in range(10)]
    async with running(cluster.settings()) as bridge:
        await bridge.publish(cluster.entry("shop", "10.0.0.1"), *others)
        await bridge.settle()
        await bridge.publish(cluster.entry("shop", "10.0.0.2"), *others)
        await bridge.settle()

    assert bridge.results == {"created": 11, "updated": 1}
    shop = await cluster.get("shop")
    assert shop is not None
    assert shop["spec"]["endpoints"][0]["address"] == "10.0.0.2"


async def test_removed_resource_goes(cluster: Cluster) -> None:
    async with running(cluster.settings()) as bridge:
        await bridge.publish(cluster.entry("a", "10.0.0.1"), cluster.entry("b", "10.0.0.1"))
        await bridge.settle()
        await bridge.publish(cluster.entry("a", "10.0.0.1"))
        await bridge.settle()

    assert await cluster.names() == ["a"]


async def test_what_an_earlier_run_left_behind_goes(cluster: Cluster) -> None:
    async with running(cluster.settings()) as first:
        await first.publish(cluster.entry("a", "10.0.0.1"), cluster.entry("b", "10.0.0.1"))
        await first.settle()

    async with running(cluster.settings()) as second:
        await second.publish(cluster.entry("a", "10.0.0.1"))

        await eventually(lambda: _are(cluster, "a"))


async def test_nothing_is_pruned_before_every_source_was_read(cluster: Cluster) -> None:
    complete = False
    async with running(cluster.settings()) as first:
        await first.publish(cluster.entry("a", "10.0.0.1"), cluster.entry("b", "10.0.0.1"))
        await first.settle()

    async with running(cluster.settings(), is_complete=lambda: complete) as second:
        await second.publish(cluster.entry("a", "10.0.0.1"))
        await eventually(lambda: second.troubles == {"held": 1})
        await asyncio.sleep(1.2)  # Two looks at whether they may leave.
        assert await cluster.names() == ["a", "b"]

        complete = True
        await eventually(lambda: _are(cluster, "a"))


async def test_too_many_leftovers_are_held_until_released(cluster: Cluster) -> None:
    entries = [cluster.entry(f"s{number}", "10.0.0.1") for number in range(4)]
    async with running(cluster.settings()) as first:
        await first.publish(*entries)
        await first.settle()

    async with running(cluster.settings(), limits=Limits(2, 20.0, 3600.0)) as second:
        await second.publish(entries[0])
        await eventually(lambda: second.troubles == {"held": 3})
        await asyncio.sleep(1.2)  # Two looks at whether they may leave.
        assert len(await cluster.names()) == 4

        assert second.sink.release() == 3
        await eventually(lambda: _are(cluster, "s0"))


async def test_foreign_objects_are_never_touched(cluster: Cluster) -> None:
    await cluster.create(cluster.foreign("theirs"))
    await cluster.create(cluster.foreign("shop"))
    before = [await cluster.get(name) for name in ("theirs", "shop")]
    async with running(cluster.settings()) as bridge:
        await bridge.publish(cluster.entry("shop", "10.0.0.1"))
        await bridge.settle()
        assert "belongs to" in bridge.text(cluster.entry("shop").key)
        await bridge.publish()
        await bridge.settle()

    assert [await cluster.get(name) for name in ("theirs", "shop")] == before
    assert bridge.results == {}


async def test_copy_of_our_object_is_not_ours(cluster: Cluster) -> None:
    async with running(cluster.settings()) as bridge:
        await bridge.publish(cluster.entry("shop", "10.0.0.1"))
        await bridge.settle()
        ours = await cluster.get("shop")
        assert ours is not None
        metadata = ours["metadata"]
        copied = {"labels": metadata["labels"], "annotations": metadata["annotations"]}
        copied_object = cluster.foreign("copy", **copied)
        await cluster.create(copied_object)
        await bridge.publish()
        await eventually(lambda: _are(cluster, "copy"))
        await bridge.settle()
        assert bridge.sink.status().owned == 0
        assert bridge.troubles == {}

    assert await cluster.names() == ["copy"]


async def test_unowned_object_is_adopted_when_that_is_allowed(cluster: Cluster) -> None:
    await cluster.create(cluster.foreign("shop"))
    await cluster.apply(cluster.foreign("claimed"), "argocd")
    async with running(cluster.settings(adopt="unowned")) as bridge:
        await bridge.publish(cluster.entry("shop", "10.0.0.1"), cluster.entry("claimed", "10.0.0.1"))
        await bridge.settle()
        assert "argocd" in bridge.text(cluster.entry("claimed").key)

    shop, claimed = await cluster.get("shop"), await cluster.get("claimed")
    assert shop is not None
    assert claimed is not None
    assert shop["spec"]["hosts"] == ["shop.mesh"]
    assert claimed["spec"]["hosts"] == ["claimed.elsewhere"]
    assert bridge.results == {"adopted": 1}


async def test_adoption_may_be_forced_for_some_hosts(cluster: Cluster) -> None:
    await cluster.apply(cluster.foreign("shop"), "argocd")
    await cluster.apply(cluster.foreign("other"), "argocd")
    adoption = [{"hosts": "shop.*", "adopt": "force"}]
    async with running(cluster.settings(adoption=adoption)) as bridge:
        await bridge.publish(cluster.entry("shop", "10.0.0.1"), cluster.entry("other", "10.0.0.1"))
        await bridge.settle()

    shop, other = await cluster.get("shop"), await cluster.get("other")
    assert shop is not None
    assert other is not None
    assert (shop["spec"]["hosts"], other["spec"]["hosts"]) == (["shop.mesh"], ["other.elsewhere"])


@pytest.mark.parametrize("adopt", ["never", "force"])
async def test_auto_registered_workloads_are_never_touched(cluster: Cluster, adopt: str) -> None:
    marks = {"istio.io/autoRegistrationGroup": "vms", "istio.io/workloadController": "istiod-1"}
    await cluster.create(cluster.foreign("vm-1", kind=Kind.WORKLOAD_ENTRY, annotations=marks))
    before = await cluster.get("vm-1", Kind.WORKLOAD_ENTRY)
    async with running(cluster.settings(adopt=adopt)) as bridge:
        await bridge.publish(cluster.workload("vm-1", "10.0.0.1"))
        await bridge.settle()
        assert "istiod" in bridge.text(cluster.workload("vm-1", "").key)
        await bridge.publish()
        await bridge.settle()

    assert await cluster.get("vm-1", Kind.WORKLOAD_ENTRY) == before


async def test_object_edited_by_hand_is_put_right_and_what_was_added_stays(cluster: Cluster) -> None:
    async with running(cluster.settings()) as bridge:
        await bridge.publish(cluster.entry("shop", "10.0.0.1"))
        await bridge.settle()
        change = {
            "metadata": {"labels": {"team": "blue", "meshbridge.io/group": None}},
            "spec": {"hosts": ["mine.mesh"], "exportTo": ["."]},
        }
        await cluster.edit("shop", change)

        async def is_right() -> bool:
            found = await cluster.get("shop")
            return bool(found and found["spec"]["hosts"] == ["shop.mesh"])

        await eventually(is_right)
        await bridge.settle()

    shop = await cluster.get("shop")
    assert shop is not None
    assert shop["spec"]["exportTo"] == ["."]
    assert shop["metadata"]["labels"]["team"] == "blue"
    assert shop["metadata"]["labels"]["meshbridge.io/group"] == cluster.namespace
    assert bridge.results["repaired"] == 1


async def test_object_edited_while_no_bridge_ran_is_put_right(cluster: Cluster) -> None:
    async with running(cluster.settings()) as first:
        await first.publish(cluster.entry("shop", "10.0.0.1"))
        await first.settle()
    await cluster.edit("shop", {"spec": {"hosts": ["mine.mesh"]}})

    async with running(cluster.settings()) as second:
        await second.publish(cluster.entry("shop", "10.0.0.1"))
        await second.settle()

    shop = await cluster.get("shop")
    assert shop is not None
    assert shop["spec"]["hosts"] == ["shop.mesh"]
    assert second.results == {"repaired": 1}


async def test_object_deleted_by_hand_comes_back(cluster: Cluster) -> None:
    async with running(cluster.settings()) as bridge:
        await bridge.publish(cluster.entry("shop", "10.0.0.1"))
        await bridge.settle()
        await cluster.delete("shop")
        await eventually(lambda: bridge.results["created"] == 2)

    assert await cluster.names() == ["shop"]


async def test_fields_that_another_controller_applies_are_not_fought_for(cluster: Cluster) -> None:
    async with running(cluster.settings()) as bridge:
        await bridge.publish(cluster.entry("shop", "10.0.0.1"))
        await bridge.settle()
        theirs = cluster.foreign("shop", host="theirs.mesh")
        await cluster.apply(theirs, "argocd", force=True)
        await eventually(lambda: "argocd" in bridge.text(cluster.entry("shop").key))

    shop = await cluster.get("shop")
    assert shop is not None
    assert shop["spec"]["hosts"] == ["theirs.mesh"]
    assert bridge.results["repaired"] == 0


async def test_upsert_only_never_deletes(cluster: Cluster) -> None:
    async with running(cluster.settings(policy="upsert-only")) as bridge:
        await bridge.publish(cluster.entry("a", "10.0.0.1"), cluster.entry("b", "10.0.0.1"))
        await bridge.settle()
        await bridge.publish(cluster.entry("a", "10.0.0.2"))
        await bridge.settle()
        assert bridge.troubles == {"kept": 1}

    assert await cluster.names() == ["a", "b"]
    assert bridge.results == {"created": 2, "updated": 1}


async def test_create_only_never_changes(cluster: Cluster) -> None:
    async with running(cluster.settings(policy="create-only")) as bridge:
        await bridge.publish(cluster.entry("a", "10.0.0.1"))
        await bridge.settle()
        await bridge.publish(cluster.entry("a", "10.0.0.2"), cluster.entry("b", "10.0.0.1"))
        await bridge.settle()
        await bridge.publish(cluster.entry("b", "10.0.0.1"))
        await bridge.settle()

    assert await cluster.names() == ["a", "b"]
    assert bridge.results == {"created": 2}


async def test_host_that_others_define_is_reported_until_they_let_go(cluster: Cluster) -> None:
    await cluster.create(cluster.foreign("legacy-shop", host="shop.mesh"))
    async with running(cluster.settings()) as bridge:
        await bridge.publish(cluster.entry("shop", "10.0.0.1"))
        await bridge.settle()
        assert "legacy-shop" in bridge.text(cluster.entry("shop").key)

        await cluster.delete("legacy-shop")
        await eventually(lambda: _are(cluster, "shop"))


async def test_host_that_others_define_later_is_reported_and_ours_kept_up_to_date(cluster: Cluster) -> None:
    key = cluster.entry("shop").key
    async with running(cluster.settings()) as bridge:
        await bridge.publish(cluster.entry("shop", "10.0.0.1"), cluster.entry("other", "10.0.0.1"))
        await bridge.settle()

        await cluster.create(cluster.foreign("legacy-shop", host="shop.mesh"))
        await eventually(lambda: "legacy-shop" in bridge.text(key))
        assert bridge.troubles == {"shared": 1}
        await bridge.publish(cluster.entry("shop", "10.0.0.2"), cluster.entry("other", "10.0.0.1"))
        await eventually(lambda: bridge.results["updated"] == 1)
        await bridge.settle()
        assert bridge.troubles == {"shared": 1}

        await cluster.delete("legacy-shop")
        await eventually(lambda: bridge.troubles == {})
    assert await cluster.names() == ["other", "shop"]


async def test_dry_run_writes_nothing_and_says_what_would_fail(cluster: Cluster) -> None:
    bad = cluster.entry("bad", "10.0.0.1")
    invalid = ServiceEntry(hosts=(), location=Location.MESH_INTERNAL, resolution=Resolution.STATIC)
    refused = resource(bad.key, wire.encode(invalid), MANAGED)
    async with running(cluster.settings(dry_run=True)) as bridge:
        await bridge.publish(cluster.entry("shop", "10.0.0.1"), refused)
        await bridge.settle()
        assert bridge.troubles == {"refused": 1}

    assert await cluster.names() == []
    assert bridge.results == {"created": 1, "refused": 1}
    assert await cluster.call("GET", cluster.path("leases", cluster.namespace)) is None


async def test_missing_namespace_is_reported_or_created(cluster: Cluster) -> None:
    missing = Cluster(cluster.kubeconfig, f"{cluster.namespace}-x")
    entry = missing.entry("shop", "10.0.0.1")
    scope = {"namespaces": (cluster.namespace, missing.namespace)}
    async with running(cluster.settings(**scope)) as bridge:
        await bridge.publish(entry)
        await eventually(lambda: missing.namespace in bridge.text(entry.key))
        assert bridge.troubles == {"no-namespace": 1}

    async with running(cluster.settings(create_namespaces=True, **scope)) as bridge:
        await bridge.publish(entry)
        await eventually(lambda: _are(missing, "shop"))
    await missing.__aexit__()


async def test_resource_of_another_namespace_than_those_configured_is_reported(cluster: Cluster) -> None:
    elsewhere = resource(ResourceKey(Kind.SERVICE_ENTRY, "elsewhere", "shop"), cluster.entry("shop").body)
    async with running(cluster.settings()) as bridge:
        await bridge.publish(elsewhere)
        await bridge.settle()

        assert bridge.troubles == {"outside": 1}


async def test_object_that_is_too_large_hinders_no_other(cluster: Cluster) -> None:
    huge = cluster.entry("huge", "10.0.0.1", subject_alt_names=("spiffe://x/" + "y" * 2_500_000,))
    async with running(cluster.settings()) as bridge:
        await bridge.publish(huge, cluster.entry("shop", "10.0.0.1"))
        await bridge.settle()
        assert bridge.troubles == {"too-large": 1}

    assert await cluster.names() == ["shop"]


async def test_one_of_two_bridges_writes_and_the_other_takes_over(cluster: Cluster) -> None:
    entries = [cluster.entry("shop", "10.0.0.1")]
    async with running(cluster.settings(), identity="second") as second:
        async with running(cluster.settings(), identity="first") as first:
            for bridge in (first, second):
                await bridge.publish(*entries)
            await eventually(lambda: first.results + second.results == {"created": 1})
            states = sorted(bridge.sink.status().state for bridge in (first, second))
            leader = await eventually(lambda: first.sink.status().leader)
            await eventually(lambda: second.sink.status().leader == leader)
            assert states in (["leading", "standby"], ["connecting", "leading"])

        await eventually(lambda: second.sink.status().state == "leading")
        await second.publish(cluster.entry("shop", "10.0.0.2"))
        await second.settle()

    shop = await cluster.get("shop")
    assert shop is not None
    assert shop["spec"]["endpoints"][0]["address"] == "10.0.0.2"


async def _are(cluster: Cluster, *names: str) -> bool:
    return await cluster.names() == sorted(names)


def tests(found: Iterable[tuple[str, object]]) -> dict[str, object]:
    """Return the fixture and the tests among these names, for the module that runs them."""
    return {name: value for name, value in found if name == "cluster" or name.startswith("test_")}


TESTS = tests(list(globals().items()))
