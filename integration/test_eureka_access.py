"""The Eureka adapter against real servers: TLS, credentials, self-preservation, the registering tool."""

import asyncio
import base64
import ssl
import sys
from pathlib import Path

import pytest
import trustme
from py_eureka_client.eureka_basic import LeaseInfo

from integration.eureka import real
from integration.eureka.process import QUICK, Clients, EurekaServer, Gate
from integration.eureka.real import Seen, watching
from meshbridge.adapters.eureka import leases
from meshbridge.adapters.eureka.settings import EurekaConfig
from meshbridge.schemas.errors import RegistryDenied, RegistryUnavailable
from meshbridge.schemas.registry import SourceEvent, SourceState

A, B = "192.0.2.1", "192.0.2.2"

globals().update(real.FIXTURES)


def tls_settings(folder: Path, authority: trustme.CA) -> list[str]:
    """Return what makes Spring's server speak TLS and ask for a certificate, and write the files."""
    made = authority.issue_cert("127.0.0.1")
    (folder / "server.pem").write_bytes(b"".join(part.bytes() for part in made.cert_chain_pems))
    made.private_key_pem.write_to_path(str(folder / "server.key"))
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    return [
        f"--server.ssl.certificate={folder / 'server.pem'}",
        f"--server.ssl.certificate-private-key={folder / 'server.key'}",
        f"--server.ssl.trust-certificate={folder / 'ca.pem'}",
        "--server.ssl.client-auth=need",
    ]


async def test_mutual_tls_and_disabled_deltas(eureka_jar: Path, tmp_path: Path, eventually) -> None:
    authority = trustme.CA()
    settings = tls_settings(tmp_path, authority)
    authority.issue_cert("meshbridge.corp").private_key_and_cert_chain_pem.write_to_path(
        str(tmp_path / "own.pem")
    )
    context = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    context.load_cert_chain(str(tmp_path / "own.pem"))
    tls = {"ca_file": str(tmp_path / "ca.pem"), "cert_file": str(tmp_path / "own.pem")}
    server = EurekaServer(
        eureka_jar, tmp_path, *QUICK, "--eureka.server.disable-delta=true", *settings, tls=context
    )
    with server:
        clients = Clients(server.url)
        await clients.register_plain("shop", A, context)
        async with watching(server.url, tls=tls) as seen:
            await eventually(lambda: seen.addresses("shop") == {A})
            await clients.register_plain("shop", B, context)
            await eventually(lambda: seen.addresses("shop") == {A, B})
            await eventually(lambda: seen.details["strategy"] == "full")

        for wrong in ({"ca_file": tls["ca_file"]}, {}):
            adapter = Seen(EurekaConfig(name="spring", urls=[server.url], tls=wrong)).adapter
            with pytest.raises(RegistryUnavailable):
                await adapter.run(_ignore)


@pytest.mark.parametrize("kind", ["basic", "bearer"])
async def test_credentials_at_a_proxy_before_a_real_server(
    server, clients, tmp_path: Path, eventually, kind: str
) -> None:
    (tmp_path / "secret").write_text("s3cret\n")
    pair = base64.b64encode(b"mesh:s3cret").decode()
    header = f"Basic {pair}" if kind == "basic" else "Bearer s3cret"
    path = str(tmp_path / "secret")
    own = {"username": "mesh", "password_file": path} if kind == "basic" else {"token_file": path}
    await clients.register("shop", A)

    async with Gate(server.url) as gate:
        gate.authorization = header
        async with watching(gate.url, **own) as seen:
            await eventually(lambda: seen.addresses("shop") == {A})
            (tmp_path / "secret").write_text("expired")
            await eventually(lambda: seen.state is SourceState.DENIED)
            (tmp_path / "secret").write_text("s3cret")
            await eventually(lambda: seen.state is SourceState.SYNCED)
        assert seen.fewest("shop") == 1
        with pytest.raises(RegistryDenied):
            await Seen(EurekaConfig(name="spring", urls=[gate.url])).adapter.run(_ignore)


async def test_self_preservation_of_a_real_server_is_noticed(
    eureka_jar: Path, tmp_path: Path, eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "GRACE", 1_000)  # It takes the place of minutes of waiting.
    settings = [setting for setting in QUICK if "self-preservation" not in setting]
    with EurekaServer(eureka_jar, tmp_path, *settings) as server:
        clients = Clients(server.url)
        await clients.register("shop", A)
        await clients.register("shop", B, leaseInfo=LeaseInfo(durationInSecs=1))
        async with watching(server.url, full_interval="500ms") as seen:
            await eventually(lambda: seen.addresses("shop") == {A, B})
            await eventually(lambda: seen.details["self_preservation"].startswith("suspected: 1 of 2"))

            assert seen.watch.report.suspect
            assert seen.addresses("shop") == {A, B}, "the server does not evict"


async def test_instance_that_the_tool_registers_comes_and_goes(server, clients, eventually) -> None:
    tool = [Path(sys.executable).with_name("meshbridge"), "tools", "register-eureka", "shop", A, "8080"]
    async with watching(server.url) as seen:
        await eventually(lambda: seen.watch.is_synced)
        process = await asyncio.create_subprocess_exec(
            *tool, "-s", server.url, "--zone", "eu-1b", "--heartbeat", "0.2"
        )
        try:
            await eventually(lambda: seen.addresses("shop") == {A})
            assert seen.groups["shop"].instances[0].locality == "/eu-1b"
            await asyncio.sleep(1.0)
            assert process.returncode is None, "heartbeats are taken"
        finally:
            process.terminate()
            code = await asyncio.wait_for(process.wait(), 10.0)
        await eventually(lambda: seen.addresses("shop") == set())
        assert code == 0


async def _ignore(event: SourceEvent) -> None:
    """Take an event and forget it."""
