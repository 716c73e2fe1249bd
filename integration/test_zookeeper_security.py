"""TLS, mutual TLS, SASL and ACLs of a real ZooKeeper: what is right is let in, what is wrong is said."""

import importlib.util
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from kazoo.security import make_digest_acl

from integration.processes import free_ports
from integration.zookeeper.authority import Authority
from integration.zookeeper.process import JARS, NETTY, Ensemble, Kind, missing
from integration.zookeeper.watching import JSON_ROOT, eventually, watching
from integration.zookeeper.writer import Writer, record
from meshbridge.schemas.errors import RegistryDenied, RegistryUnavailable
from meshbridge.schemas.registry import SourceState

pytestmark = pytest.mark.asyncio(loop_scope="module")

NAME = "zk.meshbridge.test"
PASSWORD = "s3cr3t-w0rd"


class Secured:
    """A server that speaks TLS on a second port and asks for a certificate there, and knows one SASL user."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority(folder / "authority")
        self.stranger = Authority(folder / "stranger")
        self.port = free_ports(1)[0]
        both = self.authority.issue(NAME)[2]
        jaas = folder / "jaas.conf"
        jaas.write_text(
            "Server { org.apache.zookeeper.server.auth.DigestLoginModule required"
            f' user_reader="{PASSWORD}"; }};'
        )
        settings = (
            f"secureClientPort={self.port}\nsecureClientPortAddress=127.0.0.1\n"
            "serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory\n"
            "authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider\n"
            f"ssl.keyStore.location={both}\nssl.keyStore.type=PEM\n"
            f"ssl.trustStore.location={self.authority.file}\nssl.trustStore.type=PEM\nssl.clientAuth=need\n"
        )
        properties = (f"java.security.auth.login.config={jaas}",)
        self.ensemble = Ensemble(folder / "zookeeper", kind=Kind(settings, properties, JARS + NETTY))

    @property
    def secure(self) -> str:
        """Where it speaks TLS."""
        return f"127.0.0.1:{self.port}"

    def tls(self, signed_by: Authority | None = None, **changes: str) -> dict[str, str]:
        """Return the settings of a client that does everything right, but for the changes."""
        chain, key, _ = (signed_by or self.authority).issue("client.meshbridge.test")
        right = {"ca_file": self.authority.file, "server_name": NAME, "cert_file": chain, "key_file": key}
        return {name: str(value) for name, value in (right | changes).items() if value}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("secured")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def secured(folder: Path) -> AsyncIterator[Secured]:
    if reason := missing():
        pytest.skip(reason)
    made = Secured(folder)
    async with made.ensemble, Writer(made.ensemble.hosts) as writer:
        await writer.put("/mesh/orders/a", record("10.0.0.1"))
        yield made


async def test_a_certificate_that_both_sides_trust_is_let_in(secured: Secured) -> None:
    async with Writer(secured.ensemble.hosts) as writer, watching(secured.secure, tls=secured.tls()) as seen:
        await eventually(lambda: seen.count == 1)
        await writer.put("/mesh/orders/tls", record("10.0.0.2"))
        await eventually(lambda: seen.count == 2)
        await writer.remove("/mesh/orders/tls")
        await eventually(lambda: seen.count == 1)

        assert not seen.errors


# kazoo leaves a socket whose handshake fails to be closed when it is forgotten.
@pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("wrong-authority", "certificate verify failed: unable to get local issuer certificate"),
        ("wrong-name", "Hostname mismatch"),
        ("address", "IP address mismatch"),
        ("no-certificate", "127.0.0.1"),
        ("unknown-certificate", "127.0.0.1"),
    ],
)
async def test_what_is_wrong_with_tls_is_said(secured: Secured, case: str, words: str) -> None:
    tls = {
        "wrong-authority": lambda: secured.tls(ca_file=str(secured.stranger.file)),
        "wrong-name": lambda: secured.tls(server_name="other.meshbridge.test"),
        "address": lambda: secured.tls(server_name=""),
        "no-certificate": lambda: secured.tls(cert_file="", key_file=""),
        "unknown-certificate": lambda: secured.tls(secured.stranger),
    }[case]()
    async with watching(secured.secure, tls=tls, connect_timeout="2s") as seen:
        await eventually(lambda: seen.errors)

        assert isinstance(seen.errors[0], RegistryUnavailable)
        assert words in str(seen.errors[0])
        assert seen.count == 0
        assert seen.events == []


@pytest.mark.skipif(importlib.util.find_spec("puresasl") is None, reason="the extra `sasl` is not installed")
async def test_sasl_lets_in_who_knows_the_password(secured: Secured) -> None:
    file = secured.folder / "password"
    sasl = {"mechanism": "DIGEST-MD5", "username": "reader", "password_file": str(file)}
    file.write_text("wrong-w0rd\n")
    async with watching(secured.ensemble.hosts, sasl=sasl) as seen:
        await eventually(lambda: seen.errors)
        denied = seen.errors[0]
        assert seen.events == []

        file.write_text(PASSWORD + "\n")
        await eventually(lambda: seen.count == 1)

    assert isinstance(denied, RegistryDenied)
    assert "w0rd" not in str(seen.errors)


async def test_nodes_that_may_not_be_read_are_counted_and_their_neighbours_stay(secured: Secured) -> None:
    file = secured.folder / "digest"
    file.write_text("reader:" + PASSWORD)
    acl = [make_digest_acl("other", "hush", all=True)]
    hosts = secured.ensemble.hosts
    async with Writer(hosts) as writer, Writer(hosts, "other:hush") as owner:
        await writer.put("/closed/orders/a", record("10.0.0.1"))
        await owner.put("/closed/orders/b", record("10.0.0.2"), acl=acl)
        root = JSON_ROOT | {"path": "/closed"}
        async with watching(hosts, root, digest={"file": str(file)}) as seen:
            await eventually(lambda: seen.state is SourceState.SYNCED)

            assert seen.addresses("orders") == {"10.0.0.1"}
            assert ("unreadable nodes", "1") in seen.details
            assert [note.reason for note in seen.groups["orders"].notes] == [
                "malformed: its data can't be read"
            ]
            await writer.put("/closed/orders/c", record("10.0.0.3"))
            await eventually(lambda: seen.addresses("orders") == {"10.0.0.1", "10.0.0.3"})
        await owner.remove("/closed")
