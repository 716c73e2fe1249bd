"""What `X-Consul-Index` means, by the rules of Consul's blocking queries. Pure.

https://developer.hashicorp.com/consul/api-docs/features/blocking
"""

from enum import StrEnum


class Movement(StrEnum):
    """How an answer's index relates to the one known."""

    SAME = "same"
    AHEAD = "ahead"
    UNKNOWN = "unknown"
    """Absent, 0 or 1: a view that is not filled yet, or a server's bug. It proves nothing."""
    BACK = "back"
    """Lower than before: the servers were restored, or one that lags has answered."""


def parse_index(text: str | None) -> int:
    """Return the index of an answer, 0 when it has none that can be read."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 20 else 0


def movement(last: int, found: int) -> Movement:
    """Return how an answer's index relates to the last one; `last` 0 means that none is known."""
    if found <= 1:
        return Movement.UNKNOWN
    if last == 0 or found > last:
        return Movement.AHEAD
    return Movement.SAME if found == last else Movement.BACK


def next_index(last: int, found: int) -> int:
    """Return the index to wait beyond; 0 asks anew, without one.

    After an unknown index that is 1, which waits only where there is really nothing to tell.
    """
    moved = movement(last, found)
    if moved is Movement.UNKNOWN:
        return 1
    return 0 if moved is Movement.BACK else found
