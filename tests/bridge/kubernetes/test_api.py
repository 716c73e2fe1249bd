"""Credentials, proxies and connections of the client."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme
from aiohttp import web

pytest.importorskip("kubernetes")
from kubernetes.aio.config import incluster_config

from meshbridge.bridge.config.kubernetes import KubernetesOutput
from meshbridge.bridge.kubernetes import api as module
from meshbridge.bridge.kubernetes.answers import Outcome, Result
from meshbridge.bridge.kubernetes.api import ApiServer
from meshbridge.schemas.errors import SinkError

PATH = "/apis/networking.istio.io/v1/serviceentries"


def settings(kubeconfig: Path | str) -> KubernetesOutput:
    return KubernetesOutput.model_validate({"enabled": True, "kubeconfig": str(kubeconfig)})


async def read(api: ApiServer) -> list[bytes]:
    """Return the lines of a watch."""
    async with api.stream(PATH, {}, 5.0) as lines:
        assert not isinstance(lines, Outcome)
        return [line async for line in lines]


def replace_token(kubeconfig: Path, token: str) -> None:
    document = json.loads(kubeconfig.read_text())
    document["users"][0]["user"]["token"] = token
    kubeconfig.write_text(json.dumps(document))


def spoil(kubeconfig: Path) -> None:
    kubeconfig.write_text("{")


def server_of(kubeconfig: Path) -> str:
    return json.loads(kubeconfig.read_text())["clusters"][0]["cluster"]["server"]


def only(token: str) -> Any:
    """Return a fault: other tokens are not accepted."""

    async def fault(request: web.Request) -> web.Response | None:
        if request.headers.get("Authorization") == f"Bearer {token}":
            return None
        return web.json_response({"message": "Unauthorized"}, status=401)

    return fault


def write_kubeconfig(path: Path, cluster: dict[str, Any]) -> None:
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "c", "user": {"token": "t"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c", "namespace": "n"}}],
    }
    path.write_text(json.dumps(document))


@asynccontextmanager
async def tls_server(authority: trustme.CA, name: str) -> AsyncIterator[int]:
    """Serve what a request's Authorization says, with a certificate for this name; gives the port."""

    async def handle(request: web.Request) -> web.Response:
        return web.Response(text=request.headers["Authorization"])

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    runner = web.ServerRunner(web.Server(handle))
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def test_replaced_credentials_are_read_again_when_the_old_ones_are_refused(
    fake: Any, kubeconfig: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_RELOAD", -1.0)
    fake.fault = only("newer")
    async with ApiServer(settings(kubeconfig)) as api:
        assert (await api.request("GET", PATH)).result is Result.DENIED
        replace_token(kubeconfig, "newer")
        assert (await api.request("GET", PATH)).result is Result.DENIED

        assert (await api.request("GET", PATH)).result is Result.DONE


async def test_watch_that_is_refused_reads_the_credentials_again_too(
    fake: Any, kubeconfig: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_RELOAD", -1.0)
    fake.fault = only("newer")
    async with ApiServer(settings(kubeconfig)) as api:
        replace_token(kubeconfig, "newer")
        async with api.stream(PATH, {"watch": "true", "resourceVersion": "1"}, 5.0) as lines:
            assert isinstance(lines, Outcome)
            assert lines.result is Result.DENIED

        assert (await api.request("GET", PATH)).result is Result.DONE


async def test_credentials_are_not_read_again_with_every_refusal(fake: Any, kubeconfig: Path) -> None:
    fake.fault = only("newer")
    async with ApiServer(settings(kubeconfig)) as api:
        replace_token(kubeconfig, "newer")
        for _ in range(3):
            assert (await api.request("GET", PATH)).result is Result.DENIED


async def test_credentials_that_can_not_be_read_again_leave_the_old_ones(
    fake: Any, kubeconfig: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_RELOAD", -1.0)
    fake.fault = only("newer")
    async with ApiServer(settings(kubeconfig)) as api:
        spoil(kubeconfig)
        assert (await api.request("GET", PATH)).result is Result.DENIED

        fake.fault = None
        assert (await api.request("GET", PATH)).result is Result.DONE


async def test_proxy_of_the_environment_is_used_unless_it_says_not_to(
    fake: Any, kubeconfig: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = server_of(kubeconfig)
    write_kubeconfig(tmp_path / "proxied", {"server": "http://api.invalid:6443"})
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", proxy)

    async with ApiServer(settings(tmp_path / "proxied")) as api:
        assert (await api.request("GET", PATH)).result is Result.DONE
        assert fake.requests == [("GET", PATH)]

    monkeypatch.setenv("no_proxy", "api.invalid")
    async with ApiServer(settings(tmp_path / "proxied")) as api:
        assert (await api.request("GET", PATH)).result is Result.UNAVAILABLE


async def test_tls_name_of_the_kubeconfig_is_the_one_that_is_checked(tmp_path: Path) -> None:
    authority = trustme.CA()
    async with tls_server(authority, "api.internal") as port:
        authority.cert_pem.write_to_path(tmp_path / "ca.crt")
        cluster = {
            "server": f"https://127.0.0.1:{port}",
            "certificate-authority": str(tmp_path / "ca.crt"),
        }
        write_kubeconfig(tmp_path / "named", {**cluster, "tls-server-name": "api.internal"})
        write_kubeconfig(tmp_path / "plain", cluster)

        async with ApiServer(settings(tmp_path / "named")) as api:
            assert (await api.request("GET", PATH)).body == b"Bearer t"
        async with ApiServer(settings(tmp_path / "plain")) as api:
            assert "Certificate" in (await api.request("GET", PATH)).text


async def test_pod_uses_its_service_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    async with tls_server(authority, "127.0.0.1") as port:
        authority.cert_pem.write_to_path(tmp_path / "ca.crt")
        (tmp_path / "token").write_text("of-the-pod")
        (tmp_path / "namespace").write_text("meshbridge\n")
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(port))
        monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
        monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(tmp_path / "ca.crt"))
        monkeypatch.setattr(module, "_POD", tmp_path)

        async with ApiServer(settings("")) as api:
            assert api.namespace == "meshbridge"
            assert (await api.request("GET", PATH)).body == b"bearer of-the-pod"


async def test_outside_of_a_pod_a_kubeconfig_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)

    with pytest.raises(SinkError, match="can't use its credentials: Service host/port"):
        await ApiServer(settings("")).__aenter__()


async def test_server_that_does_not_answer_is_unavailable(fake: Any, kubeconfig: Path) -> None:
    never = asyncio.Event()

    async def silent(_: web.Request) -> web.Response | None:
        await never.wait()
        return None

    fake.fault = silent
    async with ApiServer(settings(kubeconfig)) as api:
        outcome = await api.request("GET", PATH, within=0.05)
    never.set()

    assert outcome == Outcome(Result.UNAVAILABLE, "no answer within 0.05 s")


async def test_requests_outside_of_its_context_are_a_bug(kubeconfig: Path) -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await ApiServer(settings(kubeconfig)).request("GET", PATH)


async def test_watch_event_without_end_is_not_collected_for_ever(
    fake: Any, kubeconfig: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MAX_LINE", 1000)

    async def endless(_: web.Request) -> web.Response:
        return web.Response(body=b"short\n" + b"x" * 2000)

    fake.fault = endless
    async with ApiServer(settings(kubeconfig)) as api:
        with pytest.raises(aiohttp.ClientPayloadError, match="an event of more than 1000 bytes"):
            await read(api)
