"""Calls services at a steady rate until its standard input ends; one line of JSON for each call.

It is a program of its own because gRPC reads its bootstrap once per process. It imports gRPC alone.
"""

import asyncio
import itertools
import json
import sys
import time
from contextlib import AsyncExitStack

import grpc
from grpc.experimental import insecure_channel_credentials

_TIMEOUT = 5.0


async def main(method: str, rate: float, is_fresh: bool, targets: list[str]) -> None:
    """Call the targets in turn, `rate` times a second altogether. A slow call delays no other one.

    `is_fresh`: with a new connection for every call.
    """
    stop = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, stop.set)
    async with AsyncExitStack() as stack:
        # Where every call has its own, these keep what gRPC knows of the mesh.
        channels = {target: await stack.enter_async_context(_channel(target)) for target in targets}
        under_way: set[asyncio.Task[None]] = set()
        started = time.monotonic()
        for count in itertools.count(1):
            target = targets[count % len(targets)]
            call = _call_anew(target, method) if is_fresh else _call(channels[target], target, method)
            task = asyncio.create_task(call)
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            await asyncio.sleep(started + count / rate - time.monotonic())
            if stop.is_set():
                break
        await asyncio.gather(*under_way)


def _channel(target: str) -> grpc.aio.Channel:
    credentials = grpc.xds_channel_credentials(insecure_channel_credentials())
    # Channels would else share their connections.
    options = [("grpc.use_local_subchannel_pool", 1)]
    return grpc.aio.secure_channel(f"xds:///{target}", credentials, options)


async def _call_anew(target: str, method: str) -> None:
    async with _channel(target) as channel:
        await _call(channel, target, method)


async def _call(channel: grpc.aio.Channel, target: str, method: str) -> None:
    sent = time.monotonic()
    server, caller, error = "", "", ""
    try:
        server, caller = json.loads(await channel.unary_unary(method)(b"", timeout=_TIMEOUT))
    except grpc.aio.AioRpcError as failure:
        error = f"{failure.code().name}: {failure.details()}"
    host = target.rpartition(":")[0]
    print(json.dumps([sent, time.monotonic() - sent, host, server, caller, error]), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2]), sys.argv[3] == "fresh", sys.argv[4:]))
