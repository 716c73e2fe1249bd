"""A whole bridge that writes to an API server, alone and beside MCP."""

import importlib.util
import json
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import aiohttp
import pytest

pytest.importorskip("kubernetes")


def _load(name: str, path: Path) -> ModuleType:
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


FAKE = _load("kubernetes_fake_api", Path(__file__).parents[1] / "kubernetes" / "fake_api.py")


@pytest.fixture
async def fake(tmp_path: Path) -> AsyncIterator[Any]:
    """An API server with one namespace."""
    made = FAKE.FakeApi()
    async with FAKE.serving(made) as text:
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_text(text)
        server = json.loads(text)["clusters"][0]["cluster"]["server"]
        async with aiohttp.ClientSession(base_url=server) as http:
            for name in ("default", "meshbridge"):
                document = {"kind": "Namespace", "metadata": {"name": name}}
                async with http.post("/api/v1/namespaces", json=document) as answer:
                    assert answer.status == 201
        yield made


def outputs(site: Any, **mcp: object) -> Mapping[str, Any]:
    kubernetes = {"enabled": True, "kubeconfig": str(site.folder / "kubeconfig"), "lease": {"duration": "3s"}}
    return {
        "mcp": {"listen": "127.0.0.1:0", "min_push_interval": "1ms", **mcp},
        "kubernetes": kubernetes,
    }


def entries(fake: Any) -> list[str]:
    return sorted(name for plural, _, name in fake.objects if plural == "serviceentries")


async def test_resources_are_written_and_shown(site: Any, fake: Any, eventually: Any) -> None:
    site.inventory("vms.yaml", {"shop": ["10.0.0.1"], "pay": ["10.0.0.2"]})
    site.configure(site.source("vms", "vms.yaml"), outputs=outputs(site, enabled=False))
    async with site.running() as bridge:
        await eventually(lambda: entries(fake) == ["pay.vms.mesh", "shop.vms.mesh"])
        await eventually(lambda: bridge.view.outputs()[0].pending == 0)
        async with (
            aiohttp.ClientSession(base_url=f"http://{bridge.admin_address}") as http,
            http.get("/api/v1/outputs?name=kubernetes") as answer,
        ):
            shown = (await answer.json())["items"]
        assert [(one["state"], one["owned"], one["troubles"]) for one in shown] == [("leading", 2, {})]

        site.inventory("vms.yaml", {"shop": ["10.0.0.1"]})
        await eventually(lambda: entries(fake) == ["shop.vms.mesh"])


async def test_each_resource_goes_to_the_output_that_its_rule_names(
    site: Any, fake: Any, eventually: Any
) -> None:
    site.inventory("vms.yaml", {"shop": ["10.0.0.1"], "pay": ["10.0.0.2"]})
    rules = [{"match": {"service": "pay"}, "set": {"output": "kubernetes"}}]
    parts = {"outputs": outputs(site), "defaults": {"output": "mcp"}}
    site.configure(site.source("vms", "vms.yaml"), rules=rules, **parts)
    async with site.connected() as (bridge, client):
        await eventually(lambda: site.held(client) == {"shop.vms.mesh": ["10.0.0.1"]})
        await eventually(lambda: entries(fake) == ["pay.vms.mesh"])

        site.configure(site.source("vms", "vms.yaml"), rules=[], **parts)
        bridge.reloading.request()

        both = {"shop.vms.mesh": ["10.0.0.1"], "pay.vms.mesh": ["10.0.0.2"]}
        await eventually(lambda: site.held(client) == both)
        await eventually(lambda: entries(fake) == [])


async def test_conflict_is_told_where_people_look(site: Any, fake: Any, eventually: Any) -> None:
    site.inventory("vms.yaml", {"shop": ["10.0.0.1"]})
    site.configure(site.source("vms", "vms.yaml"), outputs=outputs(site, enabled=False))
    server = json.loads((site.folder / "kubeconfig").read_text())["clusters"][0]["cluster"]["server"]
    theirs = {"metadata": {"name": "shop.vms.mesh", "namespace": "meshbridge"}, "spec": {"hosts": ["x"]}}
    path = "/apis/networking.istio.io/v1/namespaces/meshbridge/serviceentries"
    async with aiohttp.ClientSession(base_url=server) as http, http.post(path, json=theirs) as answer:
        assert answer.status == 201
    async with site.running() as bridge:
        await eventually(lambda: bridge.view.outputs() and bridge.view.outputs()[0].troubles)

        assert bridge.view.outputs()[0].troubles == {"conflict": 1}
        (service,) = bridge.view.services()
        assert any("belongs to nobody" in problem for problem in service.problems)
        steps = [step for one in bridge.view.explain("shop.vms.mesh") for step in one.steps]
        assert any(step.stage == "output" and "conflict" in step.text for step in steps)
        assert bridge.view.release("kubernetes") == 0
