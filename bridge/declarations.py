"""Declaring metrics: makes them, and remembers them for the reference page."""

from typing import NamedTuple, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

Metric = Counter | Gauge | Histogram
AnyMetric = TypeVar("AnyMetric", Counter, Gauge, Histogram)


class Declaration(NamedTuple):
    """One metric, for the reference page."""

    name: str
    type: str
    labels: tuple[str, ...]
    help: str


class Declarations:
    """Makes metrics and remembers them."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.made: dict[Declaration, Metric] = {}

    def counter(self, name: str, text: str, *labels: str) -> Counter:
        """Return a new counter."""
        return self._made(Counter(name, text, labels, registry=self.registry), name, text, labels)

    def gauge(self, name: str, text: str, *labels: str) -> Gauge:
        """Return a new gauge."""
        return self._made(Gauge(name, text, labels, registry=self.registry), name, text, labels)

    def histogram(self, name: str, text: str, *labels: str) -> Histogram:
        """Return a new histogram of seconds."""
        made = Histogram(name, text, labels, buckets=_BUCKETS, registry=self.registry)
        return self._made(made, name, text, labels)

    def _made(self, made: AnyMetric, name: str, text: str, labels: tuple[str, ...]) -> AnyMetric:
        self.made[Declaration(name, type(made).__name__.lower(), labels, text)] = made
        return made
