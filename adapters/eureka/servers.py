"""Which server of a cluster to read. Pure."""

from collections.abc import Mapping

from meshbridge.adapters.eureka.payload import instance_count

ENOUGH = 0.9
"""A server that lists less than this share of what another one lists is not read while that one answers."""


def rank(servers: Mapping[str, int], hashes: Mapping[str, str | None], current: str) -> list[str]:
    """Return all servers in the order in which to try them.

    First those that list enough, by preference and then the current one, so that we stay where we are; then
    those that list too little; then those that don't answer.

    Args:
        servers: in order, with their rank by zone.
        hashes: what those that answer say they list; None where they don't say.
        current: the server that was read last, "" at first.
    """
    counts = {server: None if text is None else instance_count(text) for server, text in hashes.items()}
    most = max((count for count in counts.values() if count is not None), default=0)

    def order(server: str) -> tuple[int, int, bool]:
        if server not in counts:
            return 2, servers[server], server != current
        count = counts[server]
        lists_enough = count is None or count >= ENOUGH * most
        return int(not lists_enough), servers[server], server != current

    return sorted(servers, key=order)


def disagreement(hashes: Mapping[str, str | None]) -> str:
    """Return who lists how much, "" while all list about the same."""
    counts = {server: instance_count(text) for server, text in hashes.items() if text is not None}
    if not counts or min(counts.values()) >= ENOUGH * max(counts.values()):
        return ""
    return ", ".join(f"{server}: {count}" for server, count in sorted(counts.items()))
