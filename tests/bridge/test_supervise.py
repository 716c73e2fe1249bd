import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from meshbridge.adapters.base import Emit
from meshbridge.bridge.supervise import Supervised
from meshbridge.schemas.errors import RegistryDenied, RegistryUnavailable
from meshbridge.schemas.registry import FullSync, SourceEvent, SourceReport, SourceState

pytestmark = pytest.mark.looptime

SYNC = FullSync((), 0.0)
DOWN = RegistryUnavailable("zk", "connect", "refused")
DENIED = RegistryDenied("zk", "read", "no permission")

Step = Callable[[Emit], Awaitable[None]]


class Scripted:
    """An adapter whose runs follow a script; the last step repeats."""

    name = "zk"

    def __init__(self, *steps: Step) -> None:
        self.started: list[float] = []
        self._steps = steps

    async def run(self, emit: Emit) -> None:
        step = self._steps[min(len(self.started), len(self._steps) - 1)]
        self.started.append(asyncio.get_running_loop().time())
        await step(emit)

    @property
    def pauses(self) -> list[float]:
        return [later - earlier for earlier, later in zip(self.started, self.started[1:], strict=False)]


def fails(error: Exception) -> Step:
    async def step(_emit: Emit) -> None:
        raise error

    return step


def syncs_then_fails(error: Exception, after: float = 0.0) -> Step:
    async def step(emit: Emit) -> None:
        await emit(SYNC)
        await asyncio.sleep(after)
        raise error

    return step


async def stays(emit: Emit) -> None:
    await emit(SYNC)
    await asyncio.Event().wait()


async def returns(_emit: Emit) -> None:
    return


async def watch(adapter: Scripted, seconds: float) -> tuple[list[SourceEvent], list[Any], int]:
    """Run the adapter for so long; return what it said, what was logged, and how often it restarted."""
    events: list[SourceEvent] = []
    restarts = 0

    async def emit(event: SourceEvent) -> None:
        events.append(event)

    def restarted() -> None:
        nonlocal restarts
        restarts += 1

    with capture_logs() as logs:
        task = asyncio.create_task(Supervised(adapter, restarted).run(emit), name="supervised")
        await asyncio.wait([task], timeout=seconds)
        assert not task.done(), "it never ends by itself"
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    return events, list(logs), restarts


async def test_events_pass_through() -> None:
    events, logs, restarts = await watch(Scripted(stays), 1.0)

    assert events == [SYNC]
    assert (logs, restarts) == ([], 0)


async def test_source_that_is_unavailable_is_reported_and_tried_again() -> None:
    adapter = Scripted(fails(DOWN), stays)

    events, logs, restarts = await watch(adapter, 10.0)

    assert events == [SourceReport(SourceState.CONNECTING, "zk: connect: refused"), SYNC]
    assert adapter.pauses[0] <= 0.5
    assert [(entry["event"], entry["reason"]) for entry in logs] == [("registry failed", "refused")]
    assert restarts == 1


async def test_source_that_had_synced_is_stale_when_it_fails() -> None:
    events, _, _ = await watch(Scripted(syncs_then_fails(DOWN), fails(DOWN), stays), 10.0)

    reports = [event.state for event in events if isinstance(event, SourceReport)]
    assert reports == [SourceState.STALE, SourceState.STALE]


async def test_pauses_grow_up_to_a_limit() -> None:
    adapter = Scripted(fails(DOWN))

    await watch(adapter, 5000.0)

    assert all(pause <= 0.5 * 2**number for number, pause in enumerate(adapter.pauses[:6]))
    assert max(adapter.pauses) <= 30.0
    assert max(adapter.pauses) > 5.0
    assert 100 < len(adapter.started) < 1000


async def test_refusal_is_reported_as_denied_and_tried_again_slowly() -> None:
    adapter = Scripted(fails(DENIED))

    events, logs, _ = await watch(adapter, 5000.0)

    assert events[0] == SourceReport(SourceState.DENIED, "zk: read: no permission")
    assert len(adapter.started) < 300
    assert max(adapter.pauses) <= 60.0
    assert logs[0]["log_level"] == "warning"


async def test_failure_is_logged_again_only_after_a_success() -> None:
    adapter = Scripted(fails(DOWN), fails(DOWN), syncs_then_fails(DOWN), fails(DENIED), stays)

    _, logs, restarts = await watch(adapter, 1000.0)

    assert [entry["reason"] for entry in logs] == ["refused", "refused", "no permission"]
    assert restarts == 4


async def test_bug_in_a_task_of_the_adapter_is_named_itself() -> None:
    group = ExceptionGroup("outer", [ExceptionGroup("inner", [KeyError("weight")])])

    events, _, _ = await watch(Scripted(fails(group), stays), 1.0)

    assert events[0] == SourceReport(SourceState.CONNECTING, "bug: KeyError: 'weight'")


async def test_bug_is_logged_with_its_traceback_and_tried_again_slowly() -> None:
    adapter = Scripted(fails(KeyError("weight")))

    events, logs, _ = await watch(adapter, 5000.0)

    assert events[0] == SourceReport(SourceState.CONNECTING, "bug: KeyError: 'weight'")
    assert len(adapter.started) < 300
    assert logs[0]["event"] == "adapter failed"
    assert logs[0]["exc_info"].__traceback__ is not None


async def test_bug_after_every_sync_is_no_busy_loop() -> None:
    adapter = Scripted(syncs_then_fails(KeyError("weight")))

    events, _, restarts = await watch(adapter, 1000.0)

    assert len(adapter.started) < 300
    assert restarts >= len(adapter.started) - 1
    assert SourceReport(SourceState.STALE, "bug: KeyError: 'weight'") in events


async def test_pauses_start_anew_after_a_sync() -> None:
    adapter = Scripted(*[fails(DOWN)] * 12, syncs_then_fails(DOWN), stays)

    await watch(adapter, 1000.0)

    assert len(adapter.started) == 14
    assert adapter.pauses[-1] <= 0.5


async def test_adapter_that_returns_is_a_bug() -> None:
    events, _, _ = await watch(Scripted(returns), 1.0)

    reason = "bug: RuntimeError: the adapter returned, which it never should"
    assert events[0] == SourceReport(SourceState.CONNECTING, reason)


async def test_name_is_that_of_the_adapter() -> None:
    assert Supervised(Scripted(stays)).name == "zk"


async def test_cancelling_ends_it_also_while_it_pauses() -> None:
    adapter = Scripted(fails(DENIED))

    await watch(adapter, 0.0)

    assert len(adapter.started) == 1
