"""How an endpoint looks in the mesh: labels, locality, weight, and whether it drains."""

from collections.abc import Callable

from meshbridge.bridge.config.rules import Defaults
from meshbridge.bridge.pipeline.decision import Decision
from meshbridge.bridge.pipeline.template import compile_template
from meshbridge.bridge.pipeline.values import Draining, MergePolicy, ServiceSettings
from meshbridge.schemas import naming
from meshbridge.schemas.registry import Health, Instance, Labels, labels
from meshbridge.schemas.validation import TLS_MODE

VERSION = "version"
DRAINING = "istio.io/draining"
"""istiod's label for an endpoint that keeps persistent sessions and gets nothing new."""
SOURCE = "meshbridge.io/source"
"""The source of an endpoint, where proxies shall fail over from one to another."""

_OWN_VERSION = "{version}"
_MAX_WEIGHT = 2**31 - 1


class Looks:
    """The defaults for single endpoints, compiled."""

    def __init__(self, defaults: Defaults) -> None:
        self._defaults = defaults
        self._version = compile_template(defaults.version)
        self._is_own_version = defaults.version == _OWN_VERSION

    def labels(
        self,
        decision: Decision,
        settings: ServiceSettings,
        source: str,
        instance: Instance,
        value: Callable[[str], str],
    ) -> Labels:
        """Return the endpoint's labels; `version` is there as soon as anything tells it."""
        added = self._added(decision, settings, source, instance)
        told = self._is_own_version and VERSION in dict(instance.labels)
        version = "" if told else self._version.render(value)
        if not (version or added or decision.labels):
            return instance.labels
        found = dict(instance.labels)
        if version:
            found[VERSION] = naming.label_value(version)
        for key, template in decision.labels:
            if template is None:
                found.pop(key, None)
            else:
                found[key] = naming.label_value(template.render(value))
        return labels(found | added)

    def _added(
        self, decision: Decision, settings: ServiceSettings, source: str, instance: Instance
    ) -> dict[str, str]:
        """Return the labels that say something to istiod."""
        found: dict[str, str] = {}
        if decision.fields.tls_mode is not None:
            found[TLS_MODE] = decision.fields.tls_mode
        if settings.merge is MergePolicy.FAILOVER:
            found[SOURCE] = naming.label_value(source.partition("/")[0])
        if _is_leaving(instance) and self._draining(decision) is Draining.LABEL:
            found[DRAINING] = "true"
        return found

    def health(self, decision: Decision, instance: Instance) -> Health:
        """Return the state of the endpoint: one that leaves is removed unless a policy keeps it."""
        if not _is_leaving(instance):
            return instance.health
        return Health.DRAINING if self._draining(decision) is Draining.REMOVE else Health.READY

    def locality(self, decision: Decision, instance: Instance, value: Callable[[str], str]) -> str:
        """Return region/zone/subzone; a zone alone gets the region that belongs to it."""
        template = decision.locality
        locality = instance.locality if template is None else template.render(value)
        if not locality.startswith("/"):
            return locality
        zone = locality.split("/")[1]
        return self._defaults.zones.get(zone, self._defaults.region) + locality

    def weight(
        self, decision: Decision, instance: Instance, value: Callable[[str], str]
    ) -> tuple[int, tuple[str, ...]]:
        """Return the weight, 0 for leaving it to Istio, and what is wrong with it."""
        if decision.weight is None:
            return (instance.weight or 0) if self._defaults.weights == "keep" else 0, ()
        text = decision.weight.render(value)
        if text.isascii() and text.isdecimal() and len(text) <= 10 and int(text) <= _MAX_WEIGHT:
            return int(text), ()
        return 0, (f'weight "{text[:40]}" is no weight; left out',) if text else ()

    def _draining(self, decision: Decision) -> Draining:
        return decision.fields.draining or self._defaults.draining


def _is_leaving(instance: Instance) -> bool:
    return instance.weight == 0 or instance.health is Health.DRAINING
