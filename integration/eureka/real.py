"""What the tests against real Eureka servers share: servers, registrations, and adapters that watch."""

import importlib.util
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType

import pytest

from integration.build_eureka import jar
from integration.eureka.process import QUICK, Clients, EurekaServer
from integration.processes import eventually as wait_for
from meshbridge.adapters.base import AdapterContext
from meshbridge.adapters.eureka.settings import EurekaConfig
from meshbridge.schemas.registry import InstanceGroup, SourceState


def _load_contract() -> ModuleType:
    path = Path(__file__).parents[2] / "tests" / "contract.py"
    spec = importlib.util.spec_from_file_location("contract_on_eureka", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CONTRACT = _load_contract()


@pytest.fixture(scope="module")
def eureka_jar() -> Path:
    """The server's program. Where it is missing tests are skipped, in CI only if nothing can build it."""
    program = jar()
    if not program.exists() or shutil.which("java") is None:
        reason = f"{program} is missing; `python integration/build_eureka.py` builds it (half a minute)"
        if os.environ.get("CI") == "true" and shutil.which("mvn"):
            pytest.fail(reason)
        pytest.skip(reason)
    return program


@pytest.fixture(scope="module")
def server(eureka_jar: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EurekaServer]:
    """A server that all tests share which leave it running."""
    with EurekaServer(eureka_jar, tmp_path_factory.mktemp("eureka"), *QUICK) as started:
        yield started


@pytest.fixture
async def clients(server: EurekaServer) -> Clients:
    """What registers at the shared server, which is empty at first."""
    made = Clients(server.url)
    await made.clear()
    return made


@pytest.fixture
def eventually() -> Callable[..., Awaitable[object]]:
    """As in the unit tests: polls a condition that does not wait by itself."""

    async def wait(condition: Callable[[], object], *, within: float = 15.0) -> object:
        async def holds() -> object:
            return condition()

        return await wait_for(holds, within)

    return wait


@asynccontextmanager
async def watching(*urls: str, **settings: object) -> AsyncIterator["Seen"]:
    config = EurekaConfig.model_validate(
        {"name": "spring", "urls": list(urls), "poll_interval": "100ms", **settings}
    )
    seen = Seen(config)
    async with CONTRACT.watching(seen.adapter) as watch:
        seen.watch = watch
        yield seen


class Seen:
    """An adapter and what it said."""

    def __init__(self, config: EurekaConfig) -> None:
        self.adapter = config.build(AdapterContext("spring"))

    @property
    def groups(self) -> dict[str, InstanceGroup]:
        return dict(self.watch.groups)

    @property
    def state(self) -> SourceState | None:
        reports = [event for event in self.watch.events if event not in self.watch.data]
        return reports[-1].state if reports else None

    @property
    def details(self) -> dict[str, str]:
        reports = [event for event in self.watch.events if event not in self.watch.data]
        return dict(reports[-1].details) if reports else {}

    def addresses(self, service: str) -> set[str]:
        return set(self.watch.addresses(service))

    def fewest(self, service: str) -> int:
        """Return the least instances that any event gave the service."""
        found = []
        for event in self.watch.data:
            groups = event.groups if hasattr(event, "groups") else (event.group,)
            found += [len(group.instances) for group in groups if group.key.name == service]
        return min(found)


FIXTURES = {"eureka_jar": eureka_jar, "server": server, "clients": clients, "eventually": eventually}
"""For the globals of a module of tests."""
