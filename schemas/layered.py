"""A mapping of which a changed copy is cheap. No I/O."""

from collections.abc import Iterator, Mapping
from math import isqrt
from typing import Generic, TypeVar, overload

from typing_extensions import override

K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D")

_FEW = 16


class Layered(Mapping[K, V], Generic[K, V]):
    """Never mutated: a base that copies share, and the few keys in which this one differs from it.

    Copying a dict of 50,000 resources for each change of one costs half a millisecond; here the base is
    copied only when about as many keys differ as is the square root of its size.
    """

    __slots__ = ("_base", "_changed", "_size")

    def __init__(
        self, base: dict[K, V], changed: dict[K, V | None] | None = None, size: int | None = None
    ) -> None:
        """Take over a base and, by key, what is different: None means that it isn't there."""
        self._base = base
        self._changed = changed or {}
        self._size = len(base) if size is None else size

    def replaced(self, changes: Mapping[K, V | None]) -> "Layered[K, V]":
        """Return a copy with some keys put or, where None, removed."""
        size = self._size + sum((new is not None) - (key in self) for key, new in changes.items())
        changed = {**self._changed, **changes}
        if len(changed) <= _FEW + isqrt(len(self._base)):
            return Layered(self._base, changed, size)
        base = self._base.copy()  # A dict's own copy keeps the hashes.
        for key, new in changed.items():
            if new is None:
                base.pop(key, None)
            else:
                base[key] = new
        return Layered(base)

    @override
    def __getitem__(self, key: K) -> V:
        found = self.get(key)
        if found is None:
            raise KeyError(key)
        return found

    @overload
    def get(self, key: K, /) -> V | None: ...
    @overload
    def get(self, key: K, /, default: V | D) -> V | D: ...
    @override
    def get(self, key: K, /, default: V | D | None = None) -> V | D | None:
        if key not in self._changed:
            return self._base.get(key, default)
        found = self._changed[key]
        return default if found is None else found

    @override
    def __contains__(self, key: object) -> bool:
        if key in self._changed:
            return self._changed[key] is not None
        return key in self._base

    @override
    def __iter__(self) -> Iterator[K]:
        """Yield keys of the base in its order, changed or not, and then new ones."""
        changed = self._changed
        if not changed:
            yield from self._base
            return
        for key in self._base:
            if key not in changed or changed[key] is not None:
                yield key
        for key, found in changed.items():
            if found is not None and key not in self._base:
                yield key

    @override
    def __len__(self) -> int:
        return self._size
