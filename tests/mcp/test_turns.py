import asyncio

from meshbridge.mcp.turns import Turns


async def hold(turns: Turns, going: list[str], name: str, until: asyncio.Event) -> None:
    async with turns.turn():
        going.append(name)
        await until.wait()


async def test_only_so_many_go_at_once(eventually) -> None:
    turns, going, until = Turns(at_once=2, longest=60.0), [], asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for name in "abc":
            group.create_task(hold(turns, going, name, until))
        await eventually(lambda: len(going) == 2)
        await asyncio.sleep(0)

        assert going == ["a", "b"]
        until.set()

    assert going == ["a", "b", "c"]


async def test_one_that_takes_too_long_keeps_nobody_waiting(eventually) -> None:
    turns, going, until = Turns(at_once=1, longest=0.01), [], asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for name in "ab":
            group.create_task(hold(turns, going, name, until))

        await eventually(lambda: going == ["a", "b"])
        until.set()


async def test_overdue_turn_is_not_given_back_twice(eventually) -> None:
    turns, going, until = Turns(at_once=1, longest=0.01), [], asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(hold(turns, going, "a", until))
        async with turns.turn():  # Waits until a is overdue.
            pass
        until.set()
    turns._longest = 60.0
    until.clear()

    async with asyncio.TaskGroup() as group:
        for name in "bc":
            group.create_task(hold(turns, going, name, until))
        await eventually(lambda: "b" in going)
        await asyncio.sleep(0)

        assert going == ["a", "b"]
        until.set()
