"""Which files count as gone, when: pure.

A file that is removed on purpose takes its records along, after it has been gone for a moment. But where a
pattern finds nothing at all any more, an unmounted volume is likelier than the end of every machine, so its
records stay unless the configuration allows emptiness.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from meshbridge.adapters.inventory.files import covers


class Verdict(msgspec.Struct, frozen=True):
    """What to make of the files that are not there."""

    gone: tuple[str, ...] = ()
    """Files whose records leave."""
    silent: tuple[str, ...] = ()
    """Patterns that found files before and find none now."""
    again_in: float | None = None
    """Seconds after which the next file counts as gone, None when none is missing."""


class Presence:
    """Remembers since when files are missing."""

    def __init__(self, settle: float, *, allow_empty: bool) -> None:
        self._settle = settle
        self._allow_empty = allow_empty
        self._since: dict[str, float] = {}

    def judge(self, listed: Mapping[str, Sequence[str]], known: Iterable[str], now: float) -> Verdict:
        """Return what to make of the known files that are not listed; `now` is monotonic seconds."""
        present = {path for paths in listed.values() for path in paths}
        missing = [path for path in known if path not in present]
        self._since = {path: self._since.get(path, now) for path in missing}
        silent: set[str] = set()
        gone = []
        waits = []
        for path in missing:
            naming = [pattern for pattern in listed if covers(pattern, path)]
            remaining = self._since[path] + self._settle - now
            if remaining > 0:
                waits.append(remaining)
            elif naming and not any(listed[pattern] for pattern in naming) and not self._allow_empty:
                silent.update(naming)
            else:
                gone.append(path)
        return Verdict(tuple(gone), tuple(sorted(silent)), min(waits, default=None))
