"""The toy registry under the contract's control."""

from pathlib import Path

from aiohttp import web

from meshbridge.adapters.toy.settings import ToyConfig


class Toy:
    kind = "toy"
    label = "toy"
    secret = "t0k3n-of-the-toy"

    def __init__(self, tmp_path: Path) -> None:
        self.services: dict[str, dict[str, int]] = {}
        self.is_reversed = False
        self.is_broken = False

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/services", self._answer)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/services?key={self.secret}"

    async def stop(self) -> None:
        await self._runner.cleanup()

    def config(self) -> ToyConfig:
        return ToyConfig(name="tested", url=self.url, refresh="30ms")

    async def register(self, service: str, address: str) -> None:
        self.services.setdefault(service, {})[address] = 8080

    async def deregister(self, service: str, address: str) -> None:
        del self.services[service][address]
        if not self.services[service]:
            del self.services[service]

    async def corrupt(self, service: str, address: str) -> None:
        self.services[service][address] = 70000

    async def shuffle(self) -> None:
        self.is_reversed = not self.is_reversed

    async def break_(self) -> None:
        self.is_broken = True

    async def heal(self) -> None:
        self.is_broken = False

    async def _answer(self, request: web.Request) -> web.Response:
        if self.is_broken:
            return web.Response(status=500)
        step = -1 if self.is_reversed else 1
        listed = {
            name: [
                {"id": address, "address": address, "port": port}
                for address, port in list(ports.items())[::step]
            ]
            for name, ports in list(self.services.items())[::step]
        }
        return web.json_response({"services": listed})


HARNESSES = [Toy]
