"""A bridge and its clients as processes of their own, for benchmarks."""

import asyncio
import contextlib
import multiprocessing
import os
import queue
import sys
import threading
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import yaml
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest

from integration.processes import dies_with_us, end, free_ports
from tests.benchmarks.mcp import SOTW, TYPE_URL

_PATIENCE = 60.0
"""Seconds for what takes a few."""


class Process(NamedTuple):
    """What the operating system says of a running process."""

    pid: int

    @property
    def cpu(self) -> float:
        """Seconds of processor time so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def peak(self) -> int:
        """Bytes of resident memory at most so far."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024


@asynccontextmanager
async def bridge(folder: Path, port: int, sources: Sequence[Mapping[str, Any]]) -> AsyncIterator[Process]:
    """Run `meshbridge run` with these sources, serving at a port, and give its process."""
    (admin,) = free_ports(1)
    config = {
        "sources": sources,
        "outputs": {"mcp": {"listen": f"127.0.0.1:{port}"}},
        "admin": {"listen": f"127.0.0.1:{admin}"},
        "log": {"level": "warning"},
    }
    file = folder / "meshbridge.yaml"
    file.write_text(yaml.safe_dump(config))
    program = str(Path(sys.executable).with_name("meshbridge"))
    process = await asyncio.create_subprocess_exec(*dies_with_us(), program, "run", "-c", str(file))
    try:
        yield Process(process.pid)
    finally:
        await end(process)


class Client:
    """A client in a process of its own, for as long as `async with` lasts."""

    def __init__(self, port: int, method: str = SOTW) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._pipe, theirs = spawn.Pipe()
        self._process = spawn.Process(target=_be_client, args=(port, method, theirs), daemon=True)

    async def __aenter__(self) -> "Client":
        self._process.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()

    async def synced(self) -> tuple[float, int]:
        """Return when the first response came, and the bytes of it."""
        return await self._ask("synced")

    async def forget(self) -> None:
        """Forget responses so far."""
        await self._ask("forget")

    async def seen(self, text: str, *, present: bool = True) -> float:
        """Return when the first response came, since they were forgotten, that has a text, or lacks it."""
        return await self._ask("seen", text.encode(), present)

    async def count(self) -> int:
        """Return how many responses came since they were forgotten."""
        return await self._ask("count")

    async def _ask(self, *question: object) -> Any:
        self._pipe.send(question)
        if not await asyncio.to_thread(self._pipe.poll, _PATIENCE):
            raise TimeoutError(f"the client does not get what it waits for: {question}")
        return self._pipe.recv()


class _Responses:
    """What a client has received, and when."""

    def __init__(self) -> None:
        self._came = threading.Condition()
        self._found: list[tuple[float, bytes]] = []
        self._first: tuple[float, int] | None = None

    def add(self, body: bytes) -> None:
        with self._came:
            self._found.append((time.monotonic(), body))
            if self._first is None:
                self._first = (self._found[0][0], len(body))
            self._came.notify()

    def synced(self) -> tuple[float, int]:
        with self._came:
            self._came.wait_for(lambda: self._first is not None)
            assert self._first is not None
            return self._first

    def forget(self) -> None:
        with self._came:
            self._found.clear()

    def count(self) -> int:
        with self._came:
            return len(self._found)

    def seen(self, text: bytes, present: bool) -> float:
        looked = 0
        with self._came:
            while True:
                for at, body in self._found[looked:]:
                    if (text in body) is present:
                        return at
                looked = len(self._found)
                self._came.wait()


def _be_client(port: int, method: str, pipe: Connection) -> None:
    responses = _Responses()
    threading.Thread(target=_follow, args=(port, method, responses), daemon=True).start()
    while True:
        name, *words = pipe.recv()
        pipe.send(getattr(responses, name)(*words))


def _follow(port: int, method: str, responses: _Responses) -> None:
    options = [("grpc.max_receive_message_length", -1), ("grpc.initial_reconnect_backoff_ms", 50)]
    options += [("grpc.min_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 50)]
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    requests.put(DiscoveryRequest(type_url=TYPE_URL, response_nonce="made up").SerializeToString())
    ended = contextlib.suppress(grpc.RpcError)
    with ended, grpc.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        call = channel.stream_stream(method)
        for body in call(iter(requests.get, b""), wait_for_ready=True):
            responses.add(body)
            if method == SOTW:
                nonce = body[body.rfind(b"*") + 2 :].decode()  # The last field, behind its length.
                requests.put(DiscoveryRequest(type_url=TYPE_URL, response_nonce=nonce).SerializeToString())
