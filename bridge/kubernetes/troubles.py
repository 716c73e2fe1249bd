"""Objects that are not as they should be, and why; one log line when a kind of trouble starts and ends."""

from collections.abc import Mapping

import msgspec
import structlog

from meshbridge.schemas.resource import ResourceKey

log = structlog.get_logger(__name__)


class Trouble(msgspec.Struct, frozen=True, gc=False):
    """Why one object is not as it should be."""

    reason: str
    """One of a few fixed words: a result or a verb."""
    text: str


class Troubles:
    """At most one trouble for each object."""

    def __init__(self) -> None:
        self._by_key: dict[ResourceKey, Trouble] = {}
        self._by_reason: dict[str, dict[ResourceKey, None]] = {}

    def get(self, key: ResourceKey) -> Trouble | None:
        """Return what is wrong with an object."""
        return self._by_key.get(key)

    def keys(self, *reasons: str) -> list[ResourceKey]:
        """Return the objects that have trouble for one of these reasons."""
        return [key for reason in reasons for key in self._by_reason.get(reason, ())]

    def counts(self) -> Mapping[str, int]:
        """Return how many objects have trouble, by reason."""
        return {reason: len(keys) for reason, keys in self._by_reason.items() if keys}

    def first(self, limit: int) -> list[tuple[ResourceKey, Trouble]]:
        """Return some troubles, the same ones each time, by object."""
        return [(key, self._by_key[key]) for key in sorted(self._by_key)[:limit]]

    def note(self, key: ResourceKey, reason: str, text: str) -> None:
        """Take that something is wrong with an object."""
        known = self._by_key.get(key)
        if known is not None and known.reason != reason:
            self.clear(key)
        self._by_key[key] = Trouble(reason, text)
        keys = self._by_reason.setdefault(reason, {})
        if not keys:
            log.warning("objects not as they should be", reason=reason, first=str(key), text=text)
        keys[key] = None

    def clear(self, key: ResourceKey) -> None:
        """Take that all is well with an object."""
        known = self._by_key.pop(key, None)
        if known is None:
            return
        keys = self._by_reason[known.reason]
        del keys[key]
        if not keys:
            log.info("objects as they should be again", reason=known.reason)

    def forget(self) -> None:
        """Forget everything: somebody else writes now."""
        self._by_key.clear()
        self._by_reason.clear()
