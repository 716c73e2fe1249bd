"""What has to happen to one object: the resource that should be, against the object that is. Pure."""

from enum import StrEnum

import msgspec

from meshbridge.bridge.config.kubernetes import Adopt, Policy
from meshbridge.bridge.kubernetes.objects import (
    VERSION_ANNOTATION,
    Observed,
    digest,
    wanted_annotations,
    wanted_labels,
)
from meshbridge.bridge.kubernetes.ownership import Ownership, claimant, is_auto_registered
from meshbridge.schemas.resource import Resource


class Verb(StrEnum):
    """What to do with one object."""

    NOTHING = "nothing"
    """It is as it should be, or not ours and not wanted."""
    CREATE = "created"
    UPDATE = "updated"
    """The resource changed."""
    REPAIR = "repaired"
    """Somebody changed what is ours."""
    ADOPT = "adopted"
    DELETE = "deleted"
    CONFLICT = "conflict"
    """Somebody else's object is in the way; it stays."""
    KEEP = "kept"
    """The policy forbids the change."""
    HOLD = "held"
    """It would be deleted, which has to wait."""


WRITES = frozenset({Verb.CREATE, Verb.UPDATE, Verb.REPAIR, Verb.ADOPT, Verb.DELETE})


class Action(msgspec.Struct, frozen=True, gc=False):
    """A decision about one object."""

    verb: Verb
    reason: str = ""
    """Why nothing is written although something should be."""
    force: bool = False
    """Whether to take fields over from whoever has them."""
    uid: str = ""
    """The very object that is meant, "" when there is none yet."""
    resource_version: str = ""
    remark: str = ""
    """What people should know although the object is, or will be, as it should be."""


_NOTHING = Action(Verb.NOTHING)


class Case(msgspec.Struct, frozen=True):
    """One object to decide about."""

    wanted: Resource | None
    found: Observed | None
    rival: str = ""
    """Another object, not ours, that defines a wanted host in the same namespace."""
    may_delete: bool = True
    settled: tuple[str, bytes] | None = None
    """The resource version and digest that our last write of this object came to."""


def decide(case: Case, ownership: Ownership, policy: Policy) -> Action:
    """Return what has to happen."""
    if case.wanted is None:
        return _unwanted(case, ownership, policy)
    is_rivalled = bool(case.rival) and ownership.adoption(case.wanted) is not Adopt.FORCE
    if case.found is None:
        if is_rivalled:
            return Action(Verb.CONFLICT, f"its host is defined by {case.rival} already")
        return Action(Verb.CREATE)
    if case.found.is_deleting:
        return _NOTHING  # The watch says when it is gone.
    if ownership.is_ours(case.found):
        action = _own(case.wanted, case.found, case.settled, ownership, policy)
        # Ours is there already, and taking it away would be no help to anybody's clients.
        return _remarked(action, case.rival) if is_rivalled else action
    return _foreign(case.wanted, case.found, ownership, policy)


def _remarked(action: Action, rival: str) -> Action:
    return msgspec.structs.replace(action, remark=f"its host is defined by {rival} as well")


def _unwanted(case: Case, ownership: Ownership, policy: Policy) -> Action:
    found = case.found
    if found is None or found.is_deleting or not ownership.is_ours(found) or is_auto_registered(found):
        return _NOTHING
    if policy is not Policy.SYNC:
        return Action(Verb.KEEP, f"nothing asks for it any more, and the policy is {policy}")
    if not case.may_delete:
        return Action(Verb.HOLD, "nothing asks for it, but it is too early to delete it")
    return Action(Verb.DELETE, uid=found.uid, resource_version=found.resource_version)


def _own(
    wanted: Resource,
    found: Observed,
    settled: tuple[str, bytes] | None,
    ownership: Ownership,
    policy: Policy,
) -> Action:
    is_newest = dict(found.annotations).get(VERSION_ANNOTATION) == wanted.version
    if is_newest and _is_intact(wanted, found, settled, ownership.group):
        return _NOTHING
    if policy is Policy.CREATE_ONLY:
        return Action(Verb.KEEP, f"it differs, and the policy is {policy}")
    # Hands and controllers that update are put right. Who applies keeps at it, and would fight.
    force = not ownership.others(found) or ownership.adoption(wanted) is Adopt.FORCE
    return Action(Verb.REPAIR if is_newest else Verb.UPDATE, force=force, uid=found.uid)


def _is_intact(wanted: Resource, found: Observed, settled: tuple[str, bytes] | None, group: str) -> bool:
    """Whether everything of ours is as we wrote it; what others added doesn't count."""
    if not wanted_labels(wanted, group).items() <= dict(found.labels).items():
        return False
    if not wanted_annotations(wanted).items() <= dict(found.annotations).items():
        return False
    return (wanted.version, found.digest) == settled or found.digest == digest(wanted)


def _foreign(wanted: Resource, found: Observed, ownership: Ownership, policy: Policy) -> Action:
    adopt = ownership.adoption(wanted)
    owner = claimant(found)
    text = f"an object of this name exists and belongs to {owner or 'nobody we know'}"
    if is_auto_registered(found) or adopt is Adopt.NEVER or (adopt is Adopt.UNOWNED and owner):
        return Action(Verb.CONFLICT, text)
    if policy is Policy.CREATE_ONLY:
        return Action(Verb.KEEP, f"{text}, and the policy is {policy}")
    return Action(Verb.ADOPT, force=True, uid=found.uid)
