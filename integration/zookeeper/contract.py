"""The adapter contract's view of a real server."""

import importlib.util
from pathlib import Path
from types import ModuleType

from kazoo.security import make_digest_acl

from integration.zookeeper.process import Ensemble, Kind
from integration.zookeeper.watching import JSON_ROOT
from integration.zookeeper.writer import Writer, record
from meshbridge.adapters.zookeeper.settings import DigestAuth, RootSettings, ZookeeperConfig

TESTS = Path(__file__).parents[2] / "tests"


def load(name: str, path: Path) -> ModuleType:
    """Import a module of the tests, which are no package."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class RealZooKeeper:
    """The contract's view of a real server that wants a password."""

    kind = "zookeeper"
    label = "real zookeeper"
    secret = "reader:s3cr3t-w0rd"

    def __init__(self, folder: Path, kind: Kind | None = None) -> None:
        self._folder = folder
        self._ensemble = Ensemble(folder / "contract", kind=kind)
        self._missed: list[tuple[str, bytes | None]] = []
        self._is_broken = False

    async def start(self) -> None:
        await self._ensemble.__aenter__()
        self._writer = await Writer(self._ensemble.hosts, self.secret).__aenter__()
        user, password = self.secret.split(":")
        self._acl = [make_digest_acl(user, password, all=True)]
        await self._writer.put("/mesh", acl=self._acl)
        self._file = self._folder / "digest"
        self._file.write_text(self.secret)

    async def stop(self) -> None:
        await self._writer.__aexit__()
        await self._ensemble.__aexit__(None, None, None)

    def config(self) -> ZookeeperConfig:
        return ZookeeperConfig(
            name="tested",
            hosts=self._ensemble.hosts,
            roots=[RootSettings.model_validate(JSON_ROOT)],
            digest=DigestAuth(file=str(self._file)),
            session_timeout="4s",
            connect_timeout="2s",
        )

    async def register(self, service: str, address: str) -> None:
        await self._change(f"/mesh/{service}/{address}", record(address))

    async def deregister(self, service: str, address: str) -> None:
        await self._change(f"/mesh/{service}/{address}", None)

    async def corrupt(self, service: str, address: str) -> None:
        await self._change(f"/mesh/{service}/{address}", b'{"address": ')

    async def shuffle(self) -> None:
        """The order is the server's own."""

    async def break_(self) -> None:
        self._is_broken = True
        await self._ensemble.servers[0].kill()

    async def heal(self) -> None:
        await self._ensemble.servers[0].start()
        await self._ensemble.servers[0].wait_serving()
        self._is_broken = False
        missed, self._missed = self._missed, []
        for path, data in missed:
            await self._change(path, data)

    async def _change(self, path: str, data: bytes | None) -> None:
        if self._is_broken:
            self._missed.append((path, data))
        elif data is None:
            await self._writer.remove(path)
        else:
            await self._writer.put(path, data, acl=self._acl)
