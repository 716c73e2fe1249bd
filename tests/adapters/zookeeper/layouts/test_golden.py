"""What real clients wrote into real servers (and hand-made trees of formats without a capture), and the
groups it becomes.

`pytest tests/adapters/zookeeper --update-golden` writes the expected files anew; the diff is the change of
behaviour.
"""

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from meshbridge.adapters.zookeeper.layouts.layout import Layout
from meshbridge.adapters.zookeeper.settings import RootSettings
from meshbridge.adapters.zookeeper.tree import Mirror

EXPECTED = Path(__file__).parent / "golden" / "expected"

BOTH = {"path": "/dubbo", "layout": "dubbo", "applications": "/services"}
JSON = {
    "path": "{region}/{service}/{node}",
    "address": "/endpoint/host",
    "port": "/endpoint/port",
    "ports": {"admin": "/admin"},
    "status": "/state",
    "weight": "/w",
    "version": "/v",
    "zone": "/rack/zone",
    "metadata": "/meta",
}
CASES: dict[str, tuple[str, dict[str, object]]] = {
    "dubbo-2.7-interface": ("dubbo-2.7-interface", {"path": "/dubbo27", "layout": "dubbo"}),
    "dubbo-2.7-application": (
        "dubbo-2.7-interface",
        {"path": "/dubbo27", "layout": "dubbo", "dubbo": {"grouping": "application", "consumers": True}},
    ),
    "dubbo-2.7-config-rules": ("dubbo-2.7-config-rules", {"path": "/dubbo27", "layout": "dubbo"}),
    "dubbo-3-remote-interface": ("dubbo-3-all-remote", {"path": "/dubbo", "layout": "dubbo"}),
    "dubbo-3-remote-both": ("dubbo-3-all-remote", BOTH),
    "dubbo-3-mixed-both": ("dubbo-3-mixed", BOTH),
    "dubbo-3-mixed-split": ("dubbo-3-mixed", BOTH | {"dubbo": {"split_protocols": True}}),
    "dubbo-3-mixed-tri": ("dubbo-3-mixed", BOTH | {"dubbo": {"protocols": ["tri"], "consumers": True}}),
    "dubbo-3-mixed-application": ("dubbo-3-mixed", BOTH | {"dubbo": {"grouping": "application"}}),
    "dubbo-3-mixed-services": ("dubbo-3-mixed", {"path": "/services", "layout": "curator"}),
    "dubbo-3-overrides-both": ("dubbo-3-all-remote-overrides", BOTH),
    "curator": ("curator-5.9", {"path": "/curator/services", "layout": "curator"}),
    "spring": ("spring-cloud-zookeeper-4.3.0", {"path": "/services", "layout": "curator"}),
    "serversets": ("serversets", {"path": "/aurora", "layout": "serversets"}),
    "serversets-root": ("serversets", {"path": "/aurora/prod/web", "layout": "serversets"}),
    "nerve": ("nerve", {"path": "/nerve/services", "layout": "nerve"}),
    "nerve-root": ("nerve", {"path": "/nerve/services/redis/services", "layout": "nerve"}),
    "json": ("json", {"path": "/apps", "layout": "json", "json_records": JSON}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_tree_becomes_the_expected_groups(
    case: str, load: Callable[[str, RootSettings, Layout], Mirror], update_golden: bool
) -> None:
    dump, settings = CASES[case]
    root = RootSettings.model_validate(settings)
    layout = root.make_layout()
    tree = load(dump, root, layout)
    expected = EXPECTED / f"{case}.json"

    groups = [
        msgspec.to_builtins(layout.group("zk", service, tree)) for service in sorted(layout.names(tree))
    ]

    found = json.dumps(groups, indent=2) + "\n"
    if update_golden:
        expected.write_text(found)
    assert found == expected.read_text()
