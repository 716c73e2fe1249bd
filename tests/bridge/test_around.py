from meshbridge.bridge.around import clients_step, source_step, with_surroundings
from meshbridge.bridge.pipeline.explain import Explanation, Step
from meshbridge.bridge.pipeline.sources import Source
from meshbridge.mcp.clients import ClientStatus, TypeStatus
from meshbridge.schemas.registry import SourceReport, SourceState

URL = "networking.istio.io/v1/ServiceEntry"
OWN = Step("source", "ok", "1 instances")


def client(version: str, acked: str, nack: str = "") -> ClientStatus:
    types = [
        TypeStatus(URL, version, acked, None, 0, nack),
        TypeStatus("x/WorkloadEntry", "a", "", None, 0),
    ]
    return ClientStatus("istiod-1", "10.0.0.1:5", "", 0.0, types)


def test_source_says_its_state_and_as_of_when() -> None:
    source = Source("vms", "inventory", required=True, since=0.0)
    assert source_step(source, 60.0).text == "vms (inventory) is connecting, never read"

    source.sync(60.0)
    assert source_step(source, 60.0) == Step(
        "source", "ok", "vms (inventory) is synced, as of 1970-01-01 00:01:00Z"
    )

    source.report(SourceReport(SourceState.STALE, "refused"), 120.0)
    assert source_step(source, 999.0).text.endswith("is stale, as of 1970-01-01 00:02:00Z: refused")


def test_retained_source_says_so() -> None:
    source = Source("vms", "inventory", required=True, since=0.0)
    source.restore(60.0)

    assert source_step(source, 999.0).text.endswith("00:01:00Z, from an earlier run or another replica")


def test_clients_that_lack_the_newest_say_why() -> None:
    assert clients_step([]).verdict == "waiting"
    assert clients_step([client("b", "b")]).verdict == "ok"

    step = clients_step([client("b", "b"), client("b", "a"), client("", ""), client("b", "a", "bad host")])

    assert step.text == (
        "1 of 4 clients have acknowledged the newest ServiceEntries; istiod-1: not acknowledged yet; "
        "istiod-1: nothing sent yet; istiod-1: refused: bad host"
    )


def test_steps_are_put_around_those_of_the_pipeline() -> None:
    sources = {name: Source(name, "inventory", required=True, since=0.0) for name in ("vms", "vms/a")}

    found = with_surroundings(Explanation("vms/a/shop", True, (OWN,)), sources, [client("b", "b")], 1.0)
    unserved = with_surroundings(Explanation("gone/shop", False, (OWN,)), sources, [], 1.0)

    assert [step.stage for step in found.steps] == ["source", "source", "clients"]
    assert found.steps[0].text.startswith("vms/a (inventory)")
    assert unserved.steps == (OWN,)
