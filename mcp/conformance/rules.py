"""The rules as a table: what a client says, line by line, and what a server must answer.

A rule is a block: its protocol and name, why it is so, and the script that tries it. A script is played on a
stream of its own. Its lines:

    > TYPE [nonce=N] [version=V] [error=TEXT] [+NAME] [-NAME] [have=NAME@VERSION] [inc]   the client says
    < TYPE [all | none] [some=NAME] [only] [removed=NAME] [gone=NAME] [nonce=new] [whole]  the server must say
    < nothing                                                        the server must not say anything
    ack TYPE                                                         the client acknowledges

TYPE is a short name of TYPES. N is `last` (of the type) or made up. A NAME may be $first, the first
ServiceEntry in the server; without any, rules that need one are skipped. `have=$all` says every name and
version. `removed` is listed, `gone` is listed or missing from a whole response. Answers of several types may
come in any order.
"""

from collections.abc import Iterator

import msgspec

SOTW, DELTA, LEGACY = "sotw", "delta", "legacy"

TYPES = {
    SOTW: {
        "SE": "networking.istio.io/v1/ServiceEntry",
        "SE3": "networking.istio.io/v1alpha3/ServiceEntry",
        "WE": "networking.istio.io/v1/WorkloadEntry",
        "WG": "networking.istio.io/v1/WorkloadGroup",
        "DR": "networking.istio.io/v1/DestinationRule",
        "MESH": "core/v1alpha1/MeshConfig",
        "ODD": "conformance.example/v1/Unheard",
    },
    LEGACY: {
        "SE": "istio/networking/v1alpha3/serviceentries",
        "WE": "istio/networking/v1alpha3/workloadentries",
        "GW": "istio/networking/v1alpha3/gateways",
        "ODD": "conformance/v1/unheards",
    },
}
TYPES[DELTA] = TYPES[SOTW]


class Rule(msgspec.Struct, frozen=True):
    """One rule and the script that tries it."""

    protocol: str
    name: str
    why: str
    script: str

    @property
    def needs_resources(self) -> bool:
        """Whether the rule can be tried only where there are ServiceEntries."""
        return "$" in self.script


def _read(table: str) -> Iterator[Rule]:
    for block in table.strip().split("\n\n"):
        title, why, script = block.split("\n", 2)
        protocol, _, name = title.partition(": ")
        yield Rule(protocol, name, why, script)


RULES = tuple(
    _read(
        """
sotw: first request is answered whatever nonce it has
istiod's first request carries a clock reading; a server that drops unknown nonces never answers it
  > SE nonce=made-up
  < SE all

sotw: every type is answered
istiod isn't ready before every type it asked for was answered once
  > MESH nonce=made-up
  > DR nonce=made-up
  > WE nonce=made-up
  > WG nonce=made-up
  > SE nonce=made-up
  < MESH
  < DR
  < WE
  < WG
  < SE

sotw: unknown type is answered empty and ends nothing
all types share the stream, and newer istiods ask for more types
  > ODD
  < ODD none
  > SE
  < SE

sotw: each URL version is answered under its own URL
istiod stores an answer under another URL nowhere, and goes on waiting
  > SE
  > SE3
  < SE all
  < SE3 all

sotw: ACK is not answered
an answered acknowledgement is a loop
  > SE
  < SE
  ack SE
  < nothing

sotw: NACK is not answered while nothing changed
the same response would be refused again, for ever
  > SE
  < SE
  > SE nonce=last error=conformance
  < nothing

sotw: stale nonce is not answered
a peer that answers it makes two pushes in flight chase each other for ever
  > SE
  < SE
  ack SE
  > SE nonce=made-up
  < nothing

sotw: new stream starts anew
a client that comes back must get everything, whatever it had
  > SE nonce=made-up version=made-up
  < SE all

delta: no names means everything
it is how clients ask for a whole type
  > SE
  < SE all

delta: star means everything
it is the explicit form
  > SE +*
  < SE all

delta: star taken back at once means nothing yet
a client may open a type before it knows its names
  > SE +* -*
  < nothing

delta: everything is answered even if there is nothing
else clients wait for their time limit
  > ODD
  < ODD none

delta: equal initial versions are not sent
it is what a client sends them for
  > SE have=$all
  < SE none

delta: other initial versions are sent
the client has something older
  > SE have=$first@older
  < SE all

delta: initial versions of what is gone are listed as removed
a client that isn't told keeps it for ever
  > SE have=conformance/gone@1
  < SE all removed=conformance/gone

delta: name brings this resource
a named subscription is for what it names
  > SE +$first
  < SE some=$first only

delta: missing name is reported as removed
the client would wait for it
  > SE +conformance/missing
  < SE none removed=conformance/missing

delta: name subscribed to again is sent again
the client may have forgotten it
  > SE +$first
  < SE some=$first
  ack SE
  > SE +$first
  < SE some=$first nonce=new

delta: unsubscribing while everything is wanted brings the resource
the client may have dropped it
  > SE +*
  < SE all
  ack SE
  > SE -$first
  < SE some=$first

delta: unsubscribing what is gone while everything is wanted brings its removal
the client must not think that it still exists
  > SE +*
  < SE all
  ack SE
  > SE -conformance/missing
  < SE none removed=conformance/missing

delta: unsubscribing else is not answered
there is nothing to say
  > SE +conformance/missing
  < SE
  ack SE
  > SE -conformance/missing
  < nothing

delta: names count with a stale nonce
the request may have crossed a response; nobody repeats it
  > SE +conformance/missing
  < SE
  ack SE
  > SE nonce=made-up +$first
  < SE some=$first

delta: ACK is not answered
an answered acknowledgement is a loop
  > SE
  < SE
  ack SE
  < nothing

delta: NACK is not answered while nothing changed
the same response would be refused again, for ever
  > SE
  < SE
  > SE nonce=last error=conformance
  < nothing

legacy: every collection is answered
a Pilot isn't ready before every collection was answered once; ending the stream stops them all
  > GW
  > ODD
  > WE
  > SE
  < GW
  < ODD none
  < WE
  < SE whole

legacy: ACK is not answered
a Pilot rebuilds everything for every message
  > SE
  < SE all
  ack SE
  < nothing

legacy: NACK is not answered while nothing changed
the same response would be refused again, for ever
  > SE
  < SE
  > SE nonce=last error=conformance
  < nothing

legacy: another nonce than the one unanswered is ignored
it belongs to something else
  > SE
  < SE
  > SE nonce=made-up
  < nothing

legacy: increments only for who asks for them
a sink takes an increment for all there is otherwise
  > SE inc
  < SE all
  ack SE
  > WE
  < WE whole

legacy: initial versions of what is gone are removed
a sink that isn't told keeps it for ever
  > SE inc have=conformance/gone@1
  < SE gone=conformance/gone
"""
    )
)
