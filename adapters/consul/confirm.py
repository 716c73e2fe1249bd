"""When an answer with less than before is to be believed. Pure.

Consul answers 200 and an empty list for services that exist: from a streaming view that is not filled yet
(index 1), after a token was narrowed or deleted, and under a default policy of deny. A plain read, without
`index` and `cached` and from the leader, shows an error or the ACL header in all of these cases.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from meshbridge.adapters.consul.index import Movement, movement

SERVERS = "consul"
"""The service that the servers themselves are."""
_MANY = 10


@dataclass(frozen=True)
class Standing:
    """What an answer's headers say of its worth."""

    index: int = 0
    is_plain: bool = False
    """Whether it was asked for without `index` and `cached`, and not as a stale read."""
    is_streaming: bool = False
    """Whether it comes from a streaming view, which always says that no leader is known."""
    knows_leader: bool | None = None
    """None: it doesn't say."""
    lag: float = 0.0
    """Seconds since the server heard from the leader."""
    is_filtered: bool = False
    """Whether ACLs took something out of it."""


class Verdict(StrEnum):
    """What to do with an answer."""

    TAKE = "take"
    CONFIRM = "confirm"
    """Ask again, plainly."""
    DENIED = "denied"
    """Keep what is known: the token lacks rights."""
    DOUBT = "doubt"
    """Keep what is known: the answer proves nothing."""


def judge(
    known: Collection[str], found: Collection[str], standing: Standing, *, last: int, max_lag: float
) -> Verdict:
    """Return what to do with an answer.

    Args:
        known: ids of the instances known before.
        found: ids in the answer.
        standing: what its headers say.
        last: index of what is known, 0 when that is unknown.
        max_lag: seconds without word from the leader beyond which a server is not believed.
    """
    moved = movement(last, standing.index)
    is_smaller = not set(known) <= set(found)
    is_weak = moved is Movement.UNKNOWN or standing.lag > max_lag
    if standing.knows_leader is False and not standing.is_streaming:
        is_weak = True
    if not standing.is_plain:
        # An answer that lags behind what is known could undo it, even where nothing is missing.
        return Verdict.CONFIRM if is_smaller or is_weak or moved is Movement.BACK else Verdict.TAKE
    if not is_smaller:
        return Verdict.TAKE
    if standing.is_filtered:
        return Verdict.DENIED
    return Verdict.DOUBT if is_weak else Verdict.TAKE


def is_grave(known: int, lost: int) -> bool:
    """Return whether so many instances lost at once need the catalog's word, too."""
    return lost > 0 and (lost == known or lost >= _MANY)
