from typing import Any

from meshbridge.bridge.operate.accepted import compare, findings
from meshbridge.bridge.operate.findings import Level


def entry(name: str, *, revision: str = "", **spec: Any) -> dict[str, Any]:
    labels = {"labels": {"istio.io/rev": revision}} if revision else {}
    return {
        "kind": "ServiceEntry",
        "metadata": {"name": name, "namespace": "meshbridge", **labels},
        "spec": {"hosts": [f"{name}.mesh"], **spec},
    }


def test_everything_held_as_served_is_ok() -> None:
    found = compare([entry("a", location="MESH_EXTERNAL")], [entry("a", resolution="NONE")])

    assert (found.served, found.missing, found.different) == (1, [], [])
    assert [one.level for one in findings(found)] == [Level.OK]


def test_what_istiod_lacks_fails_and_is_named() -> None:
    found = findings(compare([entry(f"s{n}") for n in range(7)], []))

    assert found[0].level is Level.FAILED
    assert "lacks 7 (ServiceEntry meshbridge/s0, " in found[0].text
    assert "and 2 more) of 7 served" in found[0].text


def test_another_version_is_a_warning() -> None:
    found = findings(compare([entry("a", exportTo=["*"])], [entry("a")]))

    assert [one.level for one in found] == [Level.WARNING]


def test_istiods_own_resources_and_other_kinds_do_not_matter() -> None:
    other = {"kind": "VirtualService", "metadata": {"name": "v", "namespace": "n"}, "spec": {}}

    assert findings(compare([entry("a")], [entry("a"), entry("own"), other]))[0].level is Level.OK


def test_resources_of_another_revision_are_not_expected() -> None:
    served = [entry("a", revision="canary"), entry("b", revision="default"), entry("c")]

    assert compare(served, []).missing == ["ServiceEntry meshbridge/b", "ServiceEntry meshbridge/c"]
    assert compare(served, [], "canary").missing == ["ServiceEntry meshbridge/a", "ServiceEntry meshbridge/c"]


def test_nothing_served_is_a_warning() -> None:
    assert findings(compare([], []))[0].level is Level.WARNING
