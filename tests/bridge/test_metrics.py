from pathlib import Path

import pytest
from prometheus_client import generate_latest

from meshbridge.adapters.base import AdapterMetrics
from meshbridge.bridge.metrics import Metrics, reference
from meshbridge.bridge.pipeline.outside import PublisherMetrics
from meshbridge.mcp.metrics import McpMetrics
from meshbridge.schemas.registry import SourceState
from meshbridge.schemas.resource import Delta, Kind, Publication, ResourceKey, resource, snapshot

ROOT = Path(__file__).parents[2]
BOUNDED = {
    "source",
    "kind",
    "reason",
    "sink",
    "type",
    "task",
    "result",
    "stage",
    "strategy",
    "what",
    "listener",
}


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(clock=lambda: 1234.5)


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"meshbridge_{name}", labels)


def move_everything(metrics: Metrics) -> None:
    adapter: AdapterMetrics = metrics.adapter("vms", "inventory")
    adapter.attempt()
    adapter.success()
    adapter.error("timeout")
    adapter.rejected("address")
    adapter.strategy("all")
    adapter.strategy("hot")
    adapter.level("connections", 75)
    mcp: McpMetrics = metrics.mcp
    mcp.push("ServiceEntry", 1000, 0.02)
    mcp.acked("ServiceEntry", 0.2, {"vms": 0.4})
    mcp.nack("ServiceEntry")
    mcp.connected(2)
    pipeline: PublisherMetrics = metrics.pipeline
    one = resource(ResourceKey(Kind.SERVICE_ENTRY, "legacy", "shop"), b"body")
    pipeline.published(Publication(7, snapshot([one]), Delta(added=(one,)), {}))
    pipeline.sink_failed("mcp")
    pipeline.tripped("vms")
    pipeline.quarantined("refused")
    metrics.pipeline.quarantined_services(1)
    metrics.pipeline.conflicts({"port": 3})
    metrics.pipeline.problems("merge", 1)
    metrics.pipeline.source_state("vms", SourceState.STALE)
    metrics.pipeline.source_size("vms", services=3, instances=9, held=2)
    metrics.gate(is_open=True)
    metrics.restarted("vms")
    metrics.reloaded("refused")
    metrics.state_written("ok")
    metrics.certificate("mcp", lambda: 1_900_000_000.0)


def test_everything_counts_what_it_says(metrics: Metrics) -> None:
    move_everything(metrics)

    source = {"source": "vms", "kind": "inventory"}
    assert value(metrics, "adapter_attempts_total", **source) == 1
    assert value(metrics, "adapter_successes_total", **source) == 1
    assert value(metrics, "adapter_strategy", **source, strategy="all") == 0
    assert value(metrics, "adapter_strategy", **source, strategy="hot") == 1
    assert value(metrics, "adapter_level", **source, what="connections") == 75
    assert value(metrics, "adapter_last_attempt_timestamp_seconds", **source) == 1234.5
    assert value(metrics, "adapter_last_success_timestamp_seconds", **source) == 1234.5
    assert value(metrics, "adapter_errors_total", **source, reason="timeout") == 1
    assert value(metrics, "adapter_rejected_records_total", **source, reason="address") == 1
    assert value(metrics, "mcp_pushes_total", type="ServiceEntry") == 1
    assert value(metrics, "mcp_pushed_bytes_total", type="ServiceEntry") == 1000
    assert value(metrics, "mcp_push_duration_seconds_sum", type="ServiceEntry") == 0.02
    assert value(metrics, "mcp_ack_duration_seconds_sum", type="ServiceEntry") == 0.2
    assert value(metrics, "mcp_convergence_seconds_sum", source="vms") == 0.4
    assert value(metrics, "mcp_nacks_total", type="ServiceEntry") == 1
    assert value(metrics, "mcp_clients") == 2
    assert value(metrics, "publications_total") == 1
    assert value(metrics, "snapshot_generation") == 7
    assert value(metrics, "resources", type="ServiceEntry") == 1
    assert value(metrics, "resources", type="WorkloadEntry") == 0
    assert value(metrics, "sink_errors_total", sink="mcp") == 1
    assert value(metrics, "guard_trips_total", source="vms") == 1
    assert value(metrics, "quarantines_total", reason="refused") == 1
    assert value(metrics, "quarantined_services") == 1
    assert value(metrics, "conflicts", kind="port") == 3
    assert value(metrics, "conflicts", kind="identity") == 0
    assert value(metrics, "conversion_problems_total", stage="merge") == 1
    assert value(metrics, "source_state", source="vms") == 2
    assert value(metrics, "source_services", source="vms") == 3
    assert value(metrics, "source_instances", source="vms") == 9
    assert value(metrics, "source_held_instances", source="vms") == 2
    assert value(metrics, "gate_open") == 1
    assert value(metrics, "task_restarts_total", task="vms") == 1
    assert value(metrics, "config_reloads_total", result="refused") == 1
    assert value(metrics, "state_writes_total", result="ok") == 1
    assert value(metrics, "certificate_expiry_timestamp_seconds", listener="mcp") == 1_900_000_000


def test_source_that_never_succeeded_shows_zero(metrics: Metrics) -> None:
    metrics.adapter("vms", "inventory").attempt()

    assert value(metrics, "adapter_successes_total", source="vms", kind="inventory") == 0
    assert value(metrics, "adapter_last_success_timestamp_seconds", source="vms", kind="inventory") == 0


def test_forgotten_source_has_no_series_and_its_neighbour_keeps_them(metrics: Metrics) -> None:
    move_everything(metrics)
    metrics.adapter("lab", "inventory").attempt()

    metrics.forget("vms")
    metrics.forget("never-there")

    text = generate_latest(metrics.registry).decode()
    assert 'source="vms"' not in text
    assert value(metrics, "adapter_attempts_total", source="lab", kind="inventory") == 1


def test_names_carry_the_prefix_units_and_bounded_labels(metrics: Metrics) -> None:
    for found in metrics.describe():
        assert found.name.startswith("meshbridge_")
        assert set(found.labels) <= BOUNDED
        assert found.name.endswith("_total") == (found.type == "counter")
        assert found.help.endswith(".")


def test_everything_described_is_exposed_beside_the_process(metrics: Metrics) -> None:
    move_everything(metrics)

    text = generate_latest(metrics.registry).decode()

    assert "process_resident_memory_bytes" in text
    assert [
        found.name for found in metrics.describe() if f"# TYPE {found.name} {found.type}" not in text
    ] == []
    assert "_created" not in text


def test_two_bridges_in_one_process_do_not_share_metrics(metrics: Metrics) -> None:
    Metrics().mcp.connected(5)

    assert value(metrics, "mcp_clients") == 0


def test_committed_reference_is_up_to_date() -> None:
    assert (ROOT / "bridge" / "METRICS.md").read_text() == reference(), "run `make schema`"
