"""A bridge as its users run it: the installed command, a configuration file, an inventory file."""

import asyncio
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import yaml

from integration.processes import PATIENCE, dies_with_us, end, eventually, free_ports

SERVICE_ENTRIES = "networking.istio.io/v1/ServiceEntry"
PROGRAM = str(Path(sys.executable).with_name("meshbridge"))
_LAST_WORDS = 40

Services = Sequence[Mapping[str, Any]]
"""The `services` of an inventory in the bridge's own format."""


class Inventory:
    """An inventory file, replaced as a whole at each change."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, *services: Mapping[str, Any]) -> None:
        """Make these the services."""
        self.write_text(json.dumps({"services": services}))

    def write_text(self, text: str) -> None:
        """Make this the content of the file."""
        new = self.path.with_suffix(".new")
        new.write_text(text)
        new.replace(self.path)


class Bridge:
    """`meshbridge run` in a folder. It keeps its addresses from one run to the next."""

    def __init__(self, folder: Path, **settings: object) -> None:
        """Write the configuration; `settings` are further parts of it. `probe` goes to the source."""
        mcp, admin = free_ports(2)
        self.mcp_address = f"127.0.0.1:{mcp}"
        self.admin_url = f"http://127.0.0.1:{admin}"
        self.inventory = Inventory(folder / "vms.json")
        self._config = folder / "meshbridge.yaml"
        self._log_file = folder / "meshbridge.log"
        source: dict[str, object] = {"name": "vms", "kind": "inventory", "files": [str(self.inventory.path)]}
        if "probe" in settings:
            source["probe"] = settings.pop("probe")
        output = {"listen": self.mcp_address} | dict(settings.pop("mcp", {}))  # type: ignore[call-overload]
        config = {
            "sources": [source],
            "outputs": {"mcp": output},
            "admin": {"listen": f"127.0.0.1:{admin}"} | dict(settings.pop("admin", {})),  # type: ignore[call-overload]
            **settings,
        }
        self._config.write_text(yaml.safe_dump(config, sort_keys=False))
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.__aexit__(*sys.exc_info())
            raise
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if error is not None:
            print("\n".join(["the bridge's log ends:", *self.log.splitlines()[-_LAST_WORDS:]]))
        if self._process is not None:
            await self.stop()

    @property
    def log(self) -> str:
        """Everything it has logged in all its runs."""
        return self._log_file.read_text(errors="replace")

    async def start(self) -> None:
        """Start it and return as soon as its admin interface answers."""
        with self._log_file.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *dies_with_us(),
                *(PROGRAM, "run", "-c", str(self._config)),
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
                env=os.environ | {"PYTHONWARNINGS": "error"},
            )
        await eventually(self._answers)

    def change(self, **settings: object) -> None:
        """Replace parts of the configuration file; a running bridge reads it again by itself."""
        config = yaml.safe_load(self._config.read_text()) | settings
        new = self._config.with_suffix(".new")
        new.write_text(yaml.safe_dump(config, sort_keys=False))
        new.replace(self._config)

    async def stop(self) -> None:
        """End it as an operator would."""
        assert self._process is not None
        process, self._process = self._process, None
        assert await end(process), "the bridge does not end when asked to"
        assert process.returncode == 0

    async def kill(self) -> None:
        """End it as a crash would."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()
        self._process = None

    async def get(self, collection: str) -> list[Mapping[str, Any]]:
        """Return the items that its admin interface lists, of `sources`, `clients` and so on."""
        async with (
            aiohttp.ClientSession(raise_for_status=True) as http,
            http.get(f"{self.admin_url}/api/v1/{collection}") as response,
        ):
            return list(json.loads(await response.read())["items"])

    async def objects(self, collection: str) -> list[Mapping[str, Any]]:
        """Return what `meshbridge get COLLECTION -o json` prints: Kubernetes objects."""
        process = await asyncio.create_subprocess_exec(
            *(PROGRAM, "get", collection, "-o", "json", "--admin", self.admin_url),
            stdout=asyncio.subprocess.PIPE,
        )
        printed, _ = await process.communicate()
        assert process.returncode == 0
        return list(json.loads(printed)["items"])

    async def is_ready(self) -> bool:
        """Whether it gives answers."""
        async with aiohttp.ClientSession() as http, http.get(f"{self.admin_url}/readyz") as response:
            return response.status == 200

    async def clients(self, acknowledged: bool) -> int:
        """Return how many clients wait for service entries, or have acknowledged the newest."""
        found = [
            (kind["version"], kind["acked"])
            for client in await self.get("clients")
            for kind in client["types"]
            if kind["typeUrl"] == SERVICE_ENTRIES
        ]
        return sum((sent == acked != "") if acknowledged else not sent for sent, acked in found)

    async def wait_for_client(self, *, acknowledged: bool = True, within: float = PATIENCE) -> None:
        """Return as soon as a client has taken the newest service entries, or as it waits for the first.

        Raises:
            TimeoutError: there is none within so many seconds.
        """
        await eventually(lambda: self.clients(acknowledged), within)

    async def _answers(self) -> bool:
        assert self._process is not None
        if self._process.returncode is not None:
            raise RuntimeError(f"the bridge ended: {self.log}")
        try:
            await self.is_ready()
        except aiohttp.ClientConnectionError:
            return False
        return True
