"""Keeps an adapter running: restarts it after errors, slower where only an operator can help."""

from collections.abc import Awaitable, Callable

import structlog
import tenacity

from meshbridge.adapters.base import Adapter, Emit
from meshbridge.schemas.errors import RegistryDenied, RegistryError
from meshbridge.schemas.registry import FullSync, SourceEvent, SourceReport, SourceState

log = structlog.get_logger(__name__)

_UNAVAILABLE = tenacity.wait_random_exponential(multiplier=0.5, max=30)
_NEEDS_PEOPLE = tenacity.wait_random_exponential(multiplier=15, max=60)
"""For refusals and bugs: trying often changes nothing and fills logs."""


class Supervised:
    """Wraps an adapter so that its `run()` never raises.

    A `RegistryError` becomes a report that the source is stale (or denied) and a later restart. So does
    an unforeseen exception, with a traceback in the log: one odd record must not end the program.
    """

    def __init__(self, adapter: Adapter, restarted: Callable[[], None] = lambda: None) -> None:
        self._adapter = adapter
        self._restarted = restarted
        self._has_synced = False
        self._synced_in_this_run = False
        self._told = ""

    @property
    def name(self) -> str:
        """The source's configured name."""
        return self._adapter.name

    async def run(self, emit: Emit) -> None:
        """Run the adapter again and again until cancelled."""
        retrying = tenacity.AsyncRetrying(
            wait=self._pause,
            retry=tenacity.retry_if_exception_type(Exception),
            before_sleep=self._reporting(emit),
        )
        await retrying(self._run_once, emit)

    async def _run_once(self, emit: Emit) -> None:
        async def noting(event: SourceEvent) -> None:
            if isinstance(event, FullSync):
                self._has_synced = self._synced_in_this_run = True
                self._told = ""
            await emit(event)

        self._synced_in_this_run = False
        await self._adapter.run(noting)
        raise RuntimeError("the adapter returned, which it never should")

    def _pause(self, state: tenacity.RetryCallState) -> float:
        if self._synced_in_this_run:
            state.attempt_number = 1  # The series of delays starts anew.
        error = state.outcome.exception() if state.outcome else None
        patient = isinstance(error, RegistryDenied) or not isinstance(error, RegistryError)
        return (_NEEDS_PEOPLE if patient else _UNAVAILABLE)(state)

    def _reporting(self, emit: Emit) -> Callable[[tenacity.RetryCallState], Awaitable[None]]:
        async def report(state: tenacity.RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            if error is not None:
                await self._report(emit, error)

        return report

    async def _report(self, emit: Emit, error: BaseException) -> None:
        self._restarted()
        if not isinstance(error, RegistryError):
            log.error("adapter failed", source=self.name, exc_info=error)
            await emit(SourceReport(self._failed_state(), f"bug: {bug_text(error)}"))
            return
        if str(error) != self._told:  # Trying again in vain is no news.
            log.warning("registry failed", source=self.name, operation=error.operation, reason=error.reason)
            self._told = str(error)
        denied = isinstance(error, RegistryDenied)
        await emit(SourceReport(SourceState.DENIED if denied else self._failed_state(), str(error)))

    def _failed_state(self) -> SourceState:
        return SourceState.STALE if self._has_synced else SourceState.CONNECTING


def bug_text(error: BaseException) -> str:
    """Return what an unforeseen exception says, for a group of exceptions what its first one says."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"
