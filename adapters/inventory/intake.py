"""Takes what was read and decides what becomes of it: the rules that keep the last good reading.

Everything that must survive a restart of the adapter's `run()` is here.
"""

import asyncio
import hashlib
from collections.abc import Iterable, Mapping

import structlog

from meshbridge.adapters.base import AdapterContext
from meshbridge.adapters.inventory.documents import Failure
from meshbridge.adapters.inventory.files import Scan, covers
from meshbridge.adapters.inventory.formats import detect
from meshbridge.adapters.inventory.formats.record import Parsed
from meshbridge.adapters.inventory.presence import Presence
from meshbridge.adapters.inventory.readings import Readings, seeds
from meshbridge.adapters.inventory.settings import InventoryConfig
from meshbridge.schemas.errors import PayloadError, RegistryDenied, RegistryError, RegistryUnavailable
from meshbridge.schemas.registry import InstanceGroup, SourceReport, SourceState, labels

_log = structlog.get_logger(__name__)

_PARSED_IN_PLACE = 64 * 1024
"""Bytes up to which a document is parsed on the event loop; larger ones go to a thread."""
_SHOWN_FAILURES = 3
_LOGGED_PROBLEMS = 20

_EMPTY = (
    "it lists nothing any more; what it listed is kept, unless it says `empty: true` or allow_empty is set"
)
_NEVER_ANYTHING = "it lists nothing; if that is right, say `empty: true` in a document, or set allow_empty"
_NOTHING_USABLE = "none of its records can be read, the first because "
_SILENT = "no file matches any more; the records of those that did are kept, unless allow_empty is set"


class Intake:
    """The readings of one source, and which documents can't be read now."""

    def __init__(self, config: InventoryConfig, context: AdapterContext) -> None:
        self._config = config
        self._context = context
        self._readings = Readings(context.source)
        self._results: dict[str, tuple[bytes, Failure | None]] = {}
        self._failures: dict[str, Failure] = {}
        self._told: dict[str, str] = {}
        """Failures as logged, by document: kept across runs, so that trying again is quiet."""
        self._silent: tuple[str, ...] = ()
        self._meant_empty: set[str] = set()
        self._seeds: dict[str, Parsed] | None = None

    def begin(self, remotes: Iterable[str]) -> None:
        """Prepare a first full read; an earlier process's readings stand in for documents never read here."""
        self._failures.clear()
        if self._seeds is not None:
            return
        self._seeds = seeds(self._context.previous())
        names = set(remotes)
        for document, parsed in self._seeds.items():
            if document in names or any(covers(pattern, document) for pattern in self._config.files):
                self._readings.put(document, parsed)

    async def take(self, document: str, content: bytes | None) -> set[str]:
        """Take a document's content (None: as before) and return the services that differ."""
        self._context.metrics.attempt()
        known = self._results.get(document)
        digest = hashlib.blake2b(content, digest_size=16).digest() if content is not None else None
        if known is not None and digest in (None, known[0]):
            self._settle(document, known[1])
            return set()
        changed: set[str] = set()
        failure = None
        try:
            changed = self._put(document, await self._parse(document, content or b""))
        except PayloadError as error:
            failure = Failure("parse", str(error))
        except Failure as refused:
            failure = refused
        self._results[document] = (digest or b"", failure)
        self._settle(document, failure)
        return changed

    def fail(self, document: str, failure: Failure) -> None:
        """Note that a document can't be read now."""
        self._context.metrics.attempt()
        named = Failure(failure.reason, f"{document}: {failure.text}", is_denied=failure.is_denied)
        self._settle(document, named)

    async def take_scan(self, scan: Scan, presence: Presence) -> tuple[set[str], float | None]:
        """Take what a look at the files brought.

        Returns:
            The services that differ, and the seconds after which missing files have to be looked at again.
        """
        changed: set[str] = set()
        for path, failure in scan.failures.items():
            self.fail(path, failure)
        for path, content in scan.contents.items():
            changed |= await self.take(path, content)
        known = [path for path in self._readings.documents if self._is_file(path)]
        verdict = presence.judge(scan.listed, known, self._context.clock())
        for path in verdict.gone:
            changed |= self._drop(path)
        self._forget_failures(scan.listed)
        self._note_silence(verdict.silent)
        return changed, verdict.again_in

    def note_absent(self, patterns: Iterable[str]) -> None:
        """Note patterns whose file or directory was never there."""
        for pattern in patterns:
            if not self._config.allow_empty and not self._was_read(pattern):
                self.fail(pattern, Failure("missing", "no such file or directory"))

    def require_readings(self) -> None:
        """Refuse to begin while a document was never read: the whole would be partial without it.

        Raises:
            RegistryUnavailable: there is such a document, or all of them together list nothing.
            RegistryDenied: all such documents lack permission.
        """
        unread = [failure for name, failure in self._failures.items() if not self._was_read(name)]
        if unread:
            is_denied = all(failure.is_denied for failure in unread)
            error: type[RegistryError] = RegistryDenied if is_denied else RegistryUnavailable
            raise error(self._context.source, "read", _summary(unread))
        if not (any(self._readings.services) or self._meant_empty or self._config.allow_empty):
            # An unmounted volume looks like this, and istiod would delete what it holds.
            raise RegistryUnavailable(self._context.source, "read", _NEVER_ANYTHING)

    def groups(self) -> tuple[InstanceGroup, ...]:
        """Return all groups."""
        return tuple(self.group(service) for service in self._readings.services)

    def group(self, service: str) -> InstanceGroup:
        """Return one group, empty when no document has the service any more."""
        combined = self._readings.combined(service)
        for _ in range(combined.duplicates):
            self._context.metrics.rejected("duplicate")
        return combined.group

    def report(self) -> SourceReport:
        """Return how the source fares."""
        documents = list(self._readings.documents)
        problems = list(self._readings.all_problems())
        details = {"documents": str(len(documents)), "problems": str(len(problems))}
        orphans = [f"{problem.place}: {problem.text}" for problem in problems if not problem.service]
        if orphans:
            details["without_service"] = "; ".join(orphans[:_SHOWN_FAILURES])
        failures = list(self._failures.values())
        if not failures:
            return SourceReport(SourceState.SYNCED, details=labels(details))
        is_denied = all(failure.is_denied for failure in failures)
        state = SourceState.DENIED if is_denied else SourceState.STALE
        return SourceReport(state, _summary(failures), labels(details))

    async def _parse(self, document: str, content: bytes) -> Parsed:
        options = self._config.options
        if len(content) <= _PARSED_IN_PLACE:
            return detect.parse(content, document, options, self._config.format)
        return await asyncio.to_thread(detect.parse, content, document, options, self._config.format)

    def _put(self, document: str, parsed: Parsed) -> set[str]:
        for problem in parsed.problems:
            self._context.metrics.rejected(problem.reason)
        (self._meant_empty.add if parsed.is_meant_empty else self._meant_empty.discard)(document)
        kept = self._readings.keeping(document, parsed)
        if self._readings.has_content(document) and not kept.has_content:
            self._refuse_emptiness(document, parsed)
        self._log_problems(document, parsed)
        changed = self._readings.put(document, kept)
        for problem in self._readings.take_joint_problems():
            self._context.metrics.rejected(problem.reason)
        return changed

    def _refuse_emptiness(self, document: str, parsed: Parsed) -> None:
        refused = next((problem for problem in parsed.problems if problem.marks), None)
        if refused is not None:
            raise Failure("parse", f"{refused.place}: {_NOTHING_USABLE}{refused.text}")
        if not (parsed.is_meant_empty or self._config.allow_empty):
            raise Failure("empty", f"{document}: {_EMPTY}")

    def _settle(self, document: str, failure: Failure | None) -> None:
        """Note whether a document is in order now; count it, and log it when that changed."""
        self._failures.pop(document, None)
        told = self._told.pop(document, "")
        if failure is None:
            self._context.metrics.success()
            if told:
                _log.info("document readable again", source=self._context.source, document=document)
            return
        self._context.metrics.error(failure.reason)
        self._failures[document] = failure
        self._told[document] = failure.text
        if told != failure.text:
            _log.warning(
                "document not usable, keeping what is known of it",
                source=self._context.source,
                document=document,
                reason=failure.text,
            )

    def _drop(self, path: str) -> set[str]:
        _log.info("file is gone, and its records with it", source=self._context.source, document=path)
        self._results.pop(path, None)
        self._failures.pop(path, None)
        self._told.pop(path, None)
        return self._readings.drop(path)

    def _forget_failures(self, listed: Mapping[str, list[str]]) -> None:
        """Forget failures of files that went away and left nothing to keep."""
        present = {path for paths in listed.values() for path in paths}
        for name in [name for name in self._failures if self._is_file(name) and name not in listed]:
            if name not in present and name not in self._readings.documents:
                del self._failures[name]
                self._told.pop(name, None)
                self._results.pop(name, None)

    def _note_silence(self, patterns: tuple[str, ...]) -> None:
        for pattern in set(self._silent) - set(patterns):
            if pattern in self._failures and self._failures[pattern].reason == "vanished":
                self._settle(pattern, None)
        for pattern in patterns:
            self._settle(pattern, Failure("vanished", f"{pattern}: {_SILENT}"))
        self._silent = patterns

    def _is_file(self, document: str) -> bool:
        return any(covers(pattern, document) for pattern in self._config.files)

    def _was_read(self, name: str) -> bool:
        return any(name == known or covers(name, known) for known in self._readings.documents)

    def _log_problems(self, document: str, parsed: Parsed) -> None:
        """Log each problem once, when it is new; floods are cut."""
        known = {(problem.text, problem.service) for problem in self._readings.problems(document)}
        fresh = [problem for problem in parsed.problems if (problem.text, problem.service) not in known]
        for problem in fresh[:_LOGGED_PROBLEMS]:
            _log.warning(
                "part of a document is not usable",
                source=self._context.source,
                place=problem.place,
                reason=problem.text,
                service=problem.service,
            )
        if len(fresh) > _LOGGED_PROBLEMS:
            _log.warning("more parts are not usable", document=document, count=len(fresh) - _LOGGED_PROBLEMS)


def _summary(failures: list[Failure]) -> str:
    texts = sorted(failure.text for failure in failures)
    more = len(texts) - _SHOWN_FAILURES
    return "; ".join(texts[:_SHOWN_FAILURES]) + (f"; and {more} more" if more > 0 else "")
