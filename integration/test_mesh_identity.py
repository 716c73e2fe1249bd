"""Identities in the mesh: who the registry says a server is, clients demand to see."""

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from integration.conftest import Note, StartBackend
from integration.mesh import fetch_envoy, policies
from integration.mesh.certificates import Authority, Identity, spiffe
from integration.mesh.clients import Call, Client
from integration.mesh.envoy import Envoy
from integration.mesh.kinds import EVERY_KIND
from integration.mesh.mesh import Mesh
from integration.mesh.registries import Instance

Takeover = tuple[Instance, Instance]

CLIENT = spiffe("default", "client")
CALLS = 100
"""To each of the strangers, without a proxy."""
ENVOY_CALLS = 10
FRESH_RATE = 50.0
ROLL_OVER = "3s"
"""How long the old identity is still accepted."""


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """The mesh's authority."""
    return Authority(tmp_path / "certificates")


@pytest.fixture
def us(authority: Authority) -> Identity:
    """The identity of the client."""
    return authority.issue("client", CLIENT)


@pytest.fixture
async def strangers(mesh: Mesh, backend: StartBackend, authority: Authority) -> Sequence[str]:
    """Hosts whose servers show all kinds of identities; two are those that the registry knows."""
    shown = {
        "right": spiffe(policies.NAMESPACE, "payments"),
        "wrong-account": spiffe(policies.NAMESPACE, "intruder"),
        "wrong-namespace": spiffe("other", "payments"),
        "nobody": None,
    }
    servers = {name: await backend(name, authority.issue(name, uri)) for name, uri in shown.items()}
    servers["plaintext"] = await backend("plaintext")
    for name, server in servers.items():
        await mesh.registry.register(name, Instance(server, service_account="payments"))
    # The very server that is refused there is trusted where the registry knows it.
    await mesh.registry.register("intruder", Instance(servers["wrong-account"], service_account="intruder"))
    return [mesh.host(name) for name in (*servers, "intruder")]


@pytest.fixture
async def takeover(backend: StartBackend, authority: Authority) -> Takeover:
    """Two instances, not registered, with identities of their own."""
    old, new = [
        Instance(
            await backend(account, authority.issue(account, spiffe(policies.NAMESPACE, account))),
            service_account=account,
        )
        for account in ("payments", "billing")
    ]
    return old, new


@pytest.fixture
def make_envoy(tmp_path: Path) -> Callable[[str, Identity], Envoy]:
    """Makes an Envoy for istiod's address, not started. Where its program is missing, tests are skipped."""
    program = fetch_envoy.binary()
    if not os.access(program, os.X_OK):
        pytest.skip(f"{program} is missing; `python integration/mesh/fetch_envoy.py` gets it")
    return lambda address, identity: Envoy(program, tmp_path, address, identity)


@EVERY_KIND
async def test_only_the_identity_in_the_registry_is_trusted(
    mesh: Mesh, strangers: Sequence[str], us: Identity, figure: Note
) -> None:
    mesh.istiod.write_policy("mutual", policies.mutual_tls(mesh.host("*")))
    async with mesh, Client(mesh.istiod.address, strangers, identity=us) as client:
        await client.next(len(strangers) * CALLS)
        await client.finish()
    expect_trust(client.calls)
    figure(f"{mesh.kind}: calls without a proxy: right identity / others", accepted_and_refused(client.calls))


async def test_stock_envoy_trusts_only_the_identity_in_the_registry(
    mesh: Mesh,
    strangers: Sequence[str],
    us: Identity,
    make_envoy: Callable[[str, Identity], Envoy],
    figure: Note,
) -> None:
    async with mesh, make_envoy(mesh.istiod.address, us) as envoy:
        await envoy.wait_for_hosts(strangers)
        calls = [await envoy.call(host) for _ in range(ENVOY_CALLS) for host in strangers]
    expect_trust(calls)
    figure("calls through stock Envoy: right identity / others", accepted_and_refused(calls))


async def test_no_call_fails_while_an_instance_with_another_identity_takes_over(
    mesh: Mesh, takeover: Takeover, us: Identity, figure: Note
) -> None:
    old, new = takeover
    await mesh.registry.register("pay", old)
    mesh.istiod.write_policy("mutual", policies.mutual_tls(mesh.host("*")))
    pay = [mesh.host("pay")]
    async with (
        mesh,
        Client(mesh.istiod.address, pay, identity=us) as standing,
        Client(mesh.istiod.address, pay, identity=us, is_fresh=True, rate=FRESH_RATE) as fresh,
    ):
        clients = (standing, fresh)
        await asyncio.gather(*(client.wait_for_answer(old.backend.name) for client in clients))

        await mesh.registry.register("pay", new)
        await asyncio.gather(*(client.wait_for_answer(new.backend.name) for client in clients))
        await mesh.registry.deregister("pay", old.backend)
        await asyncio.gather(*(client.quiet(old.backend.name) for client in clients))

        await asyncio.gather(*(client.finish() for client in clients))
    assert standing.failed + fresh.failed == []
    assert {call.caller for client in clients for call in client.calls} == {CLIENT}
    figure(
        "calls while another identity takes over",
        f"0 of {len(standing.calls)} failed, 0 of {len(fresh.calls)} with a connection of their own",
    )


@pytest.mark.parametrize("settings", [{"safety": {"identity_rollover": ROLL_OVER}}])
async def test_no_call_fails_while_an_instance_changes_its_identity_in_place(
    mesh: Mesh, takeover: Takeover, us: Identity, figure: Note
) -> None:
    was, becomes = takeover
    instance, old = was.backend, was.backend.identity
    await mesh.registry.register("pay", was)
    mesh.istiod.write_policy("mutual", policies.mutual_tls(mesh.host("*")))
    pay = [mesh.host("pay")]
    async with (
        mesh,
        Client(mesh.istiod.address, pay, identity=us) as standing,
        Client(mesh.istiod.address, pay, identity=us, is_fresh=True, rate=FRESH_RATE) as fresh,
    ):
        clients = (standing, fresh)
        await asyncio.gather(*(client.wait_for_answer(instance.name) for client in clients))

        await mesh.registry.register("pay", Instance(instance, service_account=becomes.service_account))
        await fresh.next(int(FRESH_RATE))  # A second, in which its certificate is still the old one.
        instance.identity = becomes.backend.identity
        await fresh.next(int(4 * FRESH_RATE))  # Beyond the time in which the old one is accepted.
        failed, calls = [*standing.failed, *fresh.failed], (len(standing.calls), len(fresh.calls))

        instance.identity = old
        await fresh.wait_for(lambda call: call.error.startswith("UNAVAILABLE"))
        await asyncio.gather(*(client.finish() for client in clients))
    assert failed == []
    figure(
        "calls while an instance changes its identity in place",
        f"0 of {calls[0]} failed, 0 of {calls[1]} with a connection of their own",
    )


def expect_trust(calls: Sequence[Call]) -> None:
    """Fail unless exactly those strangers were answered who are who the registry says, and knew us."""
    answers = {(service(call), call.server, call.caller) for call in calls if not call.error}
    assert answers == {("right", "right", CLIENT), ("intruder", "wrong-account", CLIENT)}
    refused = {(service(call), call.error.partition(":")[0]) for call in calls if call.error}
    others = ("wrong-account", "wrong-namespace", "nobody", "plaintext")
    assert refused == {(name, "UNAVAILABLE") for name in others}


def service(call: Call) -> str:
    """Return the registry's name of the service that was called."""
    return call.host.partition(".")[0]


def accepted_and_refused(calls: Sequence[Call]) -> str:
    """Return how many there were, for the table."""
    refused = sum(bool(call.error) for call in calls)
    return f"all {len(calls) - refused} answered / all {refused} refused"
