"""How a session is made, and what its requests look like to the server."""

from pathlib import Path

import pytest

from meshbridge.adapters.zookeeper import wire
from meshbridge.adapters.zookeeper.endpoint import endpoint
from meshbridge.adapters.zookeeper.settings import ZookeeperConfig
from meshbridge.schemas.errors import RegistryDenied, RegistryUnavailable

ROOTS = [{"path": "/mesh", "layout": "json"}]


def config(**settings: object) -> ZookeeperConfig:
    return ZookeeperConfig.model_validate({"name": "zk", "hosts": "zk1:2181", "roots": ROOTS, **settings})


def test_without_tls_and_credentials_nothing_is_sent() -> None:
    made = endpoint(config())

    assert not made.options["use_ssl"]
    assert made.options["auth_data"] is None
    assert made.sasl == {}


def test_tls_checks_the_servers_name() -> None:
    made = endpoint(config(tls={"ca_file": "/ca.pem", "server_name": "zk.example"}))

    assert made.options["use_ssl"]
    assert made.options["verify_certs"]
    assert made.options["check_hostname"]
    assert made.options["ca"] == "/ca.pem"
    assert made.server_name == "zk.example"


def test_credentials_come_from_files_and_do_not_show(tmp_path: Path) -> None:
    (tmp_path / "digest").write_text("reader:s3cr3t\n")
    (tmp_path / "password").write_text("s3cr3t\n")
    sasl = {"mechanism": "DIGEST-MD5", "username": "reader", "password_file": str(tmp_path / "password")}

    made = endpoint(config(digest={"file": str(tmp_path / "digest")}, sasl=sasl))

    assert made.options["auth_data"] == [("digest", "reader:s3cr3t")]
    assert made.sasl == {
        "mechanism": "DIGEST-MD5",
        "service": "zookeeper",
        "username": "reader",
        "password": "s3cr3t",
    }
    assert "s3cr3t" not in repr(made)


def test_kerberos_needs_no_file() -> None:
    assert endpoint(config(sasl={})).sasl == {"mechanism": "GSSAPI", "service": "zookeeper"}


async def test_a_missing_credentials_file_is_said(make_watching) -> None:
    watching = make_watching(digest={"file": "/none/digest"})
    watching.start()

    with pytest.raises(RegistryUnavailable, match=r"read credentials: .*/none/digest"):
        await watching.task


async def test_an_unknown_host_is_said(make_watching) -> None:
    watching = make_watching(hosts="no-such-host.invalid:2181")
    watching.start()

    with pytest.raises(RegistryUnavailable, match="no host name could be resolved"):
        await watching.task


async def test_refused_credentials_are_denied(server, make_watching, tmp_path) -> None:
    (tmp_path / "digest").write_text("reader:wrong")
    server.refuses_credentials = True
    watching = make_watching(digest={"file": str(tmp_path / "digest")}, connect_timeout="5s")
    watching.start()

    with pytest.raises(RegistryDenied, match="the credentials are refused"):
        await watching.task


async def test_requests_stay_far_below_what_servers_take(server, make_watching, record, eventually) -> None:
    for number in range(3000):
        server.create(f"/mesh/orders/{'x' * 300}-{number:04}", record("10.0.0.1"))
    watching = make_watching()
    watching.start()

    await eventually(lambda: watching.is_synced)

    assert len(watching.groups["orders"].instances) == 3000
    assert max(size for _, size in server.asked) <= wire.MAX_REQUEST + 100
    assert len(server.asked) < 60


async def test_large_answers_make_small_requests(server, make_watching, record, eventually) -> None:
    for number in range(120):
        server.create(f"/mesh/orders/{number}", b" " * 200_000 + record(f"10.0.0.{number}"))
    watching = make_watching()
    watching.start()

    await eventually(lambda: watching.is_synced, within=20)

    assert len(watching.addresses["orders"]) == 120
    session = watching.adapter._session
    assert session._batch <= 25
