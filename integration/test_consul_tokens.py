"""Tokens of a real Consul with a default policy of deny: nothing registered leaves when rights do."""

import time
from pathlib import Path

import pytest

from integration.consul.agents import ROOT_TOKEN, Agent
from integration.consul.watching import config_for, fill, started, watching
from integration.processes import eventually as until
from integration.processes import stays
from meshbridge.schemas.registry import SourceState

pytest_plugins = ["integration.consul.servers"]

READ_ALL = 'service_prefix "" {policy = "read"} node_prefix "" {policy = "read"}'


async def _token(server: Agent, rules: str) -> tuple[str, str]:
    """Return a new token's secret and the id of its policy."""
    policy = await server.call("PUT", "/v1/acl/policy", {"Name": f"p{time.time_ns()}", "Rules": rules})
    made = await server.call("PUT", "/v1/acl/token", {"Policies": [{"ID": policy["ID"]}]})
    return made["SecretID"], policy["ID"]


async def test_without_a_token_under_default_deny_the_source_is_denied(
    guarded: Agent, tmp_path: Path
) -> None:
    await fill(guarded)
    async with started(config_for(guarded)) as watch:
        await until(watch.is_in_trouble)

        assert watch.state is SourceState.DENIED
        assert watch.syncs == 0
        assert "token_file" in watch.reason


async def test_a_bad_token_is_denied(guarded: Agent, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("99999999-2222-3333-4444-555555555555")
    async with started(config_for(guarded, token_file=str(token))) as watch:
        await until(watch.is_in_trouble)

        assert watch.state is SourceState.DENIED
        assert watch.syncs == 0


@pytest.mark.parametrize(
    "narrowed",
    [
        'node_prefix "" {policy = "read"}',
        'service_prefix "" {policy = "read"}',
        'service_prefix "pay" {policy = "read"} node_prefix "" {policy = "read"}',
        "",
    ],
    ids=["no services", "no nodes", "one service", "nothing"],
)
async def test_a_token_narrowed_while_watched_loses_nothing(
    guarded: Agent, tmp_path: Path, narrowed: str
) -> None:
    token = tmp_path / "token"
    await fill(guarded)
    secret, policy = await _token(guarded, READ_ALL)
    token.write_text(secret)
    async with watching(config_for(guarded, token_file=str(token))) as watch:
        rules = {"ID": policy, "Name": f"narrowed-{policy}", "Rules": narrowed}
        await guarded.call("PUT", f"/v1/acl/policy/{policy}", rules)
        await until(watch.is_in_trouble, 60)
        assert watch.state is SourceState.DENIED
        await guarded.register("other", "192.0.2.50")
        assert await stays(watch.lost_nothing, 1.5)

        await guarded.call("PUT", f"/v1/acl/policy/{policy}", rules | {"Rules": READ_ALL})
        await until(watch.is_synced_again, 90)
        assert await watch.lost_nothing()


async def test_a_token_deleted_while_watched_loses_nothing_and_may_rotate(
    guarded: Agent, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    await fill(guarded)
    secret, _ = await _token(guarded, READ_ALL)
    token.write_text(secret)
    async with watching(config_for(guarded, token_file=str(token))) as watch:
        accessor = (await guarded.call("GET", "/v1/acl/token/self", token=secret))["AccessorID"]
        await guarded.call("DELETE", f"/v1/acl/token/{accessor}")
        await until(watch.is_in_trouble, 60)
        assert watch.state is SourceState.DENIED
        assert await stays(watch.lost_nothing, 1.5)

        token.write_text(ROOT_TOKEN)
        await until(watch.is_synced_again, 90)
        assert await watch.lost_nothing()
