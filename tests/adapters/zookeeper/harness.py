"""A ZooKeeper in this process under the contract's control, with recursive watches and without."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import ClassVar

from meshbridge.adapters.zookeeper.settings import (
    DigestAuth,
    JsonOptions,
    LayoutName,
    RootSettings,
    ZookeeperConfig,
)


def _load(name: str) -> ModuleType:
    path = Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"fake_zookeeper_{name}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


Server = _load("server").Server


class Recursive:
    """JSON records below /mesh/{service}/{address}, denied to whom doesn't know the secret."""

    kind = "zookeeper"
    label: ClassVar[str] = "zookeeper"
    secret = "reader:s3cr3t-w0rd"
    knows_watches = True

    def __init__(self, tmp_path: Path) -> None:
        self.server = Server()
        self.server.knows_watches = self.knows_watches
        self.server.secret = self.secret.encode()
        self.server.create("/mesh", ephemeral=False)
        self.server.denied.add("/mesh")
        self._file = tmp_path / "digest"
        self._file.write_text(self.secret + "\n")

    async def start(self) -> None:
        await self.server.start()

    async def stop(self) -> None:
        await self.server.stop()

    def config(self) -> ZookeeperConfig:
        root = RootSettings(path="/mesh", layout=LayoutName.JSON, json_records=JsonOptions())
        return ZookeeperConfig(
            name="tested",
            hosts=f"127.0.0.1:{self.server.port}",
            roots=[root],
            digest=DigestAuth(file=str(self._file)),
            connect_timeout="300ms",
        )

    async def register(self, service: str, address: str) -> None:
        record = json.dumps({"address": address, "port": 8080}).encode()
        self.server.create(f"/mesh/{service}/{address}", record)

    async def deregister(self, service: str, address: str) -> None:
        self.server.delete(f"/mesh/{service}/{address}")

    async def corrupt(self, service: str, address: str) -> None:
        self.server.set(f"/mesh/{service}/{address}", b'{"address": ')

    async def shuffle(self) -> None:
        self.server.reverses = not self.server.reverses

    async def break_(self) -> None:
        await self.server.stop()

    async def heal(self) -> None:
        await self.server.start()


class OneShot(Recursive):
    """A server older than 3.6."""

    label = "zookeeper-before-3.6"
    knows_watches = False


HARNESSES = [Recursive, OneShot]
