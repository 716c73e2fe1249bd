"""Connections to agents: fail-over, unix sockets, TLS, tokens, and the library's own methods."""

import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from meshbridge.adapters.base import AdapterContext
from meshbridge.adapters.consul.client import Client
from meshbridge.adapters.consul.settings import ConsulConfig
from meshbridge.adapters.consul.transport import Failure, status_failure

A, B = "192.0.2.1", "192.0.2.2"


async def test_another_agent_is_asked_when_one_fails(
    fake: Any, make_fake: Any, watch: Any, eventually: Any
) -> None:
    other = await make_fake()
    for agent in (fake, other):
        await agent.register("shop", A)
    seen = watch(None, addresses=[fake.url, other.url])
    await eventually(lambda: seen.addresses("shop") == {A})
    assert not other.requests

    await fake.kill()
    await other.register("shop", B)

    await eventually(lambda: seen.addresses("shop") == {A, B}, within=10)
    await eventually(lambda: seen.details.get("agent") == other.url)
    await fake.revive()


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_another_agent_is_asked_when_one_refuses(
    fake: Any, make_fake: Any, watch: Any, eventually: Any, status: int
) -> None:
    other = await make_fake()
    await other.register("shop", A)
    fake.fault = lambda _request: (status, {}, b"no")

    seen = watch(None, addresses=[fake.url, other.url])
    await eventually(lambda: seen.addresses("shop") == {A})


async def test_an_agent_may_listen_on_a_unix_socket(
    make_fake: Any, watch: Any, eventually: Any, tmp_path: Path
) -> None:
    fake = await make_fake(path=str(tmp_path / "consul.sock"))
    await fake.register("shop", A)

    seen = watch(fake)
    await eventually(lambda: seen.addresses("shop") == {A})
    await fake.register("shop", B)
    await eventually(lambda: seen.addresses("shop") == {A, B})


async def test_tls_with_client_certificates(
    make_fake: Any, watch: Any, eventually: Any, authority: trustme.CA, tmp_path: Path
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    ours = authority.issue_cert("meshbridge")
    ours.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "ours.pem"))
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    fake = await make_fake(context)
    await fake.register("shop", A)
    files = {"ca_file": str(tmp_path / "ca.pem"), "cert_file": str(tmp_path / "ours.pem")}

    seen = watch(fake, tls=files)
    await eventually(lambda: seen.addresses("shop") == {A})
    stranger = watch(fake, tls={"ca_file": files["ca_file"]}, is_supervised=False)
    await eventually(stranger.task.done)
    distrustful = watch(fake, is_supervised=False)
    await eventually(distrustful.task.done)

    assert stranger.data == distrustful.data == []
    assert "CERTIFICATE_VERIFY_FAILED" in str(distrustful.task.exception())


async def test_missing_tls_files_are_named(watch: Any, eventually: Any, tmp_path: Path) -> None:
    seen = watch(
        None, address="https://127.0.0.1:1", tls={"ca_file": str(tmp_path / "none.pem")}, is_supervised=False
    )
    await eventually(seen.task.done)

    assert "`tls` can't be used" in str(seen.task.exception())


async def test_a_token_may_rotate(fake: Any, watch: Any, eventually: Any, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("first\n")
    fake.tokens = {"first", "second"}
    await fake.register("shop", A)
    seen = watch(fake, token_file=str(tmp_path / "token"))
    await eventually(lambda: seen.addresses("shop") == {A})

    (tmp_path / "token").write_text("second\n")
    await eventually(lambda: fake.used[-1] == "second")
    fake.tokens = {"second"}
    await fake.register("shop", B)

    await eventually(lambda: seen.addresses("shop") == {A, B})


async def test_a_token_rotated_while_a_query_waits_is_used_at_once(
    fake: Any, watch: Any, eventually: Any, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("first")
    fake.tokens = {"first"}
    await fake.register("shop", A)
    seen = watch(fake, token_file=str(tmp_path / "token"), wait="30s")
    await eventually(lambda: fake.open == 5)

    (tmp_path / "token").write_text("second")
    fake.tokens = {"second"}
    fake.fault = lambda request: (
        (403, {}, b"ACL not found") if request.headers["X-Consul-Token"] == "first" else None
    )
    await fake.register("shop", B)

    await eventually(lambda: seen.addresses("shop") == {A, B})
    assert seen.state == "synced"
    assert not any("error" in what for what in seen.counts.seen)


@pytest.mark.parametrize("content", [None, b"to\x00ken", "t\u00f6ken".encode(), b"\xff"])
async def test_a_token_file_without_a_token_is_denied(
    fake: Any, watch: Any, eventually: Any, tmp_path: Path, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "token").write_bytes(content)

    seen = watch(fake, token_file=str(tmp_path / "token"), is_supervised=False)
    await eventually(seen.task.done)

    assert type(seen.task.exception()).__name__ == "RegistryDenied"
    assert not fake.requests


async def test_the_environment_changes_nothing(
    fake: Any, watch: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONSUL_HTTP_ADDR", "https://192.0.2.1:1")
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", "from-the-environment")
    monkeypatch.setenv("CONSUL_HTTP_SSL", "true")
    fake.tokens = {"another"}
    await fake.register("shop", A)

    seen = watch(fake)

    await eventually(lambda: seen.addresses("shop") == {A})


async def test_an_address_in_the_environment_that_the_library_refuses_is_named(
    fake: Any, watch: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONSUL_HTTP_ADDR", "nonsense")

    seen = watch(fake, is_supervised=False)
    await eventually(seen.task.done)

    assert "CONSUL_HTTP_ADDR" in str(seen.task.exception())


async def test_the_methods_of_the_library_are_awaitable(fake: Any) -> None:
    await fake.register("shop", A, Tags=["blue"])
    client = Client(ConsulConfig(name="consul", address=fake.url), AdapterContext("consul"))

    index, services = await client.consul.catalog.services()
    _, entries = await client.consul.health.service("shop")
    await client.close()

    assert services == {"consul": [], "shop": ["blue"]}
    assert int(index) == fake.index
    assert entries[0]["Service"]["Address"] == A


async def test_redirects_are_not_followed(fake: Any, watch: Any, eventually: Any) -> None:
    fake.fault = lambda _request: (301, {"Location": "http://192.0.2.1/"}, b"")

    seen = watch(fake, is_supervised=False)
    await eventually(seen.task.done)

    assert "HTTP status 301" in str(seen.task.exception())


@pytest.mark.parametrize(
    ("status", "reason"),
    [(400, "refused"), (401, "denied"), (403, "denied"), (429, "limited"), (500, "http")],
)
def test_statuses_are_told_apart(status: int, reason: str) -> None:
    assert status_failure(status, b"why\nmore").reason == reason
    assert status_failure(status, b"why\nmore").text == f"HTTP status {status}: why"


@pytest.mark.parametrize("body", [b"<html>", b"\x00\x01", b""])
def test_what_a_proxy_says_is_not_shown(body: bytes) -> None:
    assert status_failure(502, body).text in ("HTTP status 502", "HTTP status 502: ")
    assert not Failure("http", "x").is_denied
