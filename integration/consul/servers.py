"""Fixtures: real servers, shared by the tests that leave them as they found them."""

import os
import shutil
from collections.abc import Callable, Iterator

import pytest

from integration.consul.agents import Agent
from integration.consul.fetch import VERSIONS, binary
from integration.processes import eventually

Shared = Callable[..., Agent]


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    """A release of Consul. Where its program is missing, tests are skipped and say so."""
    if not os.access(binary(request.param), os.X_OK):
        reason = f"{binary(request.param)} is missing; `python integration/consul/fetch.py` gets it"
        if os.environ.get("CI") == "true" and shutil.which("go"):
            pytest.fail(reason)
        pytest.skip(reason)
    return str(request.param)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """`shared(version, acl=False)`: a server for all tests, started when the first one asks."""
    agents: dict[tuple[str, bool], Agent] = {}

    def get(version: str, *, acl: bool = False) -> Agent:
        if (version, acl) not in agents:
            agents[version, acl] = Agent(version, tmp_path_factory.mktemp("consul"), acl=acl)
        return agents[version, acl]

    yield get
    for agent in agents.values():
        agent.end()


async def _emptied(agent: Agent) -> Agent:
    if not agent.is_running:
        agent.spawn()
    await eventually(agent.is_ready)
    await agent.wipe()
    return agent


@pytest.fixture
async def server(version: str, shared: Shared) -> Agent:
    """An empty server without ACLs."""
    return await _emptied(shared(version))


@pytest.fixture
async def guarded(version: str, shared: Shared) -> Agent:
    """An empty server where who has no token sees nothing."""
    return await _emptied(shared(version, acl=True))
