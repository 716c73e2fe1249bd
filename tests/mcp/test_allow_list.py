"""Who may see what, told by real certificates over mutual TLS."""

import datetime
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from structlog.testing import capture_logs

from meshbridge.mcp.access import AllowRule
from meshbridge.mcp.limits import Limits
from meshbridge.mcp.server import McpServer
from meshbridge.mcp.view import Scope
from meshbridge.schemas.proto.meshbridge_mcp_pb2 import Resource as Wrapped
from meshbridge.schemas.resource import Kind
from meshbridge.schemas.settings import ServerTls

SE = "networking.istio.io/v1/ServiceEntry"
WE = "networking.istio.io/v1/WorkloadEntry"
ISTIOD = "spiffe://cluster.local/ns/istio-system/sa/istiod"
AUDIT = "spiffe://cluster.local/ns/audit/sa/reader"

ALLOW = (
    AllowRule(spiffe=ISTIOD),
    AllowRule(spiffe="spiffe://cluster.local/ns/audit/sa/*", scope=Scope(frozenset({Kind.SERVICE_ENTRY}))),
    AllowRule(san="*.shop.test", scope=Scope(namespaces=frozenset({"shop"}))),
)


def credentials(authority: trustme.CA, *names: x509.GeneralName, days: int = 1) -> grpc.ChannelCredentials:
    """Credentials with a certificate of these names."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    issuer_key = serialization.load_pem_private_key(authority.private_key_pem.bytes(), None)
    issuer = x509.load_pem_x509_certificate(authority.cert_pem.bytes()).subject
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=3))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName(names), critical=True)
        .sign(issuer_key, hashes.SHA256())
    )
    return grpc.ssl_channel_credentials(
        authority.cert_pem.bytes(),
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        certificate.public_bytes(serialization.Encoding.PEM),
    )


def spiffe(authority: trustme.CA, name: str) -> grpc.ChannelCredentials:
    return credentials(authority, x509.UniformResourceIdentifier(name))


@pytest.fixture
async def server(serve: Callable, cache, publisher, entry, workload, certs: Path) -> tuple[McpServer, int]:
    tls = ServerTls(
        cert_file=str(certs / "first.pem"),
        key_file=str(certs / "first.key"),
        client_ca_file=str(certs / "ca.pem"),
    )
    await publisher.put(entry("a"), workload("w"))
    return await serve(cache, tls=tls, allow=ALLOW, limits=Limits(streams_per_peer=2))


@pytest.fixture
def port(server: tuple[McpServer, int]) -> int:
    return server[1]


def names(response) -> list[str]:
    return [Wrapped.FromString(item.value).metadata.name for item in response.resources]


async def seen(peer) -> dict[str, list[str]]:
    await peer.ask(SE)
    await peer.ask(WE)
    answers = [await peer.acked() for _ in range(2)]
    return {answer.type_url: names(answer) for answer in answers}


async def test_client_on_the_list_sees_everything(server, port, authority, connect) -> None:
    peer = connect(port, credentials=spiffe(authority, ISTIOD))

    assert await seen(peer) == {SE: ["legacy/a"], WE: ["legacy/w"]}
    [status] = server[0].clients.statuses()
    assert status.identity == ISTIOD


async def test_client_that_is_not_on_the_list_is_refused_and_logged_once_for_a_while(
    port, authority, connect
) -> None:
    with capture_logs() as logs:
        for _ in range(5):
            peer = connect(port, credentials=spiffe(authority, f"{ISTIOD}/evil"))
            assert await peer.status() is grpc.StatusCode.PERMISSION_DENIED

    refusals = [line for line in logs if line["event"] == "client refused"]
    assert [line["identity"] for line in refusals] == [f"{ISTIOD}/evil"]


async def test_client_without_certificate_gets_no_connection(port, authority, connect) -> None:
    peer = connect(port, credentials=grpc.ssl_channel_credentials(authority.cert_pem.bytes()))

    assert await peer.status() is grpc.StatusCode.UNAVAILABLE


async def test_client_with_an_expired_certificate_gets_no_connection(port, authority, connect) -> None:
    name = x509.UniformResourceIdentifier(ISTIOD)
    peer = connect(port, credentials=credentials(authority, name, days=-1))

    assert await peer.status() is grpc.StatusCode.UNAVAILABLE


async def test_client_of_another_authority_gets_no_connection(port, authority, connect) -> None:
    stranger = trustme.CA()
    peer = connect(port, credentials=spiffe(stranger, ISTIOD))

    assert await peer.status() is grpc.StatusCode.UNAVAILABLE


async def test_kinds_of_the_rule_narrow_what_is_seen(port, authority, connect) -> None:
    peer = connect(port, credentials=spiffe(authority, AUDIT))

    assert await seen(peer) == {SE: ["legacy/a"], WE: []}


async def test_namespaces_of_the_rule_narrow_what_is_seen_now_and_later(
    port, publisher, authority, connect, entry
) -> None:
    peer = connect(port, credentials=credentials(authority, x509.DNSName("bridge.shop.test")))
    assert await seen(peer) == {SE: [], WE: []}
    whole = connect(port, credentials=spiffe(authority, ISTIOD))
    await seen(whole)

    await publisher.put(entry("b"))

    assert names(await whole.acked()) == ["legacy/a", "legacy/b"]
    await peer.ask("a/b/C")
    assert (await peer.acked()).type_url == "a/b/C"  # Nothing was pushed before.


async def test_clients_that_see_the_same_share_bytes(port, cache, authority, connect) -> None:
    bodies = []
    for name in ("reader", "writer"):
        peer = connect(port, credentials=spiffe(authority, f"spiffe://cluster.local/ns/audit/sa/{name}"))
        await peer.ask(SE)
        bodies.append(await peer.read())

    assert bodies[0] == bodies[1]
    scopes = frozenset({ALLOW[1].scope})
    assert cache.view(scopes) is cache.view(scopes)


async def test_streams_of_one_identity_are_limited_and_others_are_not(port, authority, connect) -> None:
    for _ in range(2):
        await seen(connect(port, credentials=spiffe(authority, ISTIOD)))

    third = connect(port, credentials=spiffe(authority, ISTIOD))

    assert await third.status() is grpc.StatusCode.RESOURCE_EXHAUSTED
    await seen(connect(port, credentials=spiffe(authority, AUDIT)))


async def test_garbage_in_the_files_leaves_the_old_certificate_in_force(
    serve, cache, publisher, certs, tmp_path, authority, connect
) -> None:
    for kind in ("pem", "key"):
        (tmp_path / f"tls.{kind}").write_bytes((certs / f"first.{kind}").read_bytes())
    tls = ServerTls(cert_file=str(tmp_path / "tls.pem"), key_file=str(tmp_path / "tls.key"))
    await publisher.put()
    _, port = await serve(cache, tls=tls)
    trusting = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
    await seen(connect(port, credentials=trusting))

    (tmp_path / "tls.pem").write_bytes(b"garbage")

    await seen(connect(port, credentials=trusting))
