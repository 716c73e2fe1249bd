import pytest

from meshbridge.mcp.limits import Admission, Limits, TokenBucket, TooMuch, check_names


def test_bucket_lets_a_burst_pass_and_then_the_rate() -> None:
    bucket = TokenBucket(rate=10.0, burst=3.0)

    waits = [bucket.take(100.0) for _ in range(5)]

    assert waits == pytest.approx([0.0, 0.0, 0.0, 0.1, 0.2])


def test_bucket_fills_again_up_to_the_burst() -> None:
    bucket = TokenBucket(rate=10.0, burst=3.0)
    for _ in range(3):
        bucket.take(100.0)

    waits = [bucket.take(1000.0) for _ in range(4)]

    assert waits == pytest.approx([0.0, 0.0, 0.0, 0.1])


def test_streams_are_limited_for_each_peer_and_in_total() -> None:
    admission = Admission(Limits(streams=3, streams_per_peer=2))

    with admission.admitted("a"), admission.admitted("a"):
        with pytest.raises(TooMuch, match="of this client"), admission.admitted("a"):
            pass
        with (
            admission.admitted("b"),
            pytest.raises(TooMuch, match=r"too many streams$"),
            admission.admitted("c"),
        ):
            pass
    with admission.admitted("a"):  # Ended streams don't count.
        pass


@pytest.mark.parametrize(
    ("names", "remembered", "types", "reason"),
    [
        (["x" * 513], 1, 1, "too long names"),
        (["x"], 11, 1, "too many names"),
        (["x"], 1, 3, "too many types"),
    ],
)
def test_request_beyond_a_limit_is_refused(
    names: list[str], remembered: int, types: int, reason: str
) -> None:
    with pytest.raises(TooMuch, match=reason):
        check_names(Limits(names=10, types=2), names, remembered, types)


def test_request_within_the_limits_is_accepted() -> None:
    check_names(Limits(names=10, types=2), ["x" * 512], 10, 2)
