"""One API server process, with Istio's CRDs, for as long as `async with` lasts."""

import asyncio
import os
import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp
import yaml

from integration.processes import PATIENCE, dies_with_us, eventually, free_ports

ADMIN = 'admin-token,admin,1,"system:masters"\n'
APPLY = "application/apply-patch+yaml"
_LAST_WORDS = 40


class ApiServer:
    """Its state survives `stop` and `start`; `tokens` are lines for more users: token,user,uid,"groups"."""

    def __init__(self, binary: Path, crds: Path | None, folder: Path, tokens: str = "") -> None:
        self._binary = binary
        self._crds = crds
        self._folder = folder
        self._log_file = folder / "server.log"
        self.port = free_ports(1)[0]
        self.kubeconfig = folder / "kubeconfig"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tokens.csv").write_text(ADMIN + tokens)

    async def __aenter__(self) -> Self:
        await self.start()
        if self._crds is not None:
            await self.install(self._crds.read_text())
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if error is not None:
            print("\n".join(["the API server's log ends:", *self.log.splitlines()[-_LAST_WORDS:]]))
        await self.stop()

    @property
    def log(self) -> str:
        """Everything it has logged."""
        return self._log_file.read_text(errors="replace")

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"https://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start it and return when it is ready."""
        with self._log_file.open("ab") as log:
            # No asyncio process: several tests, each with a loop of its own, may share the server.
            self._process = subprocess.Popen(  # noqa: ASYNC220 - it takes a moment only
                [*dies_with_us(), str(self._binary), "--dir", str(self._folder), "--port", str(self.port)],
                stdout=log,
                stderr=log,
                env=os.environ | {"GOGC": "40"},
            )
        await eventually(self._is_ready, 2 * PATIENCE)

    async def stop(self) -> None:
        """End it; it has nothing to lose."""
        self._process.kill()
        await asyncio.to_thread(self._process.wait)

    def pause(self) -> None:
        """Freeze it: it keeps its connections and answers nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def user(self, token: str, name: str = "limited") -> Path:
        """Return a kubeconfig for another user."""
        config = yaml.safe_load(self.kubeconfig.read_text())
        config["users"][0]["user"]["token"] = token
        path = self._folder / f"kubeconfig-{name}"
        path.write_text(yaml.safe_dump(config))
        return path

    async def install(self, crds: str) -> None:
        """Apply CRDs and return when their kinds are served."""
        plurals = []
        async with self.session() as http:
            for document in yaml.safe_load_all(crds):
                name = document["metadata"]["name"]
                plurals.append(name.partition(".")[0])
                url = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}?fieldManager=tests"
                body = yaml.safe_dump(document)
                async with http.patch(url, data=body, headers={"Content-Type": APPLY}) as answer:
                    assert answer.status in (200, 201), await answer.text()

            async def are_served() -> bool:
                for plural in plurals:
                    async with http.get(f"/apis/networking.istio.io/v1/{plural}") as answer:
                        if answer.status != 200:
                            return False
                return True

            await eventually(are_served)

    def session(self, token: str = "admin-token") -> aiohttp.ClientSession:
        """Return an HTTP session to it."""
        return aiohttp.ClientSession(
            base_url=self.url,
            headers={"Authorization": f"Bearer {token}"},
            connector=aiohttp.TCPConnector(ssl=False),
        )

    async def _is_ready(self) -> bool:
        if self._process.poll() is not None:
            raise RuntimeError(f"the API server ended: {self.log[-2000:]}")
        try:
            async with self.session() as http, http.get("/readyz") as answer:
                return answer.status == 200
        except aiohttp.ClientConnectionError:
            return False
