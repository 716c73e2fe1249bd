"""Scripts of what a delta client says and what it must be told, one line for each event."""

import pytest
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse
from hypothesis import given
from hypothesis import strategies as st

from meshbridge.mcp.delta import DeltaRequest, DeltaSubscription, TooFarBehind
from meshbridge.mcp.flow import Pacing
from meshbridge.mcp.view import EVERYTHING, Framed, View
from meshbridge.schemas.protobuf import delimited, string
from meshbridge.schemas.resource import Kind, ResourceKey

URLS = {
    "SE": "networking.istio.io/v1/ServiceEntry",
    "WE": "networking.istio.io/v1/WorkloadEntry",
    "DR": "networking.istio.io/v1/DestinationRule",
}
SHORT = {url: short for short, url in URLS.items()}
FRAME = delimited(2, string(1, "type.googleapis.com/istio.mcp.v1alpha1.Resource"))

# `set a=1` puts resources of SE, `set -a` removes them; `due` sends what is due and says what it brings:
# `a` is a resource, `-a` a removal. Every `ask` but a first one is judged by its nonce: n1, n2, ...
SCRIPTS = {
    "no names at first means everything": """
        set a=1 b=1
        ask SE                          -> first
        due                             -> SE: a b
    """,
    "a star means everything": """
        set a=1
        ask SE +*                       -> first
        due                             -> SE: a
    """,
    "a star taken back at once means nothing yet": """
        set a=1
        ask SE +* -*                    -> first
        due                             -> nothing
        ask SE +a                       -> stale
        due                             -> SE: a
    """,
    "everything is answered even if there is nothing": """
        set
        ask SE                          -> first
        ask DR                          -> first
        due                             -> DR: SE:
    """,
    "our kinds are held, other types are not": """
        ask SE                          -> first
        ask DR                          -> first
        due                             -> DR:
        set a=1
        due                             -> SE: a
    """,
    "only what changed is sent": """
        set a=1 b=1 c=1
        ask SE                          -> first
        due                             -> SE: a b c
        ask SE nonce=n1                 -> ack
        set b=2 d=1 -c
        due                             -> SE: b d -c
        ask SE nonce=n2                 -> ack
        due                             -> nothing
    """,
    "changes of several publications gather while one is in flight": """
        set a=1 b=1
        ask SE                          -> first
        due                             -> SE: a b
        set a=2
        set a=3 c=1
        set -b
        now 1                           -> nothing
        ask SE nonce=n1                 -> ack
        due                             -> SE: a c -b
    """,
    "after the time limit changes are sent without an acknowledgement": """
        set a=1
        ask SE                          -> first
        due                             -> SE: a
        set a=2
        now 9                           -> nothing
        now 2                           -> SE: a
    """,
    "versions the client has save it what is equal, and list what is gone": """
        set a=1 b=2 c=1
        ask SE have a=1 b=1 gone=7      -> first
        due                             -> SE: b c -gone
    """,
    "a client that has everything gets an empty answer": """
        set a=1
        ask SE have a=1                 -> first
        due                             -> SE:
    """,
    "what changes after the comparison is sent as well": """
        set a=1 b=1
        ask SE have a=1 b=1             -> first
        now 0                           -> nothing
        set b=2
        due                             -> SE: b
    """,
    "versions the client has are compared with what is true when the type is no longer held": """
        ask SE have a=1 b=1             -> first
        due                             -> nothing
        set a=1 c=1
        due                             -> SE: c -b
    """,
    "versions of a type we never fill are all gone": """
        set
        ask DR have x=1                 -> first
        due                             -> DR: -x
    """,
    "versions of names that are not wanted matter only if they are gone": """
        set a=1 b=2 c=1
        ask SE +a have a=1 b=1 x=1      -> first
        due                             -> SE: -x
    """,
    "a client that has all it names needs no answer": """
        set a=1
        ask SE +a have a=1              -> first
        due                             -> nothing
        set a=2
        due                             -> SE: a
    """,
    "names bring these names only": """
        set a=1 b=1
        ask SE +a                       -> first
        due                             -> SE: a
        ask SE nonce=n1                 -> ack
        set b=2
        due                             -> nothing
        set a=2
        due                             -> SE: a
    """,
    "a missing name is reported as removed and stays subscribed": """
        set a=1
        ask SE +x                       -> first
        due                             -> SE: -x
        ask SE nonce=n1                 -> ack
        set x=1
        due                             -> SE: x
    """,
    "a name subscribed to again is sent again": """
        set a=1
        ask SE +a                       -> first
        due                             -> SE: a
        ask SE nonce=n1                 -> ack
        ask SE +a                       -> stale
        due                             -> SE: a
    """,
    "a name subscribed to while everything is wanted by star is sent again": """
        set a=1 b=1
        ask SE +*                       -> first
        due                             -> SE: a b
        ask SE nonce=n1 +b              -> ack
        due                             -> SE: b
    """,
    "a star again brings everything again": """
        set a=1 b=1 c=1
        ask SE +*                       -> first
        due                             -> SE: a b c
        ask SE nonce=n1 +*              -> ack
        set -c
        due                             -> SE: a b -c
    """,
    "everything after some names brings everything": """
        set a=1 b=1
        ask SE +a                       -> first
        due                             -> SE: a
        ask SE nonce=n1 +*              -> ack
        due                             -> SE: a b
    """,
    "a missing name beside everything is reported": """
        set a=1
        ask SE +* +x                    -> first
        due                             -> SE: a -x
    """,
    "a name ends everything if no star was given": """
        set a=1 b=1
        ask SE                          -> first
        due                             -> SE: a b
        ask SE nonce=n1 +b              -> ack
        due                             -> SE: b
        ask SE nonce=n2                 -> ack
        set a=2
        due                             -> nothing
        set b=2
        due                             -> SE: b
    """,
    "a name ends everything before it was answered, too": """
        set a=1 b=1
        ask SE                          -> first
        ask SE +b                       -> stale
        due                             -> SE: b
    """,
    "unsubscribing a name while everything is wanted is answered with it": """
        set a=1 b=1
        ask SE                          -> first
        due                             -> SE: a b
        ask SE nonce=n1 -b -x           -> ack
        due                             -> SE: b -x
    """,
    "unsubscribing else is not answered, and brings nothing any more": """
        set a=1 b=1
        ask SE +a +b                    -> first
        due                             -> SE: a b
        ask SE nonce=n1 -b              -> ack
        due                             -> nothing
        set b=2
        due                             -> nothing
        ask SE +b                       -> stale
        due                             -> SE: b
    """,
    "unsubscribing from everything leaves the names": """
        set a=1 b=1
        ask SE +* +a                    -> first
        due                             -> SE: a b
        ask SE nonce=n1 -*              -> ack
        set b=2
        due                             -> nothing
        set a=2
        due                             -> SE: a
    """,
    "names of a stale request count": """
        set a=1 b=1
        ask SE +a                       -> first
        due                             -> SE: a
        ask SE nonce=n1                 -> ack
        set a=2
        due                             -> SE: a
        ask SE nonce=n1 +b              -> stale
        ask SE nonce=n2                 -> ack
        due                             -> SE: b
    """,
    "one response of a type is in flight": """
        set a=1 b=1
        ask SE +a                       -> first
        due                             -> SE: a
        ask SE +b                       -> stale
        now 1                           -> nothing
        ask SE nonce=n1                 -> ack
        due                             -> SE: b
    """,
    "a reply need not keep the distance of pushes": """
        set a=1 b=1
        ask SE +a                       -> first
        due                             -> SE: a
        ask SE nonce=n1 +b              -> ack
        now 0                           -> SE: b
    """,
    "what was refused is not sent again before something changes, and then it is": """
        set a=1 b=1
        ask SE                          -> first
        due                             -> SE: a b
        ask SE nonce=n1                 -> ack
        set a=2
        due                             -> SE: a
        ask SE nonce=n2 error=bad       -> nack
        due                             -> nothing
        set b=2
        due                             -> SE: a b
        ask SE nonce=n3                 -> ack
        set b=3
        due                             -> SE: b
    """,
    "what was refused of names comes with their next change, not with a reply": """
        set a=1 b=1 c=1
        ask SE +a +b                    -> first
        due                             -> SE: a b
        ask SE nonce=n1 error=bad +c    -> nack
        due                             -> SE: c
        ask SE nonce=n2                 -> ack
        set c=2
        due                             -> SE: a b c
    """,
    "going back to what the client had is sent after a refusal": """
        set a=1
        ask SE                          -> first
        due                             -> SE: a
        ask SE nonce=n1                 -> ack
        set a=2
        due                             -> SE: a
        ask SE nonce=n2 error=bad       -> nack
        set a=1
        due                             -> SE: a
    """,
    "a refusal of an older response is noted only": """
        set a=1
        ask SE                          -> first
        due                             -> SE: a
        set a=2
        now 11                          -> SE: a
        ask SE nonce=n1 error=bad       -> nack
        ask SE nonce=n2                 -> ack
        due                             -> nothing
    """,
}


class Script:
    def __init__(self) -> None:
        self.view = View()
        self.subscription = DeltaSubscription(Pacing())
        self.now = 0.0
        self.sent = 0

    def play(self, line: str) -> str:
        match line.split():
            case ["set", *words]:
                self.set(words)
            case ["ask", short, *words]:
                return self.ask(URLS[short], words)
            case ["due"]:
                return self.due(10.0 if self.sent and not self.is_waiting() else 0.5)
            case ["now", seconds]:
                return self.due(float(seconds))
            case _:
                raise AssertionError(line)
        return ""

    def is_waiting(self) -> bool:
        return any(map(self.subscription.is_pending, self.subscription.type_urls))

    def set(self, words: list[str]) -> None:
        put = [word.split("=") for word in words if "=" in word]
        self.view.apply(
            self.view.generation + 1,
            [Framed(key(name), version, FRAME) for name, version in put],
            [key(word[1:]) for word in words if word.startswith("-")],
        )

    def ask(self, url: str, words: list[str]) -> str:
        before, _, has = " ".join(words).partition("have")
        named = [word for word in before.split() if word[0] in "+-"]
        request = DeltaRequest(
            url,
            subscribe=frozenset(full(word[1:]) for word in named if word[0] == "+"),
            unsubscribe=frozenset(full(word[1:]) for word in named if word[0] == "-"),
            initial={full(name): version for name, version in (word.split("=") for word in has.split())},
            **dict(word.split("=") for word in before.split() if "=" in word),
        )
        return self.subscription.on_request(request, self.now).meaning

    def due(self, seconds: float) -> str:
        self.now += seconds
        told = []
        for url in self.subscription.due(self.now, self.view).types:
            answer = self.subscription.answer(url, self.view)
            self.sent += 1
            self.subscription.note(url, answer)
            self.subscription.on_sent(url, answer.version, f"n{self.sent}", self.now)
            response = DeltaDiscoveryResponse.FromString(answer.body)
            assert response.type_url == url
            assert {found.name for found in response.resources} | set(response.removed_resources) == set(
                answer.names
            )
            names = sorted(short(found.name) for found in response.resources)
            gone = sorted("-" + short(name) for name in response.removed_resources)
            told.append(" ".join([f"{SHORT[url]}:", *names, *gone]))
        return " ".join(told) or "nothing"


def key(name: str) -> ResourceKey:
    return ResourceKey(Kind.SERVICE_ENTRY, "legacy", name)


def full(name: str) -> str:
    return name if name == "*" else f"legacy/{name}"


def short(name: str) -> str:
    return name.removeprefix("legacy/")


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS.keys())
def test_script(script: str) -> None:
    playing = Script()

    for line in filter(None, map(str.strip, script.splitlines())):
        event, _, expected = line.partition("->")

        assert playing.play(event) == expected.strip(), line


def test_held_type_has_no_answer() -> None:
    playing = Script()
    playing.play("ask SE")

    assert playing.subscription.answer(URLS["SE"], playing.view) is None


def test_names_remembered_are_counted() -> None:
    playing = Script()
    playing.play("ask SE +a +b have c=1")

    assert playing.subscription.names == 5


def many_removed(playing: Script) -> None:
    names = [f"n{i}" for i in range(3000)]
    playing.set([f"{name}=1" for name in names])
    for name in names:
        playing.set([f"-{name}"])


def test_client_that_misses_more_removals_than_are_known_must_come_again() -> None:
    playing = Script()
    playing.play("set a=1")
    playing.play("ask SE")
    playing.play("due")
    many_removed(playing)

    with pytest.raises(TooFarBehind):
        playing.due(100.0)


def test_client_of_names_that_misses_removals_is_told_of_all_its_names() -> None:
    playing = Script()
    playing.play("set a=1")
    playing.play("ask SE +a +x")
    playing.play("due")
    many_removed(playing)

    assert playing.due(100.0) == "SE: a -x"


events = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from("abcd"), st.integers(1, 3)),
        st.tuples(st.just("remove"), st.sampled_from("abcd"), st.just(0)),
        st.tuples(st.just("ack"), st.just(""), st.just(0)),
        st.tuples(st.just("nack"), st.just(""), st.just(0)),
        st.tuples(st.just("tick"), st.just(""), st.just(0)),
        st.tuples(st.just("again"), st.sampled_from("abcd*"), st.just(0)),
    ),
    max_size=40,
)


@given(events, st.dictionaries(st.sampled_from("abcdxy"), st.sampled_from("123"), max_size=4))
def test_client_that_takes_what_it_is_told_ends_with_what_is_true(
    story: list[tuple[str, str, int]], had: dict[str, str]
) -> None:
    playing, held = Script(), dict(had)
    playing.set(["a=1"])
    playing.ask(URLS["SE"], ["+*", "have", *(f"{name}={version}" for name, version in had.items())])
    in_flight: dict[str, str | None] = {}

    def tick(seconds: float) -> None:
        playing.now += seconds
        for url in playing.subscription.due(playing.now, playing.view).types:
            answer = playing.subscription.answer(url, playing.view)
            response = DeltaDiscoveryResponse.FromString(answer.body)
            playing.sent += 1
            playing.subscription.note(url, answer)
            playing.subscription.on_sent(url, answer.version, f"n{playing.sent}", playing.now)
            held.update(in_flight)  # One that was never judged was taken.
            in_flight.clear()
            in_flight.update({short(found.name): found.version for found in response.resources})
            in_flight.update(dict.fromkeys(map(short, response.removed_resources)))

    for verb, name, version in [*story, ("tick", "", 0), ("put", "a", 9), ("tick", "", 0), ("ack", "", 0)]:
        nonce = f"nonce=n{playing.sent}"
        match verb:
            case "put":
                playing.set([f"{name}={version}"])
            case "remove":
                playing.set([f"-{name}"])
            case "ack":
                playing.ask(URLS["SE"], [nonce])
                held.update(in_flight)
                in_flight.clear()
            case "nack":
                playing.ask(URLS["SE"], [nonce, "error=bad"])
                in_flight.clear()
            case "again":
                playing.ask(URLS["SE"], [f"+{name}"])
            case "tick":
                tick(11.0)

    true = {
        short(n): playing.view.version_of(Kind.SERVICE_ENTRY, n)
        for n in playing.view.names(Kind.SERVICE_ENTRY)
    }
    assert {name: version for name, version in held.items() if version is not None} == true


def test_everything_is_shared_by_all_clients() -> None:
    view = View(EVERYTHING)
    view.apply(1, [Framed(key("a"), "1", FRAME)], [])
    bodies = []
    for _ in range(2):
        subscription = DeltaSubscription(Pacing())
        subscription.on_request(DeltaRequest(URLS["SE"]), 0.0)
        bodies.append(subscription.answer(URLS["SE"], view).body)

    assert bodies[0] is bodies[1]
