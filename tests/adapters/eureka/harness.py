"""Eureka under the contract's control: a server with deltas and a password, and one without and a token."""

import base64
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from meshbridge.adapters.eureka.settings import EurekaConfig


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"eureka_{name}", Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


FakeEureka = _load("fake").FakeEureka


class Eureka:
    kind = "eureka"
    label = "eureka"
    secret = "pa55-w0rd"

    def __init__(self, tmp_path: Path) -> None:
        self.folder = tmp_path
        pair = base64.b64encode(f"mesh:{self.secret}".encode()).decode()
        self.server = FakeEureka(f"Basic {pair}")

    async def start(self) -> None:
        await self.server.start()

    async def stop(self) -> None:
        await self.server.stop()

    def config(self) -> EurekaConfig:
        (self.folder / "password").write_text(self.secret + "\n")
        return EurekaConfig(
            name="tested",
            urls=[self.server.url],
            username="mesh",
            password_file=str(self.folder / "password"),
            poll_interval="30ms",
        )

    async def register(self, service: str, address: str) -> None:
        self.server.register(service, address)

    async def deregister(self, service: str, address: str) -> None:
        self.server.cancel(service, address)

    async def corrupt(self, service: str, address: str) -> None:
        self.server.change(service, address, port={"$": 70000, "@enabled": "true"})

    async def shuffle(self) -> None:
        self.server.is_reversed = not self.server.is_reversed

    async def break_(self) -> None:
        self.server.status = 500

    async def heal(self) -> None:
        self.server.status = 200


class EurekaWithoutDelta(Eureka):
    label = "eureka-full"
    secret = "t0k3n-of-ours"

    async def start(self) -> None:
        self.server.authorization = f"Bearer {self.secret}"
        self.server.has_delta = False
        await super().start()

    def config(self) -> EurekaConfig:
        (self.folder / "token").write_text(self.secret + "\n")
        return EurekaConfig(
            name="tested",
            urls=[self.server.url],
            token_file=str(self.folder / "token"),
            poll_interval="30ms",
            settle="50ms",
            allow_empty=True,
        )


HARNESSES = [Eureka, EurekaWithoutDelta]
