"""How an output fares, as the admin interface shows it."""

from collections.abc import Mapping, Sequence

import msgspec


class TroubleStatus(msgspec.Struct, frozen=True, rename="camel"):
    """One object that is not as it should be."""

    object: str
    reason: str
    text: str


class OutputStatus(msgspec.Struct, frozen=True, rename="camel"):
    """An output that writes somewhere."""

    name: str
    state: str
    """connecting, standby, leading, rehearsing or failed."""
    since: float
    """Unix seconds at which it began to lead, or ceased to."""
    leader: str
    """Which bridge of the group writes, as this one saw it last."""
    identity: str
    """This bridge's own name among them."""
    generation: int
    """Number of the newest publication that it was given."""
    wanted: int
    owned: int
    """Objects there that are ours."""
    pending: int
    """Objects to be looked at, now or later."""
    troubles: Mapping[str, int]
    """Objects that are not as they should be, by reason."""
    error: str
    first_troubles: Sequence[TroubleStatus]
