"""ZooKeeper servers that end with their test: one alone, or three that elect a leader."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from integration.processes import dies_with_us, end, eventually, free_ports

JARS = tuple(
    Path("/usr/share/java", name) for name in ("zookeeper.jar", "slf4j-simple.jar", "servlet-api.jar")
)
NETTY = tuple(Path("/usr/share/java", name) for name in ("netty-codec.jar", "netty-resolver.jar"))
"""What the server needs besides to speak TLS; the package depends on it, its class path lacks it."""
PACKAGES = ("zookeeper", "libslf4j-java", "libservlet-api-java", "default-jre-headless")
_JAVA = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
_MAIN = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
_SERVING = ("standalone", "leader", "follower", "read-only")


def missing() -> str:
    """Return why there is no ZooKeeper here, "" where there is; as root it is installed."""
    if not _is_there() and os.geteuid() == 0 and (apt := shutil.which("apt-get")):
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        command = [apt, "install", "-y", "-q", *PACKAGES]
        subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False)
    return "" if _is_there() else f"no ZooKeeper: apt-get install {' '.join(PACKAGES)}"


def _is_there() -> bool:
    return shutil.which("java") is not None and all(jar.exists() for jar in JARS)


class Kind(msgspec.Struct, frozen=True):
    """What is special about a server."""

    settings: str = ""
    """Lines for zoo.cfg."""
    properties: tuple[str, ...] = ()
    """Java's system properties, `name=value`."""
    jars: tuple[Path, ...] = JARS
    """Its program: another version than the machine's own."""
    address: str = "127.0.0.1"
    """Where clients find it."""
    listen: str = "127.0.0.1"
    """Where it listens."""
    prefix: tuple[str, ...] = ()
    """What to put before its command."""


class Server:
    """One server process. It keeps its data and its port over restarts."""

    def __init__(self, folder: Path, port: int, kind: Kind) -> None:
        self.port = port
        self.folder = folder
        self._kind = kind
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "zoo.cfg").write_text(
            f"tickTime=200\ninitLimit=20\nsyncLimit=10\ndataDir={folder}\nclientPort={port}\n"
            f"clientPortAddress={kind.listen}\nadmin.enableServer=false\n4lw.commands.whitelist=*\n"
            f"maxClientCnxns=0\n{kind.settings}"
        )
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it; it may not serve yet."""
        classes = ":".join(map(str, self._kind.jars))
        with (self.folder / "log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *dies_with_us(),
                *self._kind.prefix,
                *("java", *_JAVA, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"),
                *(f"-D{text}" for text in self._kind.properties),
                *("-cp", classes, _MAIN, str(self.folder / "zoo.cfg")),
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
            )

    async def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self.signal(signal.SIGCONT)
            await end(self._process)
            self._process = None

    async def kill(self) -> None:
        """End it as a crash would."""
        self.signal(signal.SIGKILL)
        await self._process.wait()
        self._process = None

    def signal(self, number: int) -> None:
        """Send it a signal: SIGSTOP freezes it, SIGCONT thaws it."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    def wipe(self) -> None:
        """Remove everything it has stored; only while it is stopped."""
        for path in self.folder.glob("version-2"):
            shutil.rmtree(path)

    async def mode(self) -> str:
        """Return what it says it is: standalone, leader, follower, read-only; "" while it does not serve."""
        return await asyncio.to_thread(self._mode)

    def _mode(self) -> str:
        answer = b""
        try:
            with socket.create_connection((self._kind.address, self.port), timeout=1) as connection:
                connection.sendall(b"srvr")
                while chunk := connection.recv(4096):
                    answer += chunk
        except OSError:
            return ""
        lines = [line for line in answer.decode().splitlines() if line.startswith("Mode: ")]
        return lines[0].removeprefix("Mode: ") if lines else ""

    async def wait_serving(self) -> None:
        """Return as soon as it serves."""
        await eventually(self._serves)

    async def _serves(self) -> bool:
        return await self.mode() in _SERVING


class Ensemble:
    """One server or several; runs for as long as `async with` lasts."""

    def __init__(self, folder: Path, size: int = 1, kind: Kind | None = None) -> None:
        self._kind = kind = kind or Kind()
        clients = free_ports(3 * size)
        quorum = "".join(
            f"server.{number}=127.0.0.1:{clients[size + 2 * number - 2]}:{clients[size + 2 * number - 1]}\n"
            for number in range(1, size + 1)
        )
        # Without local sessions a server that is cut off takes no new client, not even to read.
        quorum += "localSessionsEnabled=true\nlocalSessionsUpgradingEnabled=true\n"
        special = msgspec.structs.replace(kind, settings=kind.settings + (quorum if size > 1 else ""))
        self.servers = [
            Server(folder / f"zk{number + 1}", clients[number], special) for number in range(size)
        ]
        if size > 1:
            for number, server in enumerate(self.servers, start=1):
                (server.folder / "myid").write_text(str(number))
        self._stack = AsyncExitStack()

    @property
    def hosts(self) -> str:
        """Where clients connect to."""
        return ",".join(f"{self._kind.address}:{server.port}" for server in self.servers)

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            for server in self.servers:
                await server.start()
                stack.push_async_callback(server.stop)
            for server in self.servers:
                await server.wait_serving()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def leader(self) -> Server:
        """Return the server that leads."""
        for server in self.servers:
            if await server.mode() == "leader":
                return server
        raise LookupError("no server leads")
