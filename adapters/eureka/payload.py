"""Eureka's JSON answers, read in two passes: the outline first, then one application after the other.

Written from the answers of eureka-core 2.0.5 and 2.0.6 (`/apps`, `/apps/delta`). Very old servers write an
object in place of a list of one, and leave out empty lists. Decoding holds Python's lock, so that a thread
would not help: an outline of 20 MB takes 10 ms, and whoever reads the applications can pause between them.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, TypeGuard

import msgspec

from meshbridge.schemas.errors import PayloadError

Raw = msgspec.Raw
NOTHING = Raw(b"null")
_TIMES = ("lastUpdatedTimestamp", "lastDirtyTimestamp")
_INTEGER = re.compile(r"-?\d{1,18}", re.ASCII)


class Outline(msgspec.Struct, frozen=True):
    """An answer whose applications are not decoded yet."""

    hash_code: str | None
    """None when the server does not give it; "" is the hash of nothing."""
    applications: tuple[Raw, ...]


class Lease(msgspec.Struct, frozen=True, gc=False):
    """When an instance was registered and last heard of. Milliseconds of the server's clock."""

    registered: int = msgspec.field(default=0, name="registrationTimestamp")
    renewed: int = msgspec.field(default=0, name="lastRenewalTimestamp")
    """After the first heartbeat it lies `duration` in the future: servers add it when they renew."""
    duration: int = msgspec.field(default=90, name="durationInSecs")
    """Seconds."""


class Record(msgspec.Struct, frozen=True, gc=False):
    """An instance as a server writes it; what many instances have alike stays undecoded."""

    instance_id: str | None = msgspec.field(default=None, name="instanceId")
    host_name: str | None = msgspec.field(default=None, name="hostName")
    ip: str | None = msgspec.field(default=None, name="ipAddr")
    status: str | None = None
    overridden: str | None = msgspec.field(default=None, name="overriddenStatus")
    overridden_old: str | None = msgspec.field(default=None, name="overriddenstatus")
    port: Raw = NOTHING
    secure_port: Raw = msgspec.field(default=NOTHING, name="securePort")
    vip: str | None = msgspec.field(default=None, name="vipAddress")
    secure_vip: str | None = msgspec.field(default=None, name="secureVipAddress")
    data_center: Raw = msgspec.field(default=NOTHING, name="dataCenterInfo")
    metadata: Raw = NOTHING
    lease: Lease | None = msgspec.field(default=None, name="leaseInfo")
    updated: int | None = msgspec.field(default=None, name="lastUpdatedTimestamp")
    dirty: int | None = msgspec.field(default=None, name="lastDirtyTimestamp")
    action: str | None = msgspec.field(default=None, name="actionType")


class Refused(msgspec.Struct, frozen=True, gc=False):
    """An instance that can't be read, as far as it can be recognised."""

    id: str
    status: str
    action: str
    reason: str


class _Lists(msgspec.Struct, frozen=True):
    hash_code: str | None = msgspec.field(default=None, name="apps__hashcode")
    application: list[Raw] | None = None


class _Single(msgspec.Struct, frozen=True):
    hash_code: str | None = msgspec.field(default=None, name="apps__hashcode")
    application: Raw = NOTHING


class _ListsAnswer(msgspec.Struct, frozen=True):
    applications: _Lists


class _SingleAnswer(msgspec.Struct, frozen=True):
    applications: _Single


class _Application(msgspec.Struct, frozen=True):
    name: str
    instance: list[Record] | Record | None = None


_outline = msgspec.json.Decoder(_ListsAnswer)
_outline_of_one = msgspec.json.Decoder(_SingleAnswer)
# Not strict, so that times are read from texts, too.
_application = msgspec.json.Decoder(_Application, strict=False)
_record = msgspec.json.Decoder(Record, strict=False)


def read_outline(body: bytes) -> Outline:
    """Return the outline of an answer.

    Raises:
        PayloadError: it is no complete answer of a Eureka server.
    """
    try:
        try:
            found = _outline.decode(body).applications
            return Outline(found.hash_code, tuple(found.application or ()))
        except msgspec.ValidationError:
            one = _outline_of_one.decode(body).applications
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise PayloadError("the answer", f"it is no list of applications: {str(error)[:200]}") from error
    if not bytes(one.application).startswith(b"{"):
        raise PayloadError("the answer", "`application` is neither a list nor an object")
    return Outline(one.hash_code, (one.application,))


def read_application(raw: Raw) -> tuple[str, list[Record | Refused]]:
    """Return an application's name, lower case, and its instances in the order of the answer.

    Raises:
        PayloadError: it has no name, so that nothing in it can be placed.
    """
    try:
        found = _application.decode(raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return _read_with_care(bytes(raw))
    instances = found.instance
    records = [instances] if isinstance(instances, Record) else instances or []
    return _named(found.name), list(records)


def instance_count(hash_code: str) -> int:
    """Return how many instances a hash such as `DOWN_1_UP_19_` stands for."""
    return sum(int(part) for part in hash_code.split("_") if part.isdecimal() and len(part) < 10)


def _named(name: str) -> str:
    if not name.strip():
        raise PayloadError("an application", "it has no name")
    return name.strip().lower()


def _read_with_care(raw: bytes) -> tuple[str, list[Record | Refused]]:
    """Read an application of which some part is malformed, one instance at a time."""
    try:
        found = json.loads(raw.decode("utf-8", "replace"))
    except (ValueError, RecursionError) as error:
        raise PayloadError("an application", f"it is no JSON: {type(error).__name__}") from error
    name = found.get("name") if _is_object(found) else None
    if not isinstance(name, str):
        raise PayloadError("an application", "it has no name")
    instances = found.get("instance")
    if instances is None:
        instances = []
    return _named(name), list(_each(instances if isinstance(instances, list) else [instances]))


def _each(instances: list[Any]) -> Iterator[Record | Refused]:
    for index, item in enumerate(instances):
        try:
            yield _record.decode(json.dumps(_without_odd_times(item)))
        except (msgspec.MsgspecError, UnicodeError) as error:
            known = item if _is_object(item) else {}
            yield Refused(
                id=_text(known.get("instanceId")) or _text(known.get("hostName")) or f"#{index}",
                status=_text(known.get("status")),
                action=_text(known.get("actionType")),
                reason=str(error)[:200],
            )


def _without_odd_times(item: Any) -> Any:
    """Return an instance whose times are numbers or absent: they only order what is told."""
    if not _is_object(item):
        return item
    return {key: value for key, value in item.items() if key not in _TIMES or _INTEGER.fullmatch(str(value))}


def _is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def _text(value: Any) -> str:
    """Return a text that can be written down: lone surrogates can't."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""
