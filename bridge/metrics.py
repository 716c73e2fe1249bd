"""Every metric of the bridge, declared once, in a registry of its own.

Labels are bounded: `source`, `kind` (of registry), `type` (of resource), `reason`, `strategy`, `what`,
`sink`, `stage`, `task` and `result` come from the configuration or are one of a few fixed words. No service,
host, instance or client is ever a label. METRICS.md is made from `describe()`.
"""

import sys
import time
from collections.abc import Callable, Mapping

from prometheus_client import ProcessCollector, disable_created_metrics

from meshbridge.bridge.declarations import Declaration, Declarations
from meshbridge.bridge.kubernetes.status import OutputStatus
from meshbridge.bridge.pipeline.conflicts import CONFLICT_KINDS
from meshbridge.schemas.registry import SourceState
from meshbridge.schemas.resource import Kind, Publication

_STATES = {state: number for number, state in enumerate(SourceState)}


class AdapterCounters:
    """The counters that adapters move, as `meshbridge.adapters.base.AdapterMetrics` wants them."""

    def __init__(self, declare: Declarations, clock: Callable[[], float]) -> None:
        labels = ("source", "kind")
        self.clock = clock
        self.attempts = declare.counter("meshbridge_adapter_attempts_total", "Reads begun.", *labels)
        self.successes = declare.counter(
            "meshbridge_adapter_successes_total", "Reads that gave a usable answer.", *labels
        )
        self.errors = declare.counter(
            "meshbridge_adapter_errors_total", "Reads that failed.", *labels, "reason"
        )
        self.rejected = declare.counter(
            "meshbridge_adapter_rejected_records_total", "Records that were skipped.", *labels, "reason"
        )
        self.last_attempt = declare.gauge(
            "meshbridge_adapter_last_attempt_timestamp_seconds",
            "Unix time of the newest read begun.",
            *labels,
        )
        self.last_success = declare.gauge(
            "meshbridge_adapter_last_success_timestamp_seconds",
            "Unix time of the newest read that gave a usable answer; 0 before the first.",
            *labels,
        )
        self.strategies = declare.gauge(
            "meshbridge_adapter_strategy",
            "1 for the way in which the registry is followed now, 0 for those that were used before.",
            *labels,
            "strategy",
        )
        self.levels = declare.gauge(
            "meshbridge_adapter_level",
            "Quantities of an adapter, such as its budget of connections; its README says which.",
            *labels,
            "what",
        )


class AdapterMetrics:
    """The counters of one source."""

    def __init__(self, counters: AdapterCounters, source: str, kind: str) -> None:
        self._counters = counters
        self._labels = (source, kind)
        self._strategy = ""
        for metric in (counters.attempts, counters.successes, counters.last_attempt, counters.last_success):
            metric.labels(*self._labels)  # Shows 0 rather than nothing, so that rates begin right.

    def attempt(self) -> None:
        """One read of the registry begins."""
        self._counters.attempts.labels(*self._labels).inc()
        self._counters.last_attempt.labels(*self._labels).set(self._counters.clock())

    def success(self) -> None:
        """A read gave a usable answer."""
        self._counters.successes.labels(*self._labels).inc()
        self._counters.last_success.labels(*self._labels).set(self._counters.clock())

    def error(self, reason: str) -> None:
        """A read failed; `reason` is one of a few fixed words."""
        self._counters.errors.labels(*self._labels, reason).inc()

    def rejected(self, reason: str) -> None:
        """One record was skipped; `reason` is one of a few fixed words."""
        self._counters.rejected.labels(*self._labels, reason).inc()

    def strategy(self, name: str) -> None:
        """The registry is followed in this way now; `name` is one of a few fixed words."""
        if self._strategy not in ("", name):
            self._counters.strategies.labels(*self._labels, self._strategy).set(0)
        self._strategy = name
        self._counters.strategies.labels(*self._labels, name).set(1)

    def level(self, what: str, value: float) -> None:
        """A quantity of the adapter is this now; `what` is one of a few fixed words."""
        self._counters.levels.labels(*self._labels, what).set(value)


class McpServerMetrics:
    """The MCP server's counters, as `meshbridge.mcp.metrics.McpMetrics` wants them."""

    def __init__(self, declare: Declarations) -> None:
        self._pushes = declare.counter("meshbridge_mcp_pushes_total", "Responses written to clients.", "type")
        self._bytes = declare.counter(
            "meshbridge_mcp_pushed_bytes_total", "Bytes of these responses.", "type"
        )
        self._push_seconds = declare.histogram(
            "meshbridge_mcp_push_duration_seconds", "Time to make and write a response.", "type"
        )
        self._ack_seconds = declare.histogram(
            "meshbridge_mcp_ack_duration_seconds", "Time from a response to its acknowledgement.", "type"
        )
        self._convergence = declare.histogram(
            "meshbridge_mcp_convergence_seconds",
            "Time from a registry's event to a client's acknowledgement of what it led to.",
            "source",
        )
        self._nacks = declare.counter("meshbridge_mcp_nacks_total", "Responses that clients refused.", "type")
        self._clients = declare.gauge("meshbridge_mcp_clients", "Clients connected.")

    def push(self, kind: str, size: int, seconds: float) -> None:
        """A response of this many bytes was written, which took so long."""
        self._pushes.labels(kind).inc()
        self._bytes.labels(kind).inc(size)
        self._push_seconds.labels(kind).observe(seconds)

    def acked(self, kind: str, seconds: float, convergence: Mapping[str, float]) -> None:
        """A response was acknowledged so long after it was sent."""
        self._ack_seconds.labels(kind).observe(seconds)
        for source, since in convergence.items():
            self._convergence.labels(source).observe(since)

    def nack(self, kind: str) -> None:
        """A client refused a response."""
        self._nacks.labels(kind).inc()

    def connected(self, clients: int) -> None:
        """So many clients are connected now."""
        self._clients.set(clients)


class PipelineMetrics:
    """What becomes of the sources' data, as `bridge.pipeline.publish.PublisherMetrics` wants it."""

    def __init__(self, declare: Declarations) -> None:
        states = ", ".join(f"{number} {state}" for state, number in _STATES.items())
        self._state = declare.gauge("meshbridge_source_state", f"How the source is read: {states}.", "source")
        self._services = declare.gauge("meshbridge_source_services", "Services of the source.", "source")
        self._instances = declare.gauge("meshbridge_source_instances", "Instances of the source.", "source")
        self._held = declare.gauge(
            "meshbridge_source_held_instances", "Instances that only the guard keeps.", "source"
        )
        self._trips = declare.counter(
            "meshbridge_guard_trips_total", "Times the guard began to hold a source's losses.", "source"
        )
        self._problems = declare.counter(
            "meshbridge_conversion_problems_total", "Problems that the stages merge and convert met.", "stage"
        )
        self._quarantines = declare.counter(
            "meshbridge_quarantines_total", "Times a mesh service could not be published as it is.", "reason"
        )
        self._quarantined = declare.gauge(
            "meshbridge_quarantined_services", "Mesh services whose last valid form is served, or none."
        )
        self._conflicts = declare.gauge(
            "meshbridge_conflicts", "What sources say differently of one mesh service.", "kind"
        )
        resources = declare.gauge("meshbridge_resources", "Resources published.", "type")
        self._resources = {kind: resources.labels(kind.value) for kind in Kind}
        self._generation = declare.gauge(
            "meshbridge_snapshot_generation", "Number of the newest publication."
        )
        self._publications = declare.counter("meshbridge_publications_total", "Publications made.")
        self._sink_errors = declare.counter(
            "meshbridge_sink_errors_total", "Publications that a sink did not take.", "sink"
        )

    def source_state(self, source: str, state: SourceState) -> None:
        """A source is read well, or not."""
        self._state.labels(source).set(_STATES[state])

    def source_size(self, source: str, services: int, instances: int, held: int) -> None:
        """A source has so many services and instances now, held ones included."""
        self._services.labels(source).set(services)
        self._instances.labels(source).set(instances)
        self._held.labels(source).set(held)

    def tripped(self, source: str) -> None:
        """The guard began to hold a source's losses."""
        self._trips.labels(source).inc()

    def problems(self, stage: str, count: int) -> None:
        """A stage, `merge` or `convert`, found so many things that are not as they should be."""
        self._problems.labels(stage).inc(count)

    def quarantined(self, reason: str) -> None:
        """A mesh service can't be published in its newest state."""
        self._quarantines.labels(reason).inc()

    def quarantined_services(self, count: int) -> None:
        """So many mesh services are in quarantine now."""
        self._quarantined.set(count)

    def conflicts(self, counts: Mapping[str, int]) -> None:
        """There are so many conflicts of each kind now."""
        for kind in CONFLICT_KINDS:
            self._conflicts.labels(kind).set(counts.get(kind, 0))

    def published(self, publication: Publication) -> None:
        """A snapshot went to the sinks."""
        self._publications.inc()
        self._generation.set(publication.generation)
        for kind, gauge in self._resources.items():
            gauge.set(len(publication.snapshot[kind].resources))

    def sink_failed(self, sink: str) -> None:
        """A sink did not take a snapshot."""
        self._sink_errors.labels(sink).inc()


class KubernetesMetrics:
    """The Kubernetes output's counters, as `meshbridge.bridge.kubernetes.writer.WriterMetrics` wants them."""

    def __init__(self, declare: Declarations) -> None:
        self._writes = declare.counter(
            "meshbridge_kubernetes_writes_total",
            "Writes to the API server: created, updated, repaired, adopted, deleted, or why not.",
            *("type", "result"),
        )
        self._seconds = declare.histogram(
            "meshbridge_kubernetes_write_duration_seconds", "Time that a write took.", "type"
        )
        self._leading = declare.gauge("meshbridge_kubernetes_leading", "1 while this bridge writes.")
        self._owned = declare.gauge("meshbridge_kubernetes_owned_objects", "Objects there that are ours.")
        self._pending = declare.gauge("meshbridge_kubernetes_pending_objects", "Objects to be looked at.")
        self._troubles = declare.gauge(
            "meshbridge_kubernetes_troubled_objects", "Objects that are not as they should be.", "reason"
        )
        self._reasons: set[str] = set()

    def written(self, kind: Kind, result: str, seconds: float) -> None:
        """A write was done (`created`, `updated`, ...) or failed for a reason."""
        self._writes.labels(kind.value, result).inc()
        self._seconds.labels(kind.value).observe(seconds)

    def output(self, status: OutputStatus) -> None:
        """The output fares so now."""
        self._leading.set(status.state == "leading")
        self._owned.set(status.owned)
        self._pending.set(status.pending)
        self._reasons |= set(status.troubles)
        for reason in self._reasons:
            self._troubles.labels(reason).set(status.troubles.get(reason, 0))


class Metrics:
    """All metrics. `registry` is what the admin interface exposes; `clock` gives Unix seconds."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        # Of the whole process: a second series for each counter that nobody asks for.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # The library lacks the annotation.
        declare = Declarations()
        ProcessCollector(registry=declare.registry)
        self.registry = declare.registry
        self._made = declare.made
        self._adapters = AdapterCounters(declare, clock)
        self.pipeline = PipelineMetrics(declare)
        self.mcp = McpServerMetrics(declare)
        self.kubernetes = KubernetesMetrics(declare)
        self._gate = declare.gauge("meshbridge_gate_open", "1 when answers are given, 0 while they wait.")
        self._restarts = declare.counter(
            "meshbridge_task_restarts_total", "Restarts of a task that ended unasked.", "task"
        )
        self._reloads = declare.counter(
            "meshbridge_config_reloads_total", "Reloads of the configuration.", "result"
        )
        self._state_writes = declare.counter(
            "meshbridge_state_writes_total", "Writes of the retained state.", "result"
        )
        self._certificates = declare.gauge(
            "meshbridge_certificate_expiry_timestamp_seconds",
            "Unix time until which a listener's certificate is valid; 0 when it can't be read.",
            "listener",
        )

    def adapter(self, source: str, kind: str) -> AdapterMetrics:
        """Return the counters for one source."""
        return AdapterMetrics(self._adapters, source, kind)

    def forget(self, source: str) -> None:
        """Remove the series of a source that is no longer configured."""
        for declaration, metric in self._made.items():
            if "source" in declaration.labels:
                metric.remove_by_labels({"source": source})

    def gate(self, *, is_open: bool) -> None:
        """Answers are given now, or wait."""
        self._gate.set(is_open)

    def restarted(self, task: str) -> None:
        """A task ended unasked and runs again; `task` is a name from the code or a source's."""
        self._restarts.labels(task).inc()

    def reloaded(self, result: str) -> None:
        """The configuration was read again: applied, unchanged or refused."""
        self._reloads.labels(result).inc()

    def state_written(self, result: str) -> None:
        """Retained state was written: ok or failed."""
        self._state_writes.labels(result).inc()

    def certificate(self, listener: str, expiry: Callable[[], float]) -> None:
        """A listener, `mcp` or `admin`, has a certificate; `expiry` is asked whenever metrics are read."""
        self._certificates.labels(listener).set_function(expiry)

    def describe(self) -> list[Declaration]:
        """Return every metric of ours, by name."""
        return sorted(self._made)


def reference() -> str:
    """Return METRICS.md."""
    rows = [
        f"| `{found.name}` | {found.type} | {', '.join(found.labels)} | {found.help} |"
        for found in Metrics().describe()
    ]
    table = "\n".join(["| metric | type | labels | meaning |", "|---|---|---|---|", *rows])
    return f"""\
# Metrics

Generated from the declarations in `metrics.py` by `make schema`. Served at `/metrics` of the admin address,
beside the usual `process_*` metrics (memory, CPU, open files).

{table}
"""


if __name__ == "__main__":
    sys.stdout.write(reference())
