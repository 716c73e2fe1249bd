from meshbridge.bridge.kubernetes.leavers import Leavers, Limits
from meshbridge.schemas.resource import Kind, ResourceKey

KEY = ResourceKey(Kind.SERVICE_ENTRY, "a", "x")
LIMITS = Limits(min_removed=10, max_removed_percent=20.0, hold=600.0)


def test_what_was_published_and_taken_back_may_leave_at_once() -> None:
    leavers = Leavers(LIMITS)
    assert not leavers.may_leave(KEY)

    leavers.retire([KEY])

    assert leavers.may_leave(KEY)
    leavers.forget([KEY])
    assert not leavers.may_leave(KEY)


def test_leftovers_wait_for_every_source() -> None:
    leavers = Leavers(LIMITS)

    assert not leavers.judge(1, 100, 0.0, is_complete=False)
    assert leavers.judge(1, 100, 1.0, is_complete=True)
    assert leavers.may_leave(KEY)
    assert not leavers.judge(0, 99, 2.0, is_complete=True)
    assert not leavers.may_leave(KEY)


def test_few_of_many_are_few() -> None:
    assert Leavers(LIMITS).judge(20, 100, 0.0, is_complete=True)
    assert not Leavers(LIMITS).judge(21, 100, 0.0, is_complete=True)
    assert Leavers(LIMITS).judge(9, 9, 0.0, is_complete=True)


def test_many_wait_for_the_hold_to_pass() -> None:
    leavers = Leavers(LIMITS)

    assert not leavers.judge(50, 100, 10.0, is_complete=True)
    assert leavers.held_since == 10.0
    assert not leavers.judge(50, 100, 609.0, is_complete=True)
    assert leavers.judge(50, 100, 610.0, is_complete=True)
    assert leavers.held_since is None
    assert leavers.judge(40, 90, 611.0, is_complete=True)


def test_released_leftovers_may_leave() -> None:
    leavers = Leavers(LIMITS)
    leavers.judge(50, 100, 10.0, is_complete=True)

    leavers.release()

    assert leavers.may_leave(KEY)
