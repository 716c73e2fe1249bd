"""One copy of what a bridge knows, as bytes: for files, and for other replicas.

A line of JSON (`Header`), then the body as MessagePack. Groups rather than resources, so that a source
which is down can be filled in beside others that are not, and rules may change in between. Pure.
"""

import hashlib
from collections.abc import Iterable, Sequence

import msgspec

from meshbridge.bridge.pipeline.bounds import Held
from meshbridge.bridge.pipeline.guard import hold
from meshbridge.bridge.pipeline.mesh import MeshKept
from meshbridge.schemas.registry import InstanceGroup

FORMAT = 2
MESH = "_mesh"
"""Stands for a source's name where no source is meant; none can be called so."""


class OtherFormat(ValueError):  # noqa: N818 - it is no fault of anybody
    """The copy is of another release of the bridge."""


class Header(msgspec.Struct, frozen=True):
    """The first line."""

    format: int
    source: str
    fingerprint: str
    """Of the configuration that says which registry the groups are from."""
    saved: float
    """Unix seconds at which this was the state of the registry, as far as one knew."""
    sha256: str
    """Of everything after the first line."""
    held: Held | None = None
    """What the guard holds; its times are Unix seconds here."""


class Copy(msgspec.Struct, frozen=True):
    """What is known of one source."""

    header: Header
    groups: list[InstanceGroup]
    """The groups that count, with what the guard holds in them."""


class _AnyHeader(msgspec.Struct, frozen=True):
    format: int


def encode_copy(
    source: str, fingerprint: str, groups: Iterable[InstanceGroup], saved: float, held: Held | None = None
) -> bytes:
    """Return the bytes of a copy."""
    encoder = msgspec.msgpack.Encoder()
    # One by one, so that no encoder holds the GIL for long.
    pieces = [encoder.encode(group) for group in groups]
    body = b"\xdd" + len(pieces).to_bytes(4, "big") + b"".join(pieces)
    header = Header(FORMAT, source, fingerprint, saved, hashlib.sha256(body).hexdigest(), held)
    return msgspec.json.encode(header) + b"\n" + body


def encode_mesh(kept: MeshKept) -> bytes:
    """Return the bytes of what no source has, in the form of a copy of a source that nobody can configure."""
    body = msgspec.msgpack.encode(kept, order="sorted")
    header = Header(FORMAT, MESH, "", 0.0, hashlib.sha256(body).hexdigest())
    return msgspec.json.encode(header) + b"\n" + body


def decode_mesh(content: bytes) -> MeshKept:
    """Return what the bytes hold.

    Raises:
        OtherFormat: another release of the bridge wrote it.
        ValueError: it is damaged.
        RecursionError: it is nested without end.
    """
    _, body = _parse(content)
    return msgspec.msgpack.decode(body, type=MeshKept)


def decode_copy(content: bytes) -> Copy:
    """Return the copy that the bytes hold.

    Raises:
        OtherFormat: another release of the bridge wrote it.
        ValueError: it is damaged.
        RecursionError: it is nested without end.
    """
    header, body = _parse(content)
    return Copy(header, msgspec.msgpack.decode(body, type=list[InstanceGroup]))


def _parse(content: bytes) -> tuple[Header, bytes]:
    first, _, body = content.partition(b"\n")
    found = msgspec.json.decode(first, type=_AnyHeader).format
    if found != FORMAT:
        raise OtherFormat(f"format {found} is not {FORMAT}")
    header = msgspec.json.decode(first, type=Header)
    if hashlib.sha256(body).hexdigest() != header.sha256:
        raise ValueError("the checksum does not match")
    return header, body


def united(copies: Sequence[Copy]) -> Copy:
    """Return the newest of several copies of one source (at least one), with what any of them holds."""
    newest = max(copies, key=lambda copy: copy.header.saved)
    groups = {group.key: group for group in newest.groups}
    held = newest.header.held
    for copy in copies:
        if copy is newest or copy.header.held is None:
            continue
        for group in copy.groups:
            if group.held:
                known = groups.get(group.key) or InstanceGroup(group.key)
                groups[group.key] = _with_held_of(known, group)
        held = _joined(held, copy.header.held)
    return Copy(msgspec.structs.replace(newest.header, held=held), list(groups.values()))


def _with_held_of(group: InstanceGroup, other: InstanceGroup) -> InstanceGroup:
    wanted = set(other.held)
    lost = msgspec.structs.replace(
        other, instances=tuple(found for found in other.instances if found.id in wanted)
    )
    joined = hold(lost, group)
    return msgspec.structs.replace(joined, held=tuple(sorted({*joined.held, *group.held})))


def _joined(one: Held | None, other: Held) -> Held:
    if one is None:
        return other
    since = {
        name: {**other.since.get(name, {}), **one.since.get(name, {})} for name in one.since | other.since
    }
    return Held(one.trip, since)
