"""A real istiod with a bridge as its source: it becomes ready, holds what is served, and follows changes."""

import asyncio
import shutil
import time
from pathlib import Path

import pytest

from integration.bridges import Bridge
from integration.conftest import MakeBridge, MakeIstiod, Note
from integration.istiod import configz
from integration.istiod.process import Istiod
from integration.processes import stays
from integration.samples import (
    PAYMENTS,
    PAYMENTS_ENDPOINTS,
    PAYMENTS_ENTRY,
    PORT,
    SHOP,
    on_port,
    shop,
)

ROUNDS = 10


async def test_istiod_holds_exactly_what_the_bridge_says_it_serves(bridge: Bridge, istiod: Istiod) -> None:
    objects = await istiod.configz()

    entries = configz.held(objects)
    assert entries["ServiceEntry meshbridge/payments.vms.mesh"]["spec"] == PAYMENTS_ENTRY
    assert entries == configz.served(await bridge.objects("serviceentries"))
    assert configz.creation_times(objects) == {configz.CREATED}
    async with istiod.endpoints("payments.vms.mesh", 9090) as proxy:
        assert (await proxy.wait_for(lambda update: bool(update.endpoints))).endpoints == PAYMENTS_ENDPOINTS


async def test_istiod_holds_workload_entries(make_bridge: MakeBridge, make_istiod: MakeIstiod) -> None:
    bridge = make_bridge(defaults={"endpoints": "workload_entries"})
    bridge.inventory.write(shop("10.0.0.1", "10.0.0.2"), PAYMENTS)
    async with bridge, make_istiod(bridge.mcp_address) as istiod:
        await istiod.wait_ready()

        entries = configz.held(await istiod.configz())

        workloads = await bridge.objects("workloadentries")
        assert len(workloads) == 4
        assert entries == configz.served([*await bridge.objects("serviceentries"), *workloads])
        async with istiod.endpoints("payments.vms.mesh", 9090) as proxy:
            await proxy.wait_for(lambda update: update.endpoints == PAYMENTS_ENDPOINTS)


async def test_istiod_follows_the_inventory(bridge: Bridge, istiod: Istiod, figure: Note) -> None:
    known = {False: ["10.0.0.1", "10.0.0.2"], True: ["10.0.0.1", "10.0.0.2", "10.0.0.3"]}
    took = []
    async with istiod.endpoints(SHOP, PORT) as proxy:
        await proxy.wait_for_addresses(on_port(*known[False]))

        for round_ in range(ROUNDS):
            addresses = known[round_ % 2 == 0]
            written = time.monotonic()
            bridge.inventory.write(shop(*addresses), PAYMENTS)
            update = await proxy.wait_for_addresses(on_port(*addresses))
            took.append(update.at - written)

        assert len(proxy.updates) == 1 + ROUNDS
    took.sort()
    figure(
        f"inventory file written to proxy told, {ROUNDS} changes",
        f"median {took[ROUNDS // 2] * 1000:.0f} ms, longest {took[-1] * 1000:.0f} ms",
    )


async def test_service_taken_out_of_the_inventory_leaves_istiod(bridge: Bridge, istiod: Istiod) -> None:
    async with istiod.endpoints(SHOP, PORT) as proxy:
        await proxy.wait_for_addresses(on_port("10.0.0.1", "10.0.0.2"))

        bridge.inventory.write(PAYMENTS)

        await proxy.wait_for_addresses([])
    assert list(configz.held(await istiod.configz())) == ["ServiceEntry meshbridge/payments.vms.mesh"]


async def test_endpoint_whose_probe_fails_leaves_and_comes_back(
    make_bridge: MakeBridge, make_istiod: MakeIstiod, figure: Note
) -> None:
    bridge = make_bridge(probe={"tcp": {}, "interval": "200ms", "timeout": "200ms", "fall": 2})
    vms = [await _listen(0) for _ in range(2)]
    ports = [vm.sockets[0].getsockname()[1] for vm in vms]
    instances = [{"address": "127.0.0.1", "port": port} for port in ports]
    bridge.inventory.write({"name": "shop", "protocol": "http", "instances": instances})
    both = [f"127.0.0.1:{port}" for port in ports]
    async with bridge, make_istiod(bridge.mcp_address) as istiod:
        await istiod.wait_ready()
        entry = (await bridge.objects("serviceentries"))[0]["spec"]
        async with istiod.endpoints(SHOP, entry["ports"][0]["number"]) as proxy:
            await proxy.wait_for_addresses(both)

            stopped = time.monotonic()
            vms[0].close()
            update = await proxy.wait_for_addresses(both[1:])
            figure("VM stopped to proxy told, probes 200 ms apart, 2 to fail", f"{update.at - stopped:.2f} s")

            vms[0] = await _listen(ports[0])
            await proxy.wait_for_addresses(both)
    for vm in vms:
        vm.close()


async def test_istiod_waits_for_a_source_that_was_never_read(
    make_bridge: MakeBridge, make_istiod: MakeIstiod, figure: Note
) -> None:
    async with make_bridge() as bridge, make_istiod(bridge.mcp_address) as istiod:
        await bridge.wait_for_client(acknowledged=False)

        async def nobody_is_ready() -> bool:
            return not await bridge.is_ready() and not await istiod.is_ready()

        assert await stays(nobody_is_ready, seconds=3.0)

        written = time.monotonic()
        bridge.inventory.write(shop("10.0.0.1"))
        await istiod.wait_ready()
        figure("missing inventory file written to istiod ready", f"{time.monotonic() - written:.2f} s")
        assert list(configz.held(await istiod.configz())) == [f"ServiceEntry meshbridge/{SHOP}"]


async def test_istiod_takes_configuration_over_tls(
    make_bridge: MakeBridge, make_istiod: MakeIstiod, tmp_path: Path
) -> None:
    await _make_certificates(tmp_path)
    tls = {"cert_file": str(tmp_path / "bridge.crt"), "key_file": str(tmp_path / "bridge.key")}
    bridge = make_bridge(mcp={"tls": tls})
    bridge.inventory.write(shop("10.0.0.1"))
    async with bridge, make_istiod(bridge.mcp_address, ca_pem=(tmp_path / "ca.crt").read_text()) as istiod:
        await istiod.wait_ready()

        assert list(configz.held(await istiod.configz())) == [f"ServiceEntry meshbridge/{SHOP}"]


async def _listen(port: int) -> asyncio.Server:
    """Return a VM that accepts connections, and hangs up."""
    return await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", port, reuse_address=True)


async def _make_certificates(folder: Path) -> None:
    """Make an authority and, signed by it, a certificate of the bridge."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("makes certificates with openssl")
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
    authority = ("-x509", *key, "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.crt")
    signed = ("-x509", *key, "-subj", "/CN=bridge", "-CA", "ca.crt", "-CAkey", "ca.key")
    names = ("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "bridge.key", "-out", "bridge.crt")
    for words in (authority, (*signed, *names)):
        process = await asyncio.create_subprocess_exec(openssl, "req", *words, cwd=folder)
        assert await process.wait() == 0
