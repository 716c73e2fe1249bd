import asyncio

import pytest


async def test_eventually_returns_the_value_as_soon_as_there_is_one(eventually) -> None:
    seen = []
    asyncio.get_running_loop().call_later(0.02, seen.append, 7)

    assert await eventually(lambda: seen, within=5.0) == [7]


async def test_eventually_fails_with_the_place_and_the_last_value(eventually) -> None:
    with pytest.raises(
        pytest.fail.Exception, match=r"not true within 0.0 s \(last value 0\): .*test_fixtures.py:\d+"
    ):
        await eventually(lambda: 0, within=0.0)
