"""Decisions about one object, and whose it is."""

from typing import Any

import msgspec
import pytest

pytest.importorskip("kubernetes")

from meshbridge.bridge.config.kubernetes import KubernetesOutput, Policy
from meshbridge.bridge.kubernetes.objects import (
    AUTO_REGISTERED,
    GROUP_LABEL,
    Observed,
    digest,
    wanted_annotations,
    wanted_labels,
)
from meshbridge.bridge.kubernetes.ownership import Ownership, claimant
from meshbridge.bridge.kubernetes.plan import Case, Verb, decide
from meshbridge.schemas import wire
from meshbridge.schemas.istio import WorkloadEntry
from meshbridge.schemas.registry import labels
from meshbridge.schemas.resource import Kind, Resource, ResourceKey, resource

WANTED = resource(ResourceKey(Kind.WORKLOAD_ENTRY, "a", "w"), wire.encode(WorkloadEntry(address="10.0.0.1")))


def ownership(**settings: Any) -> Ownership:
    return Ownership(KubernetesOutput.model_validate({"enabled": True, "group": "us", **settings}))


def seen(wanted: Resource = WANTED, **changed: Any) -> Observed:
    """Return the object as we write it, with changes."""
    made = Observed(
        key=wanted.key,
        uid="u",
        resource_version="7",
        labels=labels(wanted_labels(wanted, "us")),
        annotations=labels(wanted_annotations(wanted)),
        appliers=("meshbridge-us",),
        has_owner=False,
        is_deleting=False,
        hosts=(),
        digest=digest(wanted),
    )
    return msgspec.structs.replace(made, **changed)


def verb(wanted: Resource | None, found: Observed | None, policy: Policy = Policy.SYNC, **more: Any) -> Verb:
    settings = more.pop("settings", {})
    return decide(Case(wanted, found, **more), ownership(**settings), policy).verb


def test_what_is_as_we_wrote_it_is_left_alone() -> None:
    assert verb(WANTED, seen()) is Verb.NOTHING
    assert verb(None, None) is Verb.NOTHING


def test_object_that_is_being_deleted_is_waited_for() -> None:
    assert verb(WANTED, seen(is_deleting=True)) is Verb.NOTHING
    assert verb(None, seen(is_deleting=True)) is Verb.NOTHING


@pytest.mark.parametrize(
    "change",
    [
        {"labels": ((GROUP_LABEL, "us"), ("extra", "x")), "digest": b"other"},
        {"annotations": labels({**wanted_annotations(WANTED), "extra": "x"}), "digest": b"other"},
        {"labels": ()},
    ],
)
def test_what_others_changed_of_ours_is_put_right(change: dict[str, Any]) -> None:
    assert verb(WANTED, seen(**change)) is Verb.REPAIR


def test_annotations_of_ours_that_were_changed_are_put_right() -> None:
    found = resource(WANTED.key, WANTED.body, annotations=labels({"a": "b"}))
    other = labels({**wanted_annotations(found), "a": "c"})

    assert verb(found, seen(found, annotations=other)) is Verb.REPAIR


def test_digest_that_our_own_write_came_to_counts_as_intact() -> None:
    found = seen(digest=b"defaulted")

    assert verb(WANTED, found, settled=(WANTED.version, b"defaulted")) is Verb.NOTHING
    assert verb(WANTED, found, settled=("older", b"defaulted")) is Verb.REPAIR


def test_fields_are_taken_over_unless_somebody_else_applies_the_object() -> None:
    older = {"annotations": ()}
    alone = decide(Case(WANTED, seen(**older)), ownership(), Policy.SYNC)
    shared = seen(**older, appliers=("argo", "meshbridge-us"))

    assert (alone.verb, alone.force, alone.uid) == (Verb.UPDATE, True, "u")
    assert not decide(Case(WANTED, shared), ownership(), Policy.SYNC).force
    assert decide(Case(WANTED, shared), ownership(adopt="force"), Policy.SYNC).force


def test_host_of_others_forbids_a_new_object_and_is_remarked_on_an_old_one() -> None:
    rival = {"rival": "theirs"}
    old = decide(Case(WANTED, seen(), **rival), ownership(), Policy.SYNC)

    assert verb(WANTED, None, **rival) is Verb.CONFLICT
    assert verb(WANTED, None, **rival, settings={"adopt": "force"}) is Verb.CREATE
    assert (old.verb, old.remark) == (Verb.NOTHING, "its host is defined by theirs as well")
    assert not decide(Case(WANTED, seen(), **rival), ownership(adopt="force"), Policy.SYNC).remark


def test_what_nothing_asks_for_is_deleted_when_it_may_and_if_it_is_ours() -> None:
    action = decide(Case(None, seen()), ownership(), Policy.SYNC)

    assert (action.verb, action.uid, action.resource_version) == (Verb.DELETE, "u", "7")
    assert verb(None, seen(), may_delete=False) is Verb.HOLD
    assert verb(None, seen(), Policy.UPSERT_ONLY) is Verb.KEEP
    assert verb(None, seen(appliers=())) is Verb.NOTHING
    assert verb(None, seen(annotations=((AUTO_REGISTERED, "g"),))) is Verb.NOTHING


def test_create_only_keeps_what_is_there() -> None:
    foreign = seen(appliers=(), labels=())

    assert verb(WANTED, seen(annotations=()), Policy.CREATE_ONLY) is Verb.KEEP
    assert verb(WANTED, foreign, Policy.CREATE_ONLY, settings={"adopt": "unowned"}) is Verb.KEEP
    assert verb(WANTED, None, Policy.CREATE_ONLY) is Verb.CREATE


@pytest.mark.parametrize(
    ("change", "owner"),
    [
        ({"annotations": ((AUTO_REGISTERED, "g"),)}, "istiod, which registered it for a proxy"),
        ({"has_owner": True}, "its owner reference"),
        ({"labels": ((GROUP_LABEL, "them"),)}, "the bridges of group them"),
        ({"appliers": ("argo",)}, "field manager argo"),
        ({"labels": (("app.kubernetes.io/managed-by", "Helm"),)}, "Helm"),
        ({"annotations": (("kubectl.kubernetes.io/last-applied-configuration", ""),)}, "kubectl apply"),
        ({}, ""),
    ],
)
def test_foreign_object_is_adopted_only_if_nobody_claims_it_or_by_force(
    change: dict[str, Any], owner: str
) -> None:
    found = seen(**{"appliers": (), "labels": (), "annotations": (), **change})
    forced = Verb.CONFLICT if "istiod" in owner else Verb.ADOPT

    assert claimant(found) == owner
    assert verb(WANTED, found) is Verb.CONFLICT
    assert verb(WANTED, found, settings={"adopt": "unowned"}) is (Verb.CONFLICT if owner else Verb.ADOPT)
    assert verb(WANTED, found, settings={"adopt": "force"}) is forced


def test_adoption_of_what_has_no_host_goes_by_its_name() -> None:
    rules = ownership(adoption=[{"hosts": ["x*"], "adopt": "unowned"}, {"hosts": ["w*"], "adopt": "force"}])

    assert rules.adoption(WANTED) == "force"
    assert ownership(adoption=[{"hosts": ["x*"], "adopt": "force"}]).adoption(WANTED) == "never"


def test_object_that_another_group_labelled_is_not_ours_though_we_applied_it() -> None:
    rules = ownership()

    assert rules.is_ours(seen(labels=()))
    assert not rules.is_ours(seen(labels=((GROUP_LABEL, "them"),)))
    assert rules.others(seen(appliers=("argo", "meshbridge-us"))) == ("argo",)
