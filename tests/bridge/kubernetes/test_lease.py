"""The election, on a Lease that is only a dictionary, by a clock that can be set."""

import asyncio
import json
from typing import Any

import pytest

from meshbridge.bridge.config.kubernetes import Lease
from meshbridge.bridge.kubernetes.answers import Outcome, Result
from meshbridge.bridge.kubernetes.lease import Election

pytestmark = pytest.mark.looptime


class Leases:
    """The API server's side: one Lease, guarded by its version, and faults."""

    namespace = "default"

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.version = 0
        self.requests: list[str] = []
        self.hangs = False
        self.denied = False

    async def request(self, method: str, _path: str, *, body: bytes = b"", within: float = 10.0) -> Outcome:
        self.requests.append(method)
        if self.hangs:
            await asyncio.sleep(within)
            return Outcome(Result.UNAVAILABLE, "no answer")
        await asyncio.sleep(0.01)
        if self.denied:
            return Outcome(Result.DENIED, "forbidden")
        if method == "GET":
            return self._answer() if self.lease else Outcome(Result.STALE, "not found")
        document = json.loads(body)
        if method == "PUT" and document["metadata"]["resourceVersion"] != str(self.version):
            return Outcome(Result.STALE, "modified")
        if method == "POST" and self.lease is not None:
            return Outcome(Result.STALE, "exists")
        self.version += 1
        document["metadata"]["resourceVersion"] = str(self.version)
        self.lease = document
        return self._answer()

    @property
    def holder(self) -> str:
        return str(self.lease["spec"]["holderIdentity"]) if self.lease else ""

    def _answer(self) -> Outcome:
        return Outcome(Result.DONE, body=json.dumps(self.lease).encode())


class Work:
    """Says whether it is being done, and by whom else at the same time."""

    def __init__(self) -> None:
        self.begun = 0
        self.active = 0

    async def __call__(self) -> None:
        self.begun += 1
        self.active += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.active -= 1


def election(leases: Leases, identity: str) -> Election:
    loop = asyncio.get_running_loop()
    return Election(leases, "lease", identity, Lease(duration=15.0), loop.time)  # type: ignore[arg-type]


def start(one: Election, work: Work) -> asyncio.Task[None]:
    return asyncio.create_task(one.run(work))


async def stop(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def test_first_one_leads_and_renews() -> None:
    leases, work = Leases(), Work()
    one = election(leases, "a")
    task = start(one, work)

    await asyncio.sleep(60)

    assert one.is_leading
    assert (leases.holder, work.active, work.begun) == ("a", 1, 1)
    assert leases.requests[:2] == ["GET", "POST"]
    assert set(leases.requests[2:]) == {"PUT"}
    await stop(task)


async def test_stopping_gives_the_lease_to_the_next_at_once() -> None:
    leases, work = Leases(), Work()
    first, second = election(leases, "a"), election(leases, "b")
    task = start(first, work)
    await asyncio.sleep(1)
    other = start(second, work)
    await asyncio.sleep(30)
    assert (second.holder, second.is_leading) == ("a", False)

    await stop(task)
    assert leases.holder == ""
    await asyncio.sleep(3)

    assert leases.holder == "b"
    assert leases.lease is not None
    assert leases.lease["spec"]["leaseTransitions"] >= 1
    assert work.active == 1
    await stop(other)


async def test_work_ends_before_the_lease_of_a_hanging_server_can_be_taken() -> None:
    leases, work = Leases(), Work()
    one = election(leases, "a")
    task = start(one, work)
    await asyncio.sleep(1)
    loop = asyncio.get_running_loop()

    leases.hangs = True
    since = loop.time()
    while work.active:  # noqa: ASYNC110 - time is simulated
        await asyncio.sleep(0.1)

    assert loop.time() - since <= 10.5
    assert not one.is_leading
    leases.hangs = False
    await asyncio.sleep(10)
    assert work.active == 1
    await stop(task)


async def test_lease_that_is_left_alone_is_taken_after_its_duration() -> None:
    leases, work = Leases(), Work()
    dead = election(leases, "dead")
    task = start(dead, work)
    await asyncio.sleep(1)
    task.cancel()
    leases.hangs = True  # It dies without letting go.
    await asyncio.wait({task})
    leases.hangs = False
    assert leases.holder == "dead"
    loop = asyncio.get_running_loop()
    since = loop.time()

    one = election(leases, "a")
    other = start(one, work)
    while not work.active:  # noqa: ASYNC110 - time is simulated
        await asyncio.sleep(0.1)

    assert 15.0 <= loop.time() - since <= 20.0
    await stop(other)


async def test_leader_that_slept_past_its_lease_leads_no_more() -> None:
    leases, work = Leases(), Work()
    now = [0.0]
    one = Election(leases, "lease", "a", Lease(duration=15.0), lambda: now[0])  # type: ignore[arg-type]
    task = start(one, work)
    await asyncio.sleep(1)
    assert one.is_leading

    now[0] = 11.0

    assert not one.is_leading
    await stop(task)


async def test_only_one_of_many_leads() -> None:
    leases, work = Leases(), Work()
    tasks = [start(election(leases, str(number)), work) for number in range(5)]

    for _ in range(100):
        await asyncio.sleep(0.5)
        assert work.active <= 1

    assert work.active == 1
    await stop(*tasks)


async def test_lease_that_somebody_takes_by_force_ends_the_work() -> None:
    leases, work = Leases(), Work()
    one = election(leases, "a")
    task = start(one, work)
    await asyncio.sleep(1)
    assert leases.lease is not None

    leases.lease["spec"]["holderIdentity"] = "thief"
    leases.version += 1
    leases.lease["metadata"]["resourceVersion"] = str(leases.version)
    await asyncio.sleep(5)

    assert work.active == 0
    assert one.holder == "thief"
    await stop(task)
    assert leases.holder == "thief"


async def test_missing_rights_are_told_until_they_are_there() -> None:
    leases, work = Leases(), Work()
    leases.denied = True
    one = election(leases, "a")
    task = start(one, work)
    await asyncio.sleep(5)
    assert one.problem is not None
    assert one.problem.result is Result.DENIED

    leases.denied = False
    await asyncio.sleep(5)

    assert one.problem is None
    assert work.active == 1
    await stop(task)


async def test_error_of_the_work_is_not_swallowed() -> None:
    async def broken() -> None:
        raise ValueError("bug")

    with pytest.raises(ValueError, match="bug"):
        await election(Leases(), "a").run(broken)
