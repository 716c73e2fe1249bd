"""What some clients may see, as bytes they share: one view for each distinct set of scopes. No I/O.

For every name the generation that last changed it is known, so that a delta client's news are found by
what changed and not by what there is.
"""

from collections import deque
from collections.abc import Collection, Iterable, Mapping
from itertools import takewhile

import msgspec

from meshbridge.mcp.codec import SOTW, Form, Part
from meshbridge.mcp.content import Content, Framed
from meshbridge.schemas.resource import EMPTY_COLLECTION, Kind, ResourceKey

_MAX_RECENT = 512
"""How far back the times of registry events are known, for measuring how long changes take."""
_MAX_SHARED = 6
"""Answers kept for each type: clients are at the newest state or at the one before, as a rule."""


class Scope(msgspec.Struct, frozen=True):
    """Kinds and namespaces; none given means all."""

    kinds: frozenset[Kind] = frozenset()
    namespaces: frozenset[str] = frozenset()

    def __contains__(self, key: ResourceKey) -> bool:
        return (not self.kinds or key.kind in self.kinds) and (
            not self.namespaces or key.namespace in self.namespaces
        )


Scopes = frozenset[Scope]
"""Allows what any of them allows."""

EVERYTHING: Scopes = frozenset({Scope()})


class Answer(msgspec.Struct, frozen=True):
    """A response, ready to be sent."""

    version: str
    nonce: str
    generation: int
    """Of the publication that last changed the type; 0 for types that we never fill."""
    body: bytes
    """Serialized. It is shared: don't keep it."""
    names: Collection[str] = ()
    """What it brings, and what it removes."""


class _Change(msgspec.Struct, frozen=True):
    generation: int
    kinds: Collection[Kind]
    oldest: Mapping[str, float]


_NOTHING = Content()


class View:
    """What a set of scopes allows. Generation 0 means that nothing is known yet, and our kinds are held."""

    def __init__(self, scopes: Scopes = EVERYTHING) -> None:
        self._scopes = scopes
        self._is_whole = Scope() in scopes
        self._content = {kind: Content() for kind in Kind}
        self._shared: dict[str, dict[tuple[Form, int], Answer]] = {}
        self._recent: deque[_Change] = deque(maxlen=_MAX_RECENT)
        self.generation = 0
        self.services_first = False
        """Whether the newest change of workloads took more away than it brought. In a switch to inline
        endpoints, a service that still selects workloads must not be left without."""

    def narrowed(self, scopes: Scopes) -> "View":
        """Return a view of what other scopes allow of this one."""
        view = View(scopes)
        view.generation, view.services_first = self.generation, self.services_first
        for kind, content in self._content.items():
            changes = {n: g for n, g in content.changes.items() if view._sees(_key(kind, n))}
            versions = {name: of for name, of in content.versions.items() if name in changes}
            view._content[kind] = Content(
                frames={name: frame for name, frame in content.frames.items() if name in changes},
                is_sorted=content.is_sorted,
                versions=versions,
                checksum=sum(int(of, 16) for of in versions.values()),
                changed_in=content.changed_in,
                changes=changes,
                forgotten=content.forgotten,
            )
        return view

    def apply(
        self,
        generation: int,
        put: Iterable[Framed],
        removed: Iterable[ResourceKey],
        oldest: Mapping[str, float] | None = None,
    ) -> None:
        """Show a newer generation; `oldest` has, per source, the time of its oldest registry event."""
        changed = set(Kind) if self.generation == 0 else set()
        workloads = len(self._content[Kind.WORKLOAD_ENTRY].frames)
        named: dict[Kind, list[tuple[str, Framed]]] = {}
        for found in put:
            key = found.key
            if self._is_whole or self._sees(key):
                named.setdefault(key.kind, []).append((f"{key.namespace}/{key.name}", found))
        for kind, resources in named.items():
            self._content[kind].put(resources, generation)
        for key in removed:
            if self._sees(key):
                self._content[key.kind].drop(f"{key.namespace}/{key.name}", generation)
                changed.add(key.kind)
        changed.update(named)
        if Kind.WORKLOAD_ENTRY in changed:
            self.services_first = len(self._content[Kind.WORKLOAD_ENTRY].frames) < workloads
        self.generation = generation
        if changed and oldest:
            self._recent.append(_Change(generation, changed, oldest))
        for kind in changed:
            self._content[kind].changed_in = generation
            self._content[kind].forget()
        self._shared = {
            url: shared
            for url, shared in self._shared.items()
            if next(iter(shared))[0].kind_of(url) not in changed
        }

    def versions(self, type_urls: Iterable[str], form: Form = SOTW) -> dict[str, str]:
        """Return the newest version of each of these types, without those that are held."""
        kinds = {url: form.kind_of(url) for url in type_urls}
        return {
            url: EMPTY_COLLECTION.version if kind is None else self._content[kind].version
            for url, kind in kinds.items()
            if kind is None or self.generation
        }

    def changed_in(self, kind: Kind | None) -> int | None:
        """Return the generation that last changed a kind, None while it is held, 0 if we never fill it."""
        if kind is None:
            return 0
        return self._content[kind].changed_in if self.generation else None

    def oldest_since(self, kind: Kind | None, generation: int) -> Mapping[str, float]:
        """Return, per source, the oldest registry event of what changed the kind here after a generation."""
        oldest: dict[str, float] = {}
        for change in takewhile(lambda found: found.generation > generation, reversed(self._recent)):
            if kind in change.kinds:
                for source, at in change.oldest.items():
                    oldest[source] = min(at, oldest.get(source, at))
        return oldest

    def version_of(self, kind: Kind | None, name: str) -> str | None:
        """Return the version of one resource, if there is such."""
        return self._of(kind).versions.get(name)

    def names(self, kind: Kind | None) -> Collection[str]:
        """Return the names there are."""
        return self._of(kind).frames.keys()

    def changed_since(self, kind: Kind | None, generation: int) -> list[str] | None:
        """Return what changed after a generation, removed names too; None when it is too long ago."""
        content = self._of(kind)
        if generation < content.forgotten:
            return None
        newest_first = takewhile(lambda change: change[1] > generation, reversed(content.changes.items()))
        return [name for name, _ in newest_first][::-1]

    def current(self, type_url: str) -> Answer | None:
        """Return the whole of a type in the state of the world, None while it is held."""
        return self.answer(SOTW, type_url)

    def answer(self, form: Form, type_url: str, since: int = 0) -> Answer | None:
        """Return all of a type or, `since` a generation, its changes; None while it is held or too long ago.

        All clients share it.
        """
        kind = form.kind_of(type_url)
        if kind is None:
            return self._render(form, type_url, 0, Part({}, {}))
        if not self.generation:
            return None
        shared = self._shared.get(type_url, {})
        if (form, since) in shared:
            return shared[form, since]
        content = self._content[kind]
        names = self.changed_since(kind, since) if since else ()
        if names is None:
            return None
        if since:
            part = _part(content, names)
        else:
            content.sort()
            part = Part(content.frames, content.versions)
        found = self._render(form, type_url, content.changed_in, part)
        if len(shared) >= _MAX_SHARED:
            del shared[next(iter(shared))]
        self._shared[type_url] = shared | {(form, since): found}
        return found

    def answer_of(self, form: Form, type_url: str, names: Iterable[str]) -> Answer | None:
        """Return these resources of a type, and which of them aren't there; None while it is held."""
        kind = form.kind_of(type_url)
        generation = self.changed_in(kind)
        if generation is None:
            return None
        return self._render(form, type_url, generation, _part(self._of(kind), names))

    def _render(self, form: Form, type_url: str, generation: int, part: Part) -> Answer:
        version = self._of(form.kind_of(type_url)).version
        nonce = f"g{generation}"
        body = form.render(type_url, version, nonce, part)
        names = () if form is SOTW else (*part.frames, *part.removed)
        return Answer(version, nonce, generation, body, names)

    def _of(self, kind: Kind | None) -> Content:
        return _NOTHING if kind is None else self._content[kind]

    def _sees(self, key: ResourceKey) -> bool:
        return any(key in scope for scope in self._scopes)


def _part(content: Content, names: Iterable[str]) -> Part:
    frames: dict[str, bytes] = {}
    removed: list[str] = []
    for name in names:
        frame = content.frames.get(name)
        if frame is None:
            removed.append(name)
        else:
            frames[name] = frame
    return Part(frames, content.versions, removed)


def _key(kind: Kind, name: str) -> ResourceKey:
    namespace, _, rest = name.partition("/")
    return ResourceKey(kind, namespace, rest)
