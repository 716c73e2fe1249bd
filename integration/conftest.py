"""Fixtures: a bridge, an istiod that is connected to it, and a table of figures at the end."""

import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from integration.bridges import Bridge
from integration.build_eureka import jar
from integration.build_istiod import binary
from integration.eureka.process import QUICK, EurekaServer
from integration.istiod.process import Istiod
from integration.mesh.backends import Backend
from integration.mesh.certificates import Identity
from integration.mesh.kinds import REGISTRIES
from integration.mesh.mesh import Mesh
from integration.mesh.registries import Registry
from integration.samples import PAYMENTS, shop

FIGURES = pytest.StashKey[list[tuple[str, str]]]()

MakeBridge = Callable[..., Bridge]
MakeIstiod = Callable[..., Istiod]
StartBackend = Callable[..., Awaitable[Backend]]
Note = Callable[[str, str], None]


def pytest_configure(config: pytest.Config) -> None:
    config.stash[FIGURES] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.integration)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    figures = config.stash[FIGURES]
    if figures:
        terminalreporter.section("figures")
        width = max(len(what) for what, _ in figures)
        for what, value in figures:
            terminalreporter.write_line(f"{what:<{width}}  {value}")


@pytest.fixture(scope="session")
def pilot_discovery() -> Path:
    """istiod's program. Where it is missing, tests are skipped, in CI only if there is no Go to build it."""
    program = binary()
    if not os.access(program, os.X_OK):
        reason = f"{program} is missing; `python integration/build_istiod.py` builds it (8 minutes)"
        if os.environ.get("CI") == "true" and shutil.which("go"):
            pytest.fail(reason)
        pytest.skip(reason)
    return program


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Note:
    """`figure("what was measured", "3 ms")` puts a line into the table at the end."""
    return lambda what, value: request.config.stash[FIGURES].append((what, value))


@pytest.fixture
def make_bridge(tmp_path: Path) -> MakeBridge:
    """Makes a bridge, not started: `async with make_bridge(probe=...) as bridge`."""
    folder = tmp_path / "bridge"
    folder.mkdir()
    return lambda **settings: Bridge(folder, **settings)


@pytest.fixture
def make_istiod(tmp_path: Path, pilot_discovery: Path) -> MakeIstiod:
    """Makes an istiod for a source's address, not started: `async with make_istiod(address) as istiod`."""
    folder = tmp_path / "istiod"
    folder.mkdir()
    return lambda address, **settings: Istiod(pilot_discovery, folder, address, **settings)


@pytest.fixture
async def bridge(make_bridge: MakeBridge) -> AsyncIterator[Bridge]:
    """A running bridge with two services."""
    made = make_bridge()
    made.inventory.write(shop("10.0.0.1", "10.0.0.2"), PAYMENTS)
    async with made:
        yield made


@pytest.fixture
async def istiod(bridge: Bridge, make_istiod: MakeIstiod) -> AsyncIterator[Istiod]:
    """An istiod that is ready with what the bridge serves."""
    async with make_istiod(bridge.mcp_address) as started:
        await started.wait_ready()
        yield started


@pytest.fixture(scope="session")
def eureka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EurekaServer]:
    """A Eureka server that all tests of the mesh share, since it takes its time to start."""
    with EurekaServer(jar(), tmp_path_factory.mktemp("eureka"), *QUICK) as server:
        yield server


@pytest.fixture(params=["inventory"])
async def registry(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Registry]:
    """An empty registry; tests that are for every kind are parametrized with `EVERY_KIND`."""
    kind = REGISTRIES[request.param]
    if reason := kind.missing():
        pytest.skip(reason)
    shared = request.getfixturevalue("eureka") if request.param == "eureka" else None
    async with kind.run(tmp_path, shared) as made:
        yield made


@pytest.fixture
def settings() -> Mapping[str, object]:
    """Further parts of the configuration of a mesh's bridge; to be parametrized."""
    return {}


@pytest.fixture
def mesh(
    registry: Registry, settings: Mapping[str, object], make_bridge: MakeBridge, make_istiod: MakeIstiod
) -> Mesh:
    """A mesh, not started, whose bridge follows the registry and whose istiod reads policies too."""
    bridge = make_bridge(sources=[registry.source], rules=registry.rules, **settings)
    return Mesh(registry, bridge, make_istiod(bridge.mcp_address, has_policies=True))


@pytest.fixture
async def backend() -> AsyncIterator[StartBackend]:
    """`await backend("name", identity)` starts a server for the length of the test."""
    async with AsyncExitStack() as stack:

        async def start(name: str, identity: Identity | None = None) -> Backend:
            return await stack.enter_async_context(Backend(name, identity))

        yield start
