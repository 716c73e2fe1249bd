"""When objects of ours may be deleted that nothing has asked for since the start. Pure.

Whatever a registry took back in our lifetime has been through the guard and leaves at once. What an earlier
run left behind may belong to a source that has not been read yet, and a mistake in the configuration makes
strangers of everything: so these wait for all sources, and if they are many for a while longer.
"""

from collections.abc import Iterable

import msgspec

from meshbridge.schemas.resource import ResourceKey


class Limits(msgspec.Struct, frozen=True):
    """What counts as many, as in the settings of the guard."""

    min_removed: int = 10
    max_removed_percent: float = 20.0
    hold: float = 600.0
    """Seconds."""


class Leavers:
    """Decides who may leave."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._retired: set[ResourceKey] = set()
        self._is_open = False
        self._since: float | None = None

    @property
    def held_since(self) -> float | None:
        """When too many were found; None when they are not held for that."""
        return None if self._is_open else self._since

    def retire(self, keys: Iterable[ResourceKey]) -> None:
        """Take that resources were published and are no longer."""
        self._retired.update(keys)

    def forget(self, keys: Iterable[ResourceKey]) -> None:
        """Take that objects are gone, or asked for again."""
        self._retired.difference_update(keys)

    def may_leave(self, key: ResourceKey) -> bool:
        """Whether an object that nothing asks for may be deleted now."""
        return self._is_open or key in self._retired

    def judge(self, held: int, owned: int, now: float, *, is_complete: bool) -> bool:
        """Decide about those that wait; return whether they may leave.

        Args:
            held: how many wait, all that there are; when these have gone, others wait again.
            owned: how many objects are ours, those included.
            now: monotonic seconds.
            is_complete: whether every source has been read.
        """
        limits = self._limits
        if not is_complete or not held:
            self._is_open, self._since = False, None
        elif held < limits.min_removed or held * 100 <= limits.max_removed_percent * owned:
            self._is_open, self._since = True, None
        elif not self._is_open:
            self._since = now if self._since is None else self._since
            self._is_open = now - self._since >= limits.hold
        return self._is_open

    def release(self) -> None:
        """Let them leave now."""
        self._is_open = True
