"""Scripts of what a sink of the legacy protocol says and what it must be told, one line for each event."""

import pytest

from meshbridge.mcp.codec import kind_of_collection
from meshbridge.mcp.delta import TooFarBehind
from meshbridge.mcp.flow import Pacing
from meshbridge.mcp.legacy import LegacyRequest, LegacySubscription
from meshbridge.mcp.view import Framed, View
from meshbridge.schemas.proto.meshbridge_mcp_pb2 import Metadata, Resource, Resources
from meshbridge.schemas.protobuf import delimited, string
from meshbridge.schemas.resource import Kind, ResourceKey

COLLECTIONS = {
    "SE": "istio/networking/v1alpha3/serviceentries",
    "WE": "istio/networking/v1alpha3/workloadentries",
    "GW": "istio/networking/v1alpha3/gateways",
    "SYN": "istio/networking/v1alpha3/synthetic/serviceentries",
}
SHORT = {collection: short for short, collection in COLLECTIONS.items()}

# As in the scripts of delta; `SE!` is an incremental response.
SCRIPTS = {
    "every collection is answered, ours when it is no longer held": """
        ask SE                              -> first
        ask GW                              -> first
        due                                 -> GW:
        set a=1
        due                                 -> SE: a
    """,
    "a changed collection is sent whole, and only then": """
        set a=1 b=1
        ask SE                              -> first
        due                                 -> SE: a b
        ask SE nonce=n1                     -> ack
        due                                 -> nothing
        set a=2 -b
        due                                 -> SE: a
    """,
    "at most one response of a collection is unanswered, without a time limit": """
        set a=1
        ask SE                              -> first
        due                                 -> SE: a
        set b=1
        now 1000                            -> nothing
        ask SE nonce=n1                     -> ack
        now 1000                            -> SE: a b
    """,
    "another nonce than the one unanswered is ignored": """
        set a=1
        ask SE                              -> first
        due                                 -> SE: a
        ask SE                              -> stale
        ask SE nonce=x                      -> stale
        ask SE nonce=x error=bad            -> nack
        set a=2
        now 1000                            -> nothing
        ask SE nonce=n1                     -> ack
        ask SE nonce=n1                     -> stale
        now 1000                            -> SE: a
    """,
    "without a nonce, and nothing unanswered, a sink asks anew": """
        set a=1
        ask SE                              -> first
        ask SE                              -> stale
        due                                 -> SE: a
        ask SE nonce=n1                     -> ack
        ask SE                              -> stale
        due                                 -> SE: a
    """,
    "after a refusal nothing is sent before the collection changes": """
        set a=1
        ask SE                              -> first
        due                                 -> SE: a
        ask SE nonce=n1 error=bad           -> nack
        due                                 -> nothing
        set b=1
        due                                 -> SE: a b
    """,
    "increments are what changed, from the first answer on": """
        set a=1 b=1
        ask SE inc                          -> first
        ask SYN inc                         -> first
        due                                 -> SYN!: SE!: a b
        ask SYN inc nonce=n1                -> ack
        ask SE inc nonce=n2                 -> ack
        set a=2 c=1 -b
        due                                 -> SE!: a c -b
        ask SE inc nonce=n3                 -> ack
        set c=2
        due                                 -> SE!: c
    """,
    "versions that a sink has save it what is equal": """
        set a=1 b=2 c=1
        ask SE inc have a=1 b=1 x=1         -> first
        due                                 -> SE!: b c -x
        ask SE inc nonce=n1                 -> ack
        set a=2
        due                                 -> SE!: a
    """,
    "without increments all is sent, whatever a sink has": """
        set a=1
        ask SE have x=1                     -> first
        due                                 -> SE: a
    """,
    "what was refused comes with the next increment": """
        set a=1
        ask SE inc                          -> first
        due                                 -> SE!: a
        ask SE inc nonce=n1                 -> ack
        set a=2 b=1
        due                                 -> SE!: a b
        ask SE inc nonce=n2 error=bad       -> nack
        set -b c=1
        due                                 -> SE!: a c -b
        ask SE inc nonce=n3                 -> ack
        set c=2
        due                                 -> SE!: c
    """,
    "a sink may ask anew for increments, with what it has": """
        set a=1 b=1
        ask SE inc                          -> first
        due                                 -> SE!: a b
        ask SE inc nonce=n1                 -> ack
        ask SE inc have a=1                 -> stale
        due                                 -> SE!: b
    """,
    "a sink may stop asking for increments": """
        set a=1 b=1
        ask SE inc                          -> first
        due                                 -> SE!: a b
        ask SE nonce=n1                     -> ack
        set a=2
        due                                 -> SE: a b
    """,
}


def frame(name: str, version: str) -> bytes:
    resource = Resource(metadata=Metadata(name=f"legacy/{name}", version=version, labels={"pad": "x" * 200}))
    wrapped = string(1, "type.googleapis.com/istio.mcp.v1alpha1.Resource")
    return delimited(2, wrapped + delimited(2, resource.SerializeToString()))


class Script:
    def __init__(self) -> None:
        self.view = View()
        self.subscription = LegacySubscription(Pacing())
        self.now = 0.0
        self.sent = 0

    def play(self, line: str) -> str:
        match line.split():
            case ["set", *words]:
                self.set(words)
            case ["ask", short, *words]:
                return self.ask(COLLECTIONS[short], words)
            case ["due"]:
                return self.due(5.0)
            case ["now", seconds]:
                return self.due(float(seconds))
            case _:
                raise AssertionError(line)
        return ""

    def set(self, words: list[str]) -> None:
        put = [word.split("=") for word in words if "=" in word]
        self.view.apply(
            self.view.generation + 1,
            [Framed(key(name), version, frame(name, version)) for name, version in put],
            [key(word[1:]) for word in words if word.startswith("-")],
        )

    def ask(self, collection: str, words: list[str]) -> str:
        before, _, has = " ".join(words).partition("have")
        request = LegacyRequest(
            collection,
            incremental="inc" in before.split(),
            initial={f"legacy/{n}": version for n, version in (word.split("=") for word in has.split())},
            **dict(word.split("=") for word in before.split() if "=" in word),
        )
        return self.subscription.on_request(request, self.now).meaning

    def due(self, seconds: float) -> str:
        self.now += seconds
        told = []
        for collection in self.subscription.due(self.now, self.view).types:
            answer = self.subscription.answer(collection, self.view)
            self.sent += 1
            self.subscription.note(collection, answer)
            self.subscription.on_sent(collection, answer.version, f"n{self.sent}", self.now)
            self.subscription.on_written(collection, self.now)
            told.append(shown(Resources.FromString(answer.body)))
        return " ".join(told) or "nothing"


def shown(response: Resources) -> str:
    assert response.nonce
    names = sorted(found.metadata.name.removeprefix("legacy/") for found in response.resources)
    gone = sorted("-" + name.removeprefix("legacy/") for name in response.removed_resources)
    return " ".join([SHORT[response.collection] + "!" * response.incremental + ":", *names, *gone])


def key(name: str) -> ResourceKey:
    return ResourceKey(Kind.SERVICE_ENTRY, "legacy", name)


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS.keys())
def test_script(script: str) -> None:
    playing = Script()

    for line in filter(None, map(str.strip, script.splitlines())):
        event, _, expected = line.partition("->")

        assert playing.play(event) == expected.strip(), line


@pytest.mark.parametrize("incremental", [False, True])
def test_held_collection_has_no_answer(incremental: bool) -> None:
    subscription = LegacySubscription(Pacing())
    subscription.on_request(LegacyRequest(COLLECTIONS["SE"], incremental=incremental), 0.0)

    assert subscription.answer(COLLECTIONS["SE"], View()) is None


@pytest.mark.parametrize("last_word", ["ask SE inc nonce=n1", "ask SE inc nonce=n1 error=bad"])
def test_sink_that_misses_more_removals_than_are_known_must_come_again(last_word: str) -> None:
    playing = Script()
    playing.play("set a=1")
    playing.play("ask SE inc")
    playing.play("due")
    playing.play(last_word)
    for i in range(3000):
        playing.set([f"n{i}=1"])
        playing.set([f"-n{i}"])

    with pytest.raises(TooFarBehind):
        playing.due(100.0)


def test_names_remembered_are_counted() -> None:
    playing = Script()
    playing.play("ask SE inc have a=1 b=1")

    assert playing.subscription.names == 2


def test_collections_of_every_pilot_mean_our_kinds_or_nothing() -> None:
    kinds = {short: kind_of_collection(collection) for short, collection in COLLECTIONS.items()}

    assert kinds == {"SE": Kind.SERVICE_ENTRY, "WE": Kind.WORKLOAD_ENTRY, "GW": None, "SYN": None}
