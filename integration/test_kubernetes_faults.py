"""Faults for real: an API server that is away, frozen, without CRDs or rights; bridges that freeze or die."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from integration.bridges import Bridge
from integration.build_kubernetes import binary, crd_file
from integration.kubernetes.contract import CONTRACT
from integration.kubernetes.fixtures import api_server
from integration.kubernetes.process import ApiServer
from integration.processes import eventually, stays
from integration.samples import shop

RBAC = Path(__file__).parent.parent / "deploy" / "rbac.yaml"
running = CONTRACT.running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """An API server that these tests share."""
    with api_server(tmp_path_factory.mktemp("kubernetes")) as started:
        yield started


@pytest.fixture
async def cluster(server: ApiServer) -> AsyncIterator[Any]:
    """An empty namespace."""
    async with CONTRACT.Cluster(server.kubeconfig) as made:
        yield made


async def test_api_server_that_was_away_gets_what_it_missed(cluster: Any, server: ApiServer) -> None:
    async with running(cluster.settings(request_timeout="1s")) as bridge:
        await bridge.publish(cluster.entry("a", "10.0.0.1"), cluster.entry("b", "10.0.0.1"))
        await bridge.settle()
        await server.stop()
        await bridge.publish(cluster.entry("a", "10.0.0.2"), cluster.entry("c", "10.0.0.1"))
        await asyncio.sleep(3.0)  # Longer than the lease can be held without it.
        assert not bridge.sink.may_write()

        await server.start()
        await eventually(lambda: _are(cluster, "a", "c"))
        await bridge.settle()

    assert (await cluster.get("a"))["spec"]["endpoints"][0]["address"] == "10.0.0.2"


async def test_frozen_api_server_ends_leading_in_time(cluster: Any, server: ApiServer) -> None:
    async with running(cluster.settings(request_timeout="1s")) as bridge:
        await bridge.publish(cluster.entry("a", "10.0.0.1"))
        await bridge.settle()
        server.pause()
        try:
            await eventually(lambda: _holds(not bridge.sink.may_write()), within=2.5)
            await bridge.publish(cluster.entry("a", "10.0.0.2"))
        finally:
            server.resume()

        await eventually(lambda: _has(cluster, "a", "10.0.0.2"))


async def test_bridge_with_exactly_the_rights_of_the_manifest_does_everything(
    cluster: Any, server: ApiServer
) -> None:
    await cluster.create_namespace("meshbridge")
    await _grant(server, yaml.safe_load_all(RBAC.read_text()))
    kubeconfig = str(server.user("bridge-token"))
    settings = cluster.settings(
        kubeconfig=kubeconfig,
        group="meshbridge",
        namespaces=(),
        lease={"namespace": "meshbridge", "duration": "3s"},
        create_namespaces=True,
    )
    other = CONTRACT.Cluster(server.kubeconfig, f"{cluster.namespace}-new")
    async with running(settings) as bridge:
        await bridge.publish(
            cluster.entry("a", "10.0.0.1"), cluster.workload("w", "10.0.0.1"), other.entry("b")
        )
        await bridge.settle()
        await bridge.publish(cluster.entry("a", "10.0.0.2"), cluster.workload_group("g"))
        await bridge.settle()
        assert bridge.troubles == {}

    assert bridge.results == {"created": 4, "updated": 1, "deleted": 2, "no-namespace": 1}
    async with server.session("bridge-token") as http:
        for path in (
            "/api/v1/secrets",
            "/api/v1/namespaces",
            "/api/v1/pods",
            cluster.path("serviceentries", "a"),
        ):
            async with http.get(path) as answer:
                assert answer.status == 403, path
    await other.__aexit__()
    for kind in ("clusterrolebindings", "clusterroles"):
        for name in ("meshbridge", "meshbridge-namespaces"):
            await cluster.call("DELETE", f"/apis/rbac.authorization.k8s.io/v1/{kind}/{name}")


async def test_rights_in_one_namespace_are_enough_for_that_one(cluster: Any, server: ApiServer) -> None:
    documents = [one for one in yaml.safe_load_all(RBAC.read_text()) if one["kind"] != "ClusterRoleBinding"]
    await cluster.create_namespace("meshbridge")
    await _grant(server, documents)
    await _grant(server, [_binding(cluster.namespace)])
    denied = CONTRACT.Cluster(server.kubeconfig, f"{cluster.namespace}-denied")
    settings = cluster.settings(
        kubeconfig=str(server.user("bridge-token")),
        group="meshbridge",
        namespaces=(cluster.namespace, denied.namespace),
        lease={"namespace": "meshbridge", "duration": "3s"},
    )
    async with denied, running(settings) as bridge:
        await bridge.publish(cluster.entry("a", "10.0.0.1"), denied.entry("b", "10.0.0.1"))
        await eventually(lambda: _are(cluster, "a"))
        await eventually(lambda: _holds("forbidden" in bridge.text(denied.entry("b").key)))
        assert "forbidden" in bridge.sink.status().error

        await _grant(server, [_binding(denied.namespace)])
        await eventually(lambda: _are(denied, "b"))
        await eventually(lambda: _holds(bridge.troubles == {}))


@pytest.mark.usefixtures("server")
async def test_field_that_an_older_crd_lacks_is_reported_and_hinders_no_other(tmp_path: Path) -> None:
    documents = list(yaml.safe_load_all(crd_file().read_text()))
    for one in documents:
        for version in one["spec"]["versions"]:
            spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
            if spec["properties"].pop("workloadSelector", None):
                spec.pop("x-kubernetes-validations", None)  # They name it.
    older = tmp_path / "older.yaml"
    older.write_text(yaml.safe_dump_all(documents))
    async with ApiServer(binary(), older, tmp_path) as server:
        cluster = CONTRACT.Cluster(server.kubeconfig, "default")
        async with cluster, running(cluster.settings()) as bridge:
            await bridge.publish(cluster.selecting("new"), cluster.entry("a", "10.0.0.1"))
            await bridge.settle()

            assert bridge.troubles == {"refused": 1}
            assert ".spec.workloadSelector" in bridge.text(cluster.entry("new").key)
            assert await cluster.names() == ["a"]


@pytest.mark.usefixtures("server")
async def test_missing_crds_are_reported_until_they_are_installed(tmp_path: Path) -> None:
    async with ApiServer(binary(), None, tmp_path) as server:
        cluster = CONTRACT.Cluster(server.kubeconfig)
        await cluster.create_namespace(cluster.namespace)
        async with running(cluster.settings()) as bridge:
            await bridge.publish(cluster.entry("a", "10.0.0.1"))
            await eventually(lambda: _holds("CRDs" in bridge.sink.status().error))

            await server.install(crd_file().read_text())
            await eventually(lambda: _are(cluster, "a"))
        await cluster.__aexit__()


async def test_frozen_leader_that_wakes_after_its_lease_writes_nothing(
    cluster: Any, server: ApiServer, tmp_path: Path
) -> None:
    first, second = (_bridge(tmp_path / name, cluster) for name in ("first", "second"))
    first.inventory.write(shop("10.0.0.1"))
    second.inventory.write(shop("10.0.0.2"))
    async with first:
        await eventually(lambda: _has(cluster, "shop.vms.mesh", "10.0.0.1"))
        async with second:
            await eventually(lambda: _state(second, "standby"))
            first_process = first._process
            os.kill(first_process.pid, signal.SIGSTOP)
            try:
                await eventually(lambda: _has(cluster, "shop.vms.mesh", "10.0.0.2"))
                first.inventory.write(shop("10.0.0.9"))  # It wakes with something to write.
            finally:
                os.kill(first_process.pid, signal.SIGCONT)

            await eventually(lambda: _state(first, "standby"))
            assert await stays(lambda: _has(cluster, "shop.vms.mesh", "10.0.0.2"), seconds=1.5)


async def test_bridge_that_was_killed_while_it_wrote_finishes_later(
    cluster: Any, server: ApiServer, tmp_path: Path
) -> None:
    await cluster.create(cluster.foreign("theirs"))
    theirs = await cluster.get("theirs")
    count = 400
    bridge = _bridge(tmp_path / "bridge", cluster)
    bridge.inventory.write_text(json.dumps({"services": [_service(n) for n in range(count)]}))
    async with bridge:
        await eventually(lambda: _more_than(cluster, 30))
        await bridge.kill()
        written = len(await cluster.names())
        bridge.inventory.write_text(json.dumps({"services": [_service(n) for n in range(10, count)]}))
        await bridge.start()

        wanted = sorted(f"s{number}.vms.mesh" for number in range(10, count))
        await eventually(lambda: _are(cluster, "theirs", *wanted), within=60.0)

    assert written < count, "it was done before it was killed: this test says nothing"
    assert await cluster.get("theirs") == theirs


def _bridge(folder: Path, cluster: Any) -> Bridge:
    folder.mkdir()
    outputs, namespace = _outputs(cluster), cluster.namespace
    return Bridge(folder, outputs=outputs, defaults={"namespace": namespace})


def _outputs(cluster: Any) -> Mapping[str, object]:
    kubernetes = {
        "enabled": True,
        "kubeconfig": str(cluster.kubeconfig),
        "group": cluster.namespace,
        "namespaces": [cluster.namespace],
        "lease": {"namespace": cluster.namespace, "duration": "3s"},
    }
    return {"mcp": {"enabled": False}, "kubernetes": kubernetes}


def _service(number: int) -> Mapping[str, object]:
    return {
        "name": f"s{number}",
        "port": 80,
        "instances": [{"address": f"10.1.{number // 250}.{number % 250 + 1}"}],
    }


def _binding(namespace: str) -> Mapping[str, object]:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "meshbridge-here", "namespace": namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "meshbridge"},
        "subjects": [{"kind": "ServiceAccount", "name": "meshbridge", "namespace": "meshbridge"}],
    }


async def _grant(server: ApiServer, documents: Any) -> None:
    async with server.session() as http:
        for one in documents:
            meta = one["metadata"]
            inside = f"namespaces/{meta['namespace']}/" if "namespace" in meta else ""
            version = one["apiVersion"]
            base = "/api/v1" if version == "v1" else f"/apis/{version}"
            url = f"{base}/{inside}{one['kind'].lower()}s/{meta['name']}?fieldManager=tests&force=true"
            headers = {"Content-Type": "application/apply-patch+yaml"}
            async with http.patch(url, data=json.dumps(one), headers=headers) as answer:
                assert answer.status in (200, 201), await answer.text()


async def _are(cluster: Any, *names: str) -> bool:
    return bool(await cluster.names() == sorted(names))


async def _more_than(cluster: Any, count: int) -> bool:
    return len(await cluster.names()) > count


async def _has(cluster: Any, name: str, address: str) -> bool:
    found = await cluster.get(name)
    return bool(found and found["spec"]["endpoints"][0]["address"] == address)


async def _holds(value: object) -> bool:
    return bool(value)


async def _state(bridge: Bridge, state: str) -> bool:
    return any(found["state"] == state for found in await bridge.get("outputs"))
