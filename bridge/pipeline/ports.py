"""Names, numbers and protocols of ports, as Istio takes them, from what a registry knows of them.

The protocol of a port is what the first of these says: a rule, the metadata `protocol.NAME` or
`protocol-NAME`, the metadata `protocol` (for the only port, and for ports without a word of their own), the
registry's word, the service's attribute `protocol`, the port's name in Istio's way (`grpc-orders`), the
defaults.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from meshbridge.bridge.pipeline.protocols import istio_protocol
from meshbridge.schemas import naming
from meshbridge.schemas.registry import Labels, Port

MORE_PORTS = dict.fromkeys(("gRPC_port", "gRPC.port", "grpc_port", "grpc.port", "grpc-port"), "grpc")
"""Metadata in which frameworks announce a second port, and what that port is called."""
_MAX_PORT = 65535


def port_metadata(metadata: Labels) -> Labels:
    """Return what of an instance's metadata speaks of its ports."""
    return tuple(
        (key, value)
        for key, value in metadata
        if key in MORE_PORTS or (key.startswith("protocol") and key[8:9] in ("", ".", "-"))
    )


def named_ports(
    ports: Sequence[Port],
    metadata: Labels,
    chosen: str | Mapping[str, str] | None,
    general: Sequence[str],
) -> tuple[Port, ...]:
    """Return the ports by number, each with a name of its own and Istio's word for its protocol.

    Args:
        ports: the registry's.
        metadata: what it says of them, see `port_metadata()`.
        chosen: a rule's protocol, for all or by name.
        general: the protocol where nothing says one: that of the whole service, or "", and the default one.
    """
    said = dict(metadata)
    every = sorted([*ports, *_announced(ports, said)], key=lambda port: port.number)
    return tuple(_named(every, said, chosen, general))


def _announced(ports: Iterable[Port], said: Mapping[str, str]) -> Iterator[Port]:
    known = {port.number for port in ports}
    for key, name in MORE_PORTS.items():
        text = said.get(key, "")
        number = int(text) if text.isascii() and text.isdecimal() and len(text) < 6 else 0
        if 0 < number <= _MAX_PORT and number not in known:
            known.add(number)
            yield Port(name, number, name)


def _named(
    ports: Sequence[Port],
    said: Mapping[str, str],
    chosen: str | Mapping[str, str] | None,
    general: Sequence[str],
) -> Iterator[Port]:
    of_service, default = general
    taken: set[str] = set()
    for port in ports:
        own = _word(port, said, chosen, is_alone=len(ports) == 1)
        word = own or of_service or _hinted(port.name) or default
        protocol = "" if word == "auto" else istio_protocol(word, tls=port.tls) or "TCP"
        name = _free_name(naming.dns_label(port.name or protocol or "default"), taken)
        yield Port(name, port.number, protocol)


def _word(
    port: Port, said: Mapping[str, str], chosen: str | Mapping[str, str] | None, *, is_alone: bool
) -> str:
    """Return the word that decides the protocol of this port, "" when nothing says one."""
    name = naming.dns_label(port.name) if port.name else ""
    own = chosen.get(name) if isinstance(chosen, Mapping) else chosen
    own = own or (said.get(f"protocol.{port.name}") or said.get(f"protocol-{port.name}") if name else "")
    if own:
        return own
    general = said.get("protocol", "")
    if general and (is_alone or not port.protocol):
        return general
    return port.protocol


def _hinted(name: str) -> str:
    """Return the protocol that a name says in Istio's way for Kubernetes' ports: `http`, `grpc-orders`."""
    lowered = name.lower()
    if lowered.startswith("grpc-web"):
        return "grpc-web"
    word = lowered.partition("-")[0]
    return word if istio_protocol(word) else ""


def _free_name(name: str, taken: set[str]) -> str:
    free = name
    count = 1
    while free in taken:
        count += 1
        free = f"{name[:58]}-{count}"
    taken.add(free)
    return free
