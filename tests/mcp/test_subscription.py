"""Scripts of what a client says and what it must be told, one line for each event."""

from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshbridge.mcp.flow import Pacing
from meshbridge.mcp.subscription import Request, Subscription

URLS = {
    "SE": "networking.istio.io/v1/ServiceEntry",
    "SE3": "networking.istio.io/v1alpha3/ServiceEntry",
    "WE": "networking.istio.io/v1/WorkloadEntry",
    "WG": "networking.istio.io/v1/WorkloadGroup",
    "MC": "core/v1alpha1/MeshConfig",
}
SHORT = {url: short for short, url in URLS.items()}


class Shown(NamedTuple):
    """What a subscription needs to know of a view."""

    known: dict[str, str]
    """The newest version of each type that is not held."""
    services_first: bool = False

    def versions(self, type_urls: Iterable[str]) -> dict[str, str]:
        return {url: self.known[url] for url in type_urls if url in self.known}


SCRIPTS = {
    "the first request is answered whatever its nonce": """
        0     ask SE nonce=1795527651743        -> first
        0.02  due SE=a                          -> SE
    """,
    "types asked for together are answered together, workloads first": """
        0      ask MC                           -> first
        0.001  ask SE                           -> first
        0.002  ask WE                           -> first
        0.003  ask WG                           -> first
        0.003  due SE=a WE=b WG=c MC=-          -> nothing until 0.02
        0.02   due SE=a WE=b WG=c MC=-          -> MC WG WE SE
    """,
    "a held type is answered when it is no longer held": """
        0    ask SE                             -> first
        0    ask MC                             -> first
        1    due MC=-                           -> MC
        1    sent MC=- m1
        1.1  ask MC nonce=m1                    -> ack - after 0.1
        2    due MC=-                           -> nothing
        2    due MC=- SE=a                      -> SE
    """,
    "a second word before the first answer changes nothing": """
        0    ask SE nonce=1                     -> first
        0    ask SE nonce=2                     -> stale
        1    due SE=a                           -> SE
        1    sent SE=a n1
        2    due SE=a                           -> nothing
    """,
    "an empty nonce before the first answer is no acknowledgement": """
        0    ask SE                             -> first
        0    ask SE                             -> stale
        1    due SE=a                           -> SE
    """,
    "an acknowledged type is sent again when it changes, and only then": """
        0     ask SE                            -> first
        1     due SE=a                          -> SE
        1     sent SE=a n1
        1.1   ask SE nonce=n1                   -> ack a after 0.1
        5     due SE=a                          -> nothing
        5     due SE=b                          -> SE
    """,
    "only the type that changed is sent": """
        0    ask SE                             -> first
        0    ask WE                             -> first
        1    due SE=a WE=a                      -> WE SE
        1    sent WE=a w1
        1    sent SE=a s1
        1    ask WE nonce=w1                    -> ack a
        1    ask SE nonce=s1                    -> ack a
        5    due SE=b WE=a                      -> SE
    """,
    "all changed types go in one push, workloads first": """
        0    ask SE                             -> first
        0    ask WE                             -> first
        1    due SE=a WE=a                      -> WE SE
        1    sent WE=a w1
        1    sent SE=a s1
        1    ask WE nonce=w1                    -> ack a
        1    ask SE nonce=s1                    -> ack a
        5    due SE=b WE=b                      -> WE SE
    """,
    "two versions of one type on a stream are two types": """
        0    ask SE                             -> first
        0    ask SE3                            -> first
        1    due SE=a SE3=a                     -> SE SE3
        1    sent SE=a n1
        1    sent SE3=a n1
        1    ask SE nonce=n1                    -> ack a
        5    ask SE3 nonce=n1                   -> ack a after 4
    """,
    "changes gather while a response is in flight": """
        0    ask SE                             -> first
        1    due SE=a                           -> SE
        1    sent SE=a n1
        2    due SE=b                           -> nothing until 11
        3    due SE=c                           -> nothing until 11
        3    ask SE nonce=n1                    -> ack a after 2
        5    due SE=c                           -> SE
    """,
    "a change taken back while a response is in flight is not sent": """
        0    ask SE                             -> first
        1    due SE=a                           -> SE
        1    sent SE=a n1
        2    due SE=b                           -> nothing until 11
        3    ask SE nonce=n1                    -> ack a after 2
        9    due SE=a                           -> nothing
    """,
    "another type in flight holds back a push too": """
        0    ask SE                             -> first
        1    due SE=a                           -> SE
        1    sent SE=a n1
        1    ask SE nonce=n1                    -> ack a
        2    ask WE                             -> first
        3    due SE=a WE=a                      -> WE
        3    sent WE=a w1
        4    due SE=b WE=a                      -> nothing until 13
        4    ask WE nonce=w1                    -> ack a after 1
        5    due SE=b WE=a                      -> SE
    """,
    "a client that never acknowledges still gets newer states": """
        0    ask SE                             -> first
        1    due SE=a                           -> SE
        1    sent SE=a n1
        10.9 due SE=b                           -> nothing until 11
        11   due SE=b                           -> SE
        11   sent SE=b n2
        20   due SE=c                           -> nothing until 21
        21   due SE=c                           -> SE
    """,
    "the wait for an acknowledgement starts when the response has left": """
        0    ask SE                             -> first
        1    due SE=a                           -> SE
        1    sent SE=a n1
        8    written SE
        8    due SE=b                           -> nothing until 18
    """,
    "an acknowledgement may come before the response has left": """
        0    ask SE                             -> first
        1    due SE=a                           -> SE
        1    sent SE=a n1
        1    ask SE nonce=n1                    -> ack a
        2    written SE
        3    due SE=b                           -> SE
    """,
    "the acknowledgement of an older response is stale and causes nothing": """
        0    ask SE                             -> first
        1    due SE=a                           -> SE
        1    sent SE=a n1
        11   due SE=b                           -> SE
        11   sent SE=b n2
        12   ask SE nonce=n1                    -> stale
        12   due SE=b                           -> nothing
        13   ask SE nonce=n2                    -> ack b after 2
        30   due SE=b                           -> nothing
    """,
    "the same acknowledgement twice counts once": """
        0    ask SE                             -> first
        1    due SE=a                           -> SE
        1    sent SE=a n1
        2    ask SE nonce=n1                    -> ack a after 1
        3    ask SE nonce=n1                    -> stale
        9    due SE=a                           -> nothing
    """,
    "a NACK is not answered before the content changes": """
        0    ask SE                             -> first
        1    due SE=a                           -> SE
        1    sent SE=a n1
        2    ask SE nonce=n1 error=bad          -> nack a after 1
        9    due SE=a                           -> nothing
        9    due SE=b                           -> SE
    """,
    "after a NACK the earlier content is new again": """
        0    ask SE                             -> first
        1    due SE=a                           -> SE
        1    sent SE=a n1
        1    ask SE nonce=n1                    -> ack a
        2    due SE=b                           -> SE
        2    sent SE=b n2
        2    ask SE nonce=n2 error=bad          -> nack b
        9    due SE=a                           -> SE
    """,
    "a NACK of an older response is noted and does not free the newest": """
        0    ask SE                             -> first
        1    due SE=a                           -> SE
        1    sent SE=a n1
        11   due SE=b                           -> SE
        11   sent SE=b n2
        12   ask SE nonce=n1 error=bad          -> nack
        12   due SE=c                           -> nothing until 21
    """,
    "a first request with an error is answered": """
        0    ask SE nonce=old error=bad         -> first
        1    due SE=a                           -> SE
    """,
    "new names bring the type again, under a nonce of the stream's own": """
        0    ask SE names=x                     -> first
        1    due SE=a                           -> SE
        1    nonce SE g7                        -> g7
        1    sent SE=a g7
        1    ask SE nonce=g7 names=x,y          -> ack a
        2    due SE=a                           -> SE
        2    nonce SE g7                        -> g7.1
        2    sent SE=a g7.1
        2    ask SE nonce=g7.1 names=x,y        -> ack a
        3    due SE=a                           -> nothing
        3    ask SE nonce=g7.1 names=z          -> stale
        4    nonce SE g7                        -> g7.2
        4    sent SE=a g7.2
        9    nonce SE g9                        -> g9
    """,
    "new names in a stale request are not lost": """
        0    ask SE names=x                     -> first
        1    due SE=a                           -> SE
        1    sent SE=a n1
        11   due SE=b                           -> SE
        11   sent SE=b n2
        12   ask SE nonce=n1 names=x,y          -> stale
        13   ask SE nonce=n2 names=x,y          -> ack b after 2
        15   due SE=b                           -> SE
    """,
    "fewer names bring nothing": """
        0    ask SE names=x,y                   -> first
        1    due SE=a                           -> SE
        1    sent SE=a n1
        1    ask SE nonce=n1 names=x            -> ack a
        9    due SE=a                           -> nothing
    """,
    "the first change after quiet is sent at once, the next keeps its distance": """
        0     ask SE                            -> first
        1     due SE=a                          -> SE
        1     sent SE=a n1
        1     ask SE nonce=n1                   -> ack a
        2     due SE=b                          -> SE
        2     sent SE=b n2
        2     ask SE nonce=n2                   -> ack b
        2.05  due SE=c                          -> nothing until 2.15
        2.15  due SE=c                          -> SE
    """,
    "first answers do not wait for the distance": """
        0     ask SE                            -> first
        1     due SE=a                          -> SE
        1     sent SE=a n1
        1     ask WE                            -> first
        1.02  due SE=a WE=a                     -> WE
    """,
    "the pause grows with the time the client takes": """
        0     ask SE                            -> first
        1     due SE=a                          -> SE
        1     sent SE=a n1
        3     ask SE nonce=n1                   -> ack a after 2
        3     due SE=b                          -> nothing until 5
        5     due SE=b                          -> SE
    """,
    "in a storm the pause grows with each push, up to six times what the client takes": """
        0     ask SE                            -> first
        1     due SE=a                          -> SE
        1     sent SE=a n1
        1     ask SE nonce=n1                   -> ack a
        10    due SE=b                          -> SE
        10    sent SE=b n2
        10.5  ask SE nonce=n2                   -> ack b after 0.5
        10.5  due SE=c                          -> nothing until 11
        11    sent SE=c n3
        11.5  ask SE nonce=n3                   -> ack c after 0.5
        11.5  due SE=d                          -> nothing until 12.5
        12.5  sent SE=d n4
        13    ask SE nonce=n4                   -> ack d after 0.5
        13    due SE=e                          -> nothing until 14.5
        14.5  sent SE=e n5
        15    ask SE nonce=n5                   -> ack e after 0.5
        17    sent SE=f n6
        17.5  ask SE nonce=n6                   -> ack f after 0.5
        20    sent SE=g n7
        20.5  ask SE nonce=n7                   -> ack g after 0.5
        23.5  sent SE=h n8
        24    ask SE nonce=n8                   -> ack h after 0.5
        24    due SE=i                          -> nothing until 27
    """,
    "a storm is over after as much quiet as its last pause": """
        0     ask SE                            -> first
        1     due SE=a                          -> SE
        1     sent SE=a n1
        2     ask SE nonce=n1                   -> ack a after 1
        3     sent SE=b n2
        4     ask SE nonce=n2                   -> ack b after 1
        4     due SE=c                          -> nothing until 6
        8     sent SE=c n3
        9     ask SE nonce=n3                   -> ack c after 1
        9     due SE=d                          -> nothing until 12
        16    sent SE=d n4
        17    ask SE nonce=n4                   -> ack d after 1
        17    due SE=e                          -> nothing until 18
    """,
    "types of one push count as one": """
        0     ask SE                            -> first
        0     ask WE                            -> first
        1     due SE=a WE=a                     -> WE SE
        1     sent WE=a n1
        1.1   sent SE=a n1
        1.1   ask WE nonce=n1                   -> ack a after 0.1
        1.6   ask SE nonce=n1                   -> ack a after 0.5
        1.6   due SE=b WE=a                     -> nothing until 2.1
    """,
    "services go first while workloads leave": """
        0     ask SE                            -> first
        0     ask WE                            -> first
        1     due SE=a WE=a                     -> WE SE
        1     sent WE=a n1
        1     sent SE=a n1
        1     ask SE nonce=n1                   -> ack a
        1     ask WE nonce=n1                   -> ack a
        2     due SE=b WE=b services-first      -> SE WE
    """,
    "the pause has a bound": """
        0     ask SE                            -> first
        1     due SE=a                          -> SE
        1     sent SE=a n1
        61    ask SE nonce=n1                   -> ack a after 60
        61    due SE=b                          -> nothing until 64
    """,
    "a change and a first answer that wait name the earlier time": """
        0     ask SE                            -> first
        1     due SE=a                          -> SE
        1     sent SE=a n1
        1     ask SE nonce=n1                   -> ack a
        1     ask WE                            -> first
        1     due SE=b WE=a                     -> nothing until 1.02
        1.02  due SE=b WE=a                     -> WE until 1.15
    """,
}


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS.keys())
def test_script(script: str) -> None:
    subscription = Subscription(Pacing())

    for line in filter(None, map(str.strip, script.splitlines())):
        event, _, expected = line.partition("->")
        at, verb, *words = event.split()

        assert perform(subscription, float(at), verb, words) == expected.strip(), line


def perform(subscription: Subscription, now: float, verb: str, words: list[str]) -> str:
    match verb, words:
        case "ask", [short, *rest]:
            given = dict(word.split("=") for word in rest)
            names = frozenset(filter(None, given.pop("names", "").split(",")))
            outcome = subscription.on_request(Request(URLS[short], names=names, **given), now)
            took = f"after {outcome.seconds:.3g}" if outcome.seconds else ""
            return " ".join(filter(None, (outcome.meaning, outcome.version, took)))
        case "due", said:
            pairs = dict(word.split("=") for word in said if "=" in word)
            view = Shown({URLS[short]: found for short, found in pairs.items()}, "services-first" in said)
            due = subscription.due(now, view)
            until = f" until {due.wake:g}" if due.wake < float("inf") else ""
            return (" ".join(SHORT[url] for url in due.types) or "nothing") + until
        case "sent", [pair, nonce]:
            short, version = pair.split("=")
            subscription.on_sent(URLS[short], version, nonce, now)
        case "written", [short]:
            subscription.on_written(URLS[short], now)
        case "nonce", [short, shared]:
            return subscription.nonce(URLS[short], shared)
        case _:
            raise AssertionError((verb, words))
    return ""


def test_status_tells_what_was_sent_and_acknowledged() -> None:
    subscription = Subscription(Pacing())
    url = URLS["SE"]
    subscription.on_request(Request(url), 0.0)
    subscription.on_sent(url, "a", "n1", 1.0)
    subscription.on_request(Request(url, "n1"), 1.5)
    subscription.on_sent(url, "b", "n2", 2.0)
    subscription.on_request(Request(url, "n2", error="bad"), 2.5)

    [status] = subscription.statuses()

    assert list(subscription.type_urls) == [url]
    assert (status.version, status.acked, status.latency_seconds, status.nacks) == ("b", "a", 0.5, 1)


steps = st.lists(
    st.tuples(st.sampled_from(["publish", "ack", "nack", "stale", "tick"]), st.floats(0.0, 3.0)), max_size=40
)


@given(steps)
def test_client_always_reaches_the_newest_state_and_pushes_keep_their_distance(
    events: list[tuple[str, float]],
) -> None:
    pacing = Pacing()
    subscription, url, now, version = Subscription(pacing), URLS["SE"], 0.0, 0
    sent: list[tuple[float, str]] = []
    subscription.on_request(Request(url), now)

    for event, seconds in [*events, ("tick", 100.0), ("tick", 100.0)]:
        now += seconds
        nonce = str(len(sent))
        match event:
            case "publish":
                version += 1
            case "ack" | "nack":
                subscription.on_request(Request(url, nonce, error="bad" * (event == "nack")), now)
            case "stale":
                subscription.on_request(Request(url, "old"), now)
        if subscription.due(now, Shown({url: str(version)})).types:
            sent.append((now, str(version)))
            subscription.on_sent(url, str(version), str(len(sent)), now)

    assert sent[-1][1] == str(version)
    for (earlier, before), (later, after) in pairwise(sent):
        assert later - earlier >= pacing.min_push_interval
        assert before != after
