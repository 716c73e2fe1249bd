"""Dashboard and alerts: they parse, they fire, and every metric in them is one of ours."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from meshbridge.bridge.metrics import Metrics

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
DASHBOARD = DEPLOY / "grafana" / "meshbridge.json"
RULES = DEPLOY / "prometheus" / "rules.yaml"
OF_A_HISTOGRAM = ("_bucket", "_sum", "_count")


def dashboard_queries() -> Iterator[str]:
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel["targets"]:
            yield target["expr"]


def alerts() -> list[dict[str, str]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def labels_of(metric: str) -> set[str] | None:
    """Return the labels of one of our metrics, None when it is none."""
    declared = {found.name: (found.type, set(found.labels)) for found in Metrics().describe()}
    for suffix in OF_A_HISTOGRAM:
        if metric.endswith(suffix) and declared.get(metric.removesuffix(suffix), ("",))[0] == "histogram":
            return declared[metric.removesuffix(suffix)][1]
    return declared[metric][1] if metric in declared else None


def promtool(*arguments: str) -> None:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("not tested, as there is no promtool here (Debian: apt-get install prometheus)")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("query", [*dashboard_queries(), *(rule["expr"] for rule in alerts())])
def test_every_metric_that_is_asked_for_is_one_that_there_is(query: str) -> None:
    metrics = set(re.findall(r"\bmeshbridge_\w+", query))

    assert [metric for metric in metrics if labels_of(metric) is None] == []
    assert metrics or re.search(r"\b(up|process_\w+)\b", query)


def test_legends_use_labels_that_there_are() -> None:
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel["targets"]:
            used = set(re.findall(r"{{(\w+)}}", target["legendFormat"])) - {"instance"}
            known = {
                label
                for metric in re.findall(r"\bmeshbridge_\w+", target["expr"])
                for label in labels_of(metric) or ()
            }
            assert used <= known, panel["title"]


def test_panels_do_not_overlap_and_have_numbers_of_their_own() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    taken = [
        (x, y)
        for grid in (panel["gridPos"] for panel in panels)
        for x in range(grid["x"], grid["x"] + grid["w"])
        for y in range(grid["y"], grid["y"] + grid["h"])
    ]

    assert len(set(taken)) == len(taken)
    assert max(x for x, _ in taken) < 24
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_every_alert_says_what_it_is_about_and_has_a_test() -> None:
    tested = {
        case["name"] for case in yaml.safe_load((RULES.parent / "rules.test.yaml").read_text())["tests"]
    }
    operations = (DEPLOY / "OPERATIONS.md").read_text()

    for rule in alerts():
        assert set(rule["annotations"]) == {"summary", "description"}  # type: ignore[arg-type]
        assert rule["alert"] in tested
        assert rule["alert"] in operations, "the operator finds nothing about it"


def test_alerts_stay_silent_and_fire_as_they_should() -> None:
    promtool("check", "rules", str(RULES))
    promtool("test", "rules", str(RULES.parent / "rules.test.yaml"))


def test_prometheus_parses_what_the_dashboard_asks(tmp_path: Path) -> None:
    records = [
        {"record": f"panel_{number}", "expr": query.replace("$__rate_interval", "1m")}
        for number, query in enumerate(dashboard_queries())
    ]
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": records}]}))

    promtool("check", "rules", str(file))
