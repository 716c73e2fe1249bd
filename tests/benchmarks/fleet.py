"""Many clients in one process, which note when each generation came; for benchmarks."""

import asyncio
import multiprocessing
import time
from multiprocessing.connection import Connection
from typing import Self

import grpc
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DiscoveryRequest

from tests.benchmarks.mcp import DELTA_METHOD, TYPE_URL

Seen = list[tuple[float, int]]
"""When a response came, and the generation it is of."""


class Fleet:
    """Clients that acknowledge at once, for as long as `async with` lasts."""

    def __init__(self, port: int, method: str, count: int) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._pipe, theirs = spawn.Pipe()
        self._process = spawn.Process(target=_be_fleet, args=(port, method, count, theirs), daemon=True)

    async def __aenter__(self) -> Self:
        self._process.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()

    async def wait_for(self, generation: int) -> None:
        """Return as soon as every client has this generation, or a newer one."""
        self._pipe.send(generation)
        await asyncio.to_thread(self._pipe.recv)

    async def seen(self) -> list[Seen]:
        """Return what each client has seen so far."""
        self._pipe.send(None)
        found: list[Seen] = await asyncio.to_thread(self._pipe.recv)
        return found


def _be_fleet(port: int, method: str, count: int, pipe: Connection) -> None:
    asyncio.run(_serve(port, method, count, pipe))


async def _serve(port: int, method: str, count: int, pipe: Connection) -> None:
    seen: list[Seen] = [[] for _ in range(count)]
    async with asyncio.TaskGroup() as tasks:
        for mine in seen:
            tasks.create_task(_follow(port, method, mine))
        while True:
            question = await asyncio.to_thread(pipe.recv)
            if question is None:
                pipe.send(seen)
                continue
            # An event for each response would cost time.
            while not all(mine and mine[-1][1] >= question for mine in seen):  # noqa: ASYNC110 - see above
                await asyncio.sleep(0.01)
            pipe.send(question)


async def _follow(port: int, method: str, seen: Seen) -> None:
    options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
    request = DeltaDiscoveryRequest if method == DELTA_METHOD else DiscoveryRequest
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options) as channel:
        call = channel.stream_stream(method, None, None)(request_iterator=None)
        await call.write(request(type_url=TYPE_URL).SerializeToString())
        async for body in call:
            nonce = body[body.rfind(b"*") + 2 :].decode()  # The last field, behind its length.
            seen.append((time.monotonic(), int(nonce[1:].partition(".")[0])))
            await call.write(request(type_url=TYPE_URL, response_nonce=nonce).SerializeToString())
