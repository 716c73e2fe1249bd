"""Reads of the registry, with what their headers say of their worth."""

import random
from collections.abc import Mapping
from dataclasses import dataclass

from meshbridge.adapters.base import AdapterContext
from meshbridge.adapters.consul.confirm import Standing
from meshbridge.adapters.consul.index import parse_index
from meshbridge.adapters.consul.settings import ConsulConfig
from meshbridge.adapters.consul.transport import Answer, Consul, Failure, Transport, taken

SERVICES = "/v1/catalog/services"
NODES = "/v1/catalog/nodes"
CRITICAL = "/v1/health/state/critical"
WARNING = "/v1/health/state/warning"

_PEER_WAIT = 5.0
"""Seconds after which the services imported from a peer are asked for again."""


@dataclass(frozen=True)
class Reply:
    """An answer of the registry."""

    body: bytes
    standing: Standing
    observed: float
    """Monotonic seconds of its arrival."""


class Client:
    """One session with the agents of a source. Use it inside the running loop and close it."""

    def __init__(self, config: ConsulConfig, context: AdapterContext) -> None:
        """Prepare the session.

        Raises:
            Failure: the TLS files can't be used.
        """
        self._config = config
        self._context = context
        self._transport = Transport(config)
        self._consul: Consul | None = None
        self.denies_by_default = False
        """Whether the agent said that who has no token sees nothing."""

    @property
    def consul(self) -> Consul:
        """The library's client, for its own methods: awaitable, over the same connections."""
        if self._consul is None:
            self._consul = Consul(self._transport)
        return self._consul

    @property
    def agent(self) -> str:
        """The address of the agent in use."""
        return self._transport.agent

    async def close(self) -> None:
        """Close every connection."""
        await self._transport.close()

    async def service(self, name: str, *, index: int = 0, is_plain: bool = False) -> Reply:
        """Return the instances of a service; with an index, when it has moved on or the wait is over.

        Args:
            name: the service.
            index: wait beyond this; 0: don't wait.
            is_plain: ask the leader.

        Raises:
            Failure: there is no answer, or no usable one.
        """
        more = {"filter": self._config.filter} if self._config.filter else {}
        return await self._read(f"/v1/health/service/{name}", more, index, is_plain=is_plain)

    async def read_list(self, path: str, *, index: int = 0, is_plain: bool = False) -> Reply:
        """Return one of the lists that tell of changes; arguments and errors as for `service`."""
        if path == SERVICES and (peer := self._config.scope.peer):
            # The catalog lists local services whatever peer is asked for. The leader alone knows the imported
            # ones, and wakes nobody when they change.
            return await self._read(f"/v1/peering/{peer}", {}, index, is_plain=True, longest=_PEER_WAIT)
        return await self._read(path, {}, index, is_plain=is_plain)

    async def _read(
        self,
        path: str,
        more: Mapping[str, str],
        index: int,
        *,
        is_plain: bool,
        longest: float = float("inf"),
    ) -> Reply:
        config = self._config
        params: dict[str, object] = {**config.scope.parameters, **more}
        timeout = config.timeout
        if config.stale and not is_plain:
            params["stale"] = ""
        if index:
            # The server adds up to a sixteenth at random; so do we, so that replicas spread out.
            wait = min(config.wait, longest) * random.uniform(0.9375, 1.0)  # noqa: S311 - no secret
            params |= {"index": index, "wait": f"{int(wait * 1000)}ms"}
            timeout += config.wait * 17 / 16
        metrics = self._context.metrics
        metrics.attempt()
        try:
            answer: Answer = await self.consul.http.get(taken, path, params, None, timeout=timeout)
        except Failure as failure:
            metrics.error(failure.reason)
            raise
        metrics.success()
        if answer.headers.get("X-Consul-Default-Acl-Policy") == "deny":
            self.denies_by_default = True
        standing = standing_of(answer.headers, is_plain=is_plain and not index)
        return Reply(answer.body, standing, self._context.clock())


def standing_of(headers: Mapping[str, str], *, is_plain: bool) -> Standing:
    """Return what an answer's headers say of its worth."""
    leader = headers.get("X-Consul-KnownLeader")
    return Standing(
        index=parse_index(headers.get("X-Consul-Index")),
        is_plain=is_plain,
        is_streaming=headers.get("X-Consul-Query-Backend") == "streaming",
        knows_leader=None if leader is None else leader == "true",
        lag=parse_index(headers.get("X-Consul-LastContact")) / 1000,
        is_filtered=headers.get("X-Consul-Results-Filtered-By-ACLs") == "true",
    )
