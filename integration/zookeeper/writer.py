"""Changes what ZooKeeper holds, as a registering client would."""

import asyncio
import contextlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Self

from kazoo.client import KazooClient
from kazoo.exceptions import NoNodeError
from kazoo.retry import KazooRetry
from kazoo.security import ACL

_BATCH = 500


class Writer:
    """A session of its own; every change is retried until it is made."""

    def __init__(self, hosts: str, digest: str = "", timeout: float = 4) -> None:
        auth = [("digest", digest)] if digest else None
        retry = KazooRetry(max_tries=-1, delay=0.05, max_delay=0.5)
        self.client = KazooClient(
            hosts=hosts, timeout=timeout, auth_data=auth, connection_retry=retry, command_retry=retry.copy()
        )

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.client.start, 30)
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.client.stop)
        self.client.close()

    async def put(
        self, path: str, data: bytes = b"", *, ephemeral: bool = False, acl: Sequence[ACL] = ()
    ) -> None:
        """Make a node, or change its data."""

        def work() -> None:
            if self.client.retry(self.client.exists, path):
                self.client.retry(self.client.set, path, data)
            else:
                self.client.retry(self.client.ensure_path, path.rpartition("/")[0] or "/")
                self.client.retry(self.client.create, path, data, acl=list(acl) or None, ephemeral=ephemeral)

        await asyncio.to_thread(work)

    async def remove(self, path: str) -> None:
        """Remove a node and what is below it."""

        def work() -> None:
            with contextlib.suppress(NoNodeError):
                self.client.retry(self.client.delete, path, recursive=True)

        await asyncio.to_thread(work)

    async def put_many(self, nodes: Mapping[str, bytes]) -> None:
        """Make many nodes whose parents exist, or come before them."""

        def work() -> None:
            paths = list(nodes)
            for start in range(0, len(paths), _BATCH):
                batch = self.client.transaction()
                for path in paths[start : start + _BATCH]:
                    batch.create(path, nodes[path])
                failed = [result for result in batch.commit() if isinstance(result, Exception)]
                if failed:
                    raise failed[0]

        await asyncio.to_thread(work)

    async def load(self, dump: Mapping[str, Mapping[str, Any]]) -> None:
        """Make the nodes of a dump: path -> {data, ephemeral}."""
        for path in sorted(dump):
            await self.put(path, dump[path]["data"].encode(), ephemeral=dump[path]["ephemeral"])


def record(address: str, port: int = 8080) -> bytes:
    """Return the data of an instance in the layout `json`."""
    return json.dumps({"address": address, "port": port}).encode()
