from typing import Any

import msgspec
import pytest

from meshbridge.bridge.pipeline.identities import Known, RollOver, identity_text, spiffe_id
from meshbridge.bridge.pipeline.values import Member, MeshKey, ServiceSettings
from meshbridge.schemas.istio import Location
from meshbridge.schemas.registry import Health
from meshbridge.schemas.validation import TLS_MODE

KEY = MeshKey("legacy", "shop.mesh")
DOMAIN = "cluster.local"
OLD = "spiffe://cluster.local/ns/legacy/sa/old"


def member(account: str = "", **fields: Any) -> Member:
    known: dict[str, Any] = {"health": Health.READY, "labels": (), "settings": ServiceSettings()}
    return Member(
        mesh=KEY,
        id="a",
        address="10.0.0.1",
        ports=(),
        locality="",
        network="",
        weight=0,
        service_account=account,
        **{**known, **fields},
    )


def rolled(over: RollOver, now: float, *accounts: str) -> tuple[str, ...]:
    return over.names(KEY, map(member, accounts), DOMAIN, now)


def test_identity_that_a_service_no_longer_has_is_accepted_for_a_while() -> None:
    over = RollOver(60)

    assert rolled(over, 0, "old") == ()
    assert rolled(over, 100, "new") == (OLD,)
    assert rolled(over, 159, "new") == (OLD,)
    assert over.due(159) == []
    assert over.due(160) == [KEY]
    assert rolled(over, 160, "new") == ()
    assert over.due(1000) == []


def test_identity_that_comes_beside_another_changes_nothing_until_one_leaves() -> None:
    over = RollOver(60)

    assert rolled(over, 0, "old") == ()
    assert rolled(over, 10, "old", "new") == ()
    assert rolled(over, 20, "new") == (OLD,)
    assert rolled(over, 30, "new", "old") == ()


def test_service_without_ready_endpoints_keeps_its_identity() -> None:
    over = RollOver(60)
    rolled(over, 0, "old")

    unready = over.names(KEY, [member("old", health=Health.UNREADY)], DOMAIN, 10)

    assert unready == ()
    assert rolled(over, 500, "new") == (OLD,)


def test_second_change_keeps_both() -> None:
    over = RollOver(60)
    rolled(over, 0, "old")
    rolled(over, 10, "mid")

    found = rolled(over, 50, "new")

    assert found == (OLD.replace("old", "mid"), OLD)
    assert over.due(70) == [KEY]
    assert rolled(over, 70, "new") == (OLD.replace("old", "mid"),)


def test_nothing_is_kept_where_roll_over_is_switched_off() -> None:
    over = RollOver(60)
    rolled(over, 0, "old")
    rolled(over, 10, "new")

    over.seconds = 0

    assert rolled(over, 11, "new") == ()
    assert over.due(1000) == []
    assert over.dump() == {}


def test_service_without_identities_leaves_no_trace() -> None:
    over = RollOver(60)

    assert rolled(over, 0, "", "") == ()
    assert over.dump() == {}


def test_roll_over_survives_a_restart() -> None:
    before, after = RollOver(60), RollOver(60)
    rolled(before, 0, "old")
    rolled(before, 10, "new")
    kept = msgspec.msgpack.decode(msgspec.msgpack.encode(before.dump()), type=dict[str, Known])

    after.load(kept)

    assert after.dump() == before.dump()
    assert after.due(70) == [KEY]
    assert rolled(after, 20, "new") == (OLD,)


def test_change_while_the_program_was_down_is_rolled_over_too() -> None:
    over = RollOver(60)

    over.load({str(KEY): Known(("old",))})

    assert rolled(over, 10, "new") == (OLD,)


def test_retained_identities_do_not_replace_newer_ones() -> None:
    over = RollOver(60)
    rolled(over, 0, "new")

    over.load({str(KEY): Known(("old",), (("older", 99.0),))})

    assert over.dump() == {str(KEY): Known(("new",))}


def test_service_that_is_gone_is_forgotten() -> None:
    over = RollOver(60)
    rolled(over, 0, "old")
    rolled(over, 10, "new")

    over.forget(KEY)

    assert (over.dump(), over.due(1000)) == ({}, [])


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (member("old"), f"mutual TLS as {OLD}"),
        (member("old", labels=((TLS_MODE, "istio"),)), f"mutual TLS as {OLD}"),
        (member("old", settings=ServiceSettings(subject_alt_names=("x",))), f"mutual TLS as {OLD} or x"),
        (member(), "plaintext: it has no sidecar that is known of"),
        (member("old", labels=((TLS_MODE, "disabled"),)), "plaintext: its label says so"),
        (
            member(labels=((TLS_MODE, "istio"),)),
            "plaintext: mutual TLS needs a service account or subject alternative names",
        ),
        (
            member("old", settings=ServiceSettings(location=Location.MESH_EXTERNAL)),
            "plaintext: it is outside the mesh (location MESH_EXTERNAL)",
        ),
    ],
)
def test_what_clients_demand_is_told(found: Member, text: str) -> None:
    assert identity_text(found, DOMAIN) == text


def test_spiffe_id_is_istio_s() -> None:
    assert spiffe_id("mesh.example", "shop", "web") == "spiffe://mesh.example/ns/shop/sa/web"
