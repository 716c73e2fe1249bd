"""Inventories under the contract's control: a directory, a URL with a token, and a command."""

import gzip
import json
from pathlib import Path
from typing import ClassVar

from aiohttp import web

from meshbridge.adapters.inventory.settings import InventoryConfig

PORT = 8080
REFRESH = "30ms"


class Inventory:
    """What all three have in common: rows, of which some are bad."""

    kind = "inventory"
    label: ClassVar[str]
    secret = ""

    def __init__(self, tmp_path: Path) -> None:
        self.directory = tmp_path
        self.rows: dict[tuple[str, str], int] = {}
        self.is_broken = False

    async def start(self) -> None:
        self.write()

    async def stop(self) -> None:
        pass

    async def register(self, service: str, address: str) -> None:
        self.rows[service, address] = PORT
        self.write()

    async def deregister(self, service: str, address: str) -> None:
        del self.rows[service, address]
        self.write()

    async def corrupt(self, service: str, address: str) -> None:
        self.rows[service, address] = 70000
        self.write()

    async def shuffle(self) -> None:
        self.rows = dict(reversed(self.rows.items()))
        self.write()

    async def break_(self) -> None:
        self.is_broken = True
        self.write()

    async def heal(self) -> None:
        self.is_broken = False
        self.write()

    def write(self) -> None:
        raise NotImplementedError

    def replace(self, name: str, text: str) -> None:
        """Write beside and rename, as one should."""
        fresh = self.directory / f".{name}.new"
        fresh.write_text(text)
        fresh.rename(self.directory / name)


class Directory(Inventory):
    label = "inventory-files"

    def config(self) -> InventoryConfig:
        return InventoryConfig(name="tested", files=[str(self.directory)])

    def write(self) -> None:
        lines = [f"{service},{address},{port}" for (service, address), port in self.rows.items()]
        header = ["service,address,port"] if lines else ["# empty: true"]
        self.replace("vms.csv", "\0" if self.is_broken else "\n".join(header + lines) + "\n")


class Command(Inventory):
    label = "inventory-command"

    def config(self) -> InventoryConfig:
        argv = ["cat", str(self.directory / "vms")]
        return InventoryConfig(name="tested", commands=[argv], refresh=REFRESH)

    def write(self) -> None:
        services = {service for service, _ in self.rows}
        listed = [
            {
                "name": service,
                "instances": [
                    {"address": address, "port": port}
                    for (owner, address), port in self.rows.items()
                    if owner == service
                ],
            }
            for service in services
        ]
        self.replace("vms", json.dumps({"services": listed} if listed else {"empty": True}))
        if self.is_broken:
            (self.directory / "vms").unlink()


class Url(Inventory):
    label = "inventory-url"
    secret = "s3cr3t-t0ken"

    async def start(self) -> None:
        (self.directory / "token").write_text(self.secret + "\n")
        app = web.Application()
        app.router.add_get("/vms", self._answer)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        await self._runner.cleanup()

    def config(self) -> InventoryConfig:
        return InventoryConfig(
            name="tested",
            urls=[f"http://127.0.0.1:{self._port}/vms?key={self.secret}"],
            token_file=str(self.directory / "token"),
            refresh=REFRESH,
        )

    def write(self) -> None:
        """The server answers from the rows."""

    async def _answer(self, request: web.Request) -> web.Response:
        if self.is_broken:
            return web.Response(status=500, text=f"the token was {self.secret}")
        if request.headers.get("Authorization") != f"Bearer {self.secret}":
            return web.Response(status=401)
        groups = [
            {"targets": [f"{address}:{port}"], "labels": {"service": service}}
            for (service, address), port in self.rows.items()
        ]
        body = gzip.compress(json.dumps(groups or {"empty": True}).encode(), mtime=0)
        tag = f'"{hash(body)}"'
        if request.headers.get("If-None-Match") == tag:
            return web.Response(status=304)
        return web.Response(body=body, headers={"ETag": tag, "Content-Encoding": "gzip"})


HARNESSES = [Directory, Command, Url]
