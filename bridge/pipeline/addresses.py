"""Virtual addresses for hosts, since istiod gives none to what comes over MCP.

An address is a hash of namespace and host within a network. Where two hosts hash to one address, the smaller
of them by namespace and host has it, and the other the next of its own hashes that is free of better claims
(deferred acceptance). So addresses depend on the set of hosts alone, not on the order in which they came:
replicas and restarts agree, and only hosts that meet in a collision can ever move.
"""

import hashlib
import ipaddress
from collections.abc import Iterable

from meshbridge.bridge.pipeline.values import MeshKey

_MAX_TRIES = 64
"""Hashes that are tried; with half the network taken, one host in 2**64 would be left without an address."""


class VirtualAddresses:
    """The addresses of one network."""

    def __init__(self, network: str) -> None:
        self.network = network
        found = ipaddress.ip_network(network)
        self._first = found.network_address + 1
        self._count = found.num_addresses - 2
        self._holders: dict[int, MeshKey] = {}
        self._tries: dict[MeshKey, int] = {}
        """Which of its hashes each host has, `_MAX_TRIES` for none."""
        self._refused: dict[int, set[MeshKey]] = {}
        """Hosts that lost an address to its holder."""

    def get(self, key: MeshKey) -> str:
        """Return the address of a host, "" when it has none."""
        tries = self._tries.get(key, _MAX_TRIES)
        return "" if tries == _MAX_TRIES else str(self._first + self._slot(key, tries))

    def take(self, key: MeshKey) -> set[MeshKey]:
        """Give a host an address and return the other hosts that had to move."""
        if key in self._tries:
            return set()
        return self._place([key]) - {key}

    def free(self, key: MeshKey) -> set[MeshKey]:
        """Take a host's address back and return the other hosts that moved because of it."""
        if key not in self._tries:
            return set()
        met = self._met(key)
        before = {other: self._tries[other] for other in met}
        for other in met:
            for slot in self._tried(other):
                self._holders.pop(slot, None)
                self._refused.pop(slot, None)
            del self._tries[other]
        self._place(sorted(met - {key}))
        return {other for other in met - {key} if self._tries[other] != before[other]}

    def _place(self, keys: Iterable[MeshKey]) -> set[MeshKey]:
        """Let hosts claim their addresses, and return which have another one now."""
        claims = [(key, 0) for key in keys]
        moved = set()
        while claims:
            key, tries = claims.pop()
            moved.add(key)
            self._tries[key] = tries
            if tries == _MAX_TRIES:
                continue
            slot = self._slot(key, tries)
            holder = self._holders.setdefault(slot, key)
            if holder == key:
                continue
            loser = key
            if (tries, key) < (self._tries[holder], holder):
                self._holders[slot], loser = key, holder
            self._refused.setdefault(slot, set()).add(loser)
            claims.append((loser, self._tries[loser] + 1))
        return moved

    def _met(self, key: MeshKey) -> set[MeshKey]:
        """Return the host and all that it met in a collision, directly or not."""
        met, news = {key}, [key]
        while news:
            for slot in self._tried(news.pop()):
                others = self._refused.get(slot, set()) | {self._holders[slot]}
                news.extend(others - met)
                met |= others
        return met

    def _tried(self, key: MeshKey) -> list[int]:
        return [self._slot(key, tries) for tries in range(min(self._tries[key] + 1, _MAX_TRIES))]

    def _slot(self, key: MeshKey, tries: int) -> int:
        text = f"{key}#{tries}" if tries else str(key)
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) % self._count
