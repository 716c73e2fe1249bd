"""Runs the JVM programs: a provider on Dubbo 2.7 or 3.3, one on Curator, a Spring service."""

import asyncio
import os
import shutil
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from integration.processes import dies_with_us, end, eventually

_JAVA = ("-Xmx192m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")
_QUIET = ("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",)
_START = 150.0
_READY = b"READY"
# Dubbo refuses 127.x as an address to bind. This is 127.0.0.1 as one number, which its check lets pass, so
# that its ports are on loopback all the same.
_LOOPBACK_FOR_DUBBO = str(0x7F000001)


class Program:
    """One process; runs for as long as `async with` lasts, unless it is ended before."""

    def __init__(
        self, jars: Path, folder: Path, *words: str, environ: Mapping[str, str] | None = None
    ) -> None:
        """Prepare to run.

        Args:
            jars: the folder of its jars.
            folder: where it may write; its log goes there, too.
            words: options of Java, the main class, and arguments.
            environ: what is added to the environment.
        """
        self._jars = jars
        self._folder = folder
        self._words = words
        self._environ = environ or {}
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def _log(self) -> Path:
        return self._folder / "log"

    async def start(self) -> float:
        """Start it and return the seconds until it has registered."""
        began = time.monotonic()
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *dies_with_us(),
                *(["nice", "-n", "5"] if shutil.which("nice") else []),
                *("java", *_JAVA, *_QUIET, f"-Duser.home={self._folder}", "-cp", f"{self._jars}/*"),
                *self._words,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
                cwd=self._folder,
                env=os.environ | self._environ,
            )
        await eventually(self._is_ready, _START)
        return time.monotonic() - began

    async def stop(self) -> bool:
        """Ask it to end, make it after a while, and return whether asking was enough."""
        process, self._process = self._process, None
        return process is None or await end(process)

    async def kill(self) -> None:
        """End it as a crash would: its session stays until it expires."""
        process, self._process = self._process, None
        assert process is not None
        process.send_signal(signal.SIGKILL)
        await process.wait()

    async def _is_ready(self) -> bool:
        assert self._process is not None
        said = self._log.read_bytes()
        if self._process.returncode is not None:
            raise RuntimeError(f"{self._jars.name} ended: {said.decode(errors='replace')[-3000:]}")
        return _READY in said


def dubbo(
    jars: Path, folder: Path, zookeeper: str, address: str, properties: Mapping[str, object]
) -> Program:
    """Return a provider of com.acme.OrderService and com.acme.PaymentService.

    Args:
        jars: the folder of `dubbo2` or `dubbo3`.
        folder: where it may write.
        zookeeper: host:port.
        address: what it registers.
        properties: see DubboProvider.java; besides, Dubbo's own.
    """
    options = [f"-D{name}={value}" for name, value in properties.items()]
    if jars.name == "dubbo2":
        options += ["--add-opens", "java.base/java.lang=ALL-UNNAMED"]
    environ = {"DUBBO_IP_TO_REGISTRY": address, "DUBBO_IP_TO_BIND": _LOOPBACK_FOR_DUBBO}
    words = (f"-Dzookeeper={zookeeper}", *options, "meshbridge.DubboProvider")
    return Program(jars, folder, *words, environ=environ)


def curator(jars: Path, folder: Path, zookeeper: str, address: str, root: str) -> Program:
    """Return a program that registers an instance of each kind that Curator knows."""
    options = (f"-Dzookeeper={zookeeper}", f"-Droot={root}", f"-Daddress={address}")
    return Program(jars, folder, *options, "meshbridge.CuratorProvider")


def spring(jars: Path, folder: Path, zookeeper: str, port: int, settings: Sequence[str]) -> Program:
    """Return a Spring service on 127.0.0.1, with Spring's settings as `name=value`."""
    own = (
        "server.address=127.0.0.1",
        f"server.port={port}",
        f"spring.cloud.zookeeper.connect-string={zookeeper}",
        "spring.main.banner-mode=off",
        "logging.level.root=warn",
        "management.endpoints.web.exposure.include=health,serviceregistry",
    )
    return Program(jars, folder, "meshbridge.SpringService", *(f"--{text}" for text in (*own, *settings)))
