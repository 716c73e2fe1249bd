"""How an endpoint looks in the mesh: labels, locality, weight, and whether it drains."""

from collections.abc import Callable, Mapping

from meshbridge.bridge.config.rules import Defaults
from meshbridge.bridge.pipeline.decision import Decision
from meshbridge.bridge.pipeline.template import compile_template
from meshbridge.bridge.pipeline.values import Draining, MergePolicy, ServiceSettings
from meshbridge.bridge.pipeline.variables import version
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


class Look:
    """How the instances of one group look that the same rules speak of."""

    def __init__(
        self, decision: Decision, settings: ServiceSettings, source: str, defaults: Defaults
    ) -> None:
        self.settings = settings
        self._decision = decision
        self._defaults = defaults
        self._draining = decision.fields.draining or defaults.draining
        self._keeps_weights = defaults.weights == "keep"
        self._version = None if defaults.version == _OWN_VERSION else compile_template(defaults.version)
        self._added: dict[str, str] = {}
        if decision.fields.tls_mode is not None:
            self._added[TLS_MODE] = decision.fields.tls_mode
        if settings.merge is MergePolicy.FAILOVER:
            self._added[SOURCE] = naming.label_value(source.partition("/")[0])

    def labels(self, instance: Instance, value: Callable[[str], str]) -> Labels:
        """Return the endpoint's labels; `version` is there as soon as anything tells it."""
        found = dict(instance.labels)
        text = self._version_of(instance, found, value)
        is_draining = self._draining is Draining.LABEL and _is_leaving(instance)
        if not (text or is_draining or self._added or self._decision.labels):
            return instance.labels
        if text:
            found[VERSION] = naming.label_value(text)
        for key, template in self._decision.labels:
            if template is None:
                found.pop(key, None)
            else:
                found[key] = naming.label_value(template.render(value))
        if is_draining:
            found[DRAINING] = "true"
        return labels(found | self._added)

    def _version_of(self, instance: Instance, known: Mapping[str, str], value: Callable[[str], str]) -> str:
        """Return the version that has to become a label, "" when there is none or it is one already."""
        if self._version is not None:
            return self._version.render(value)
        return "" if VERSION in known else version(instance)

    def health(self, instance: Instance) -> Health:
        """Return the state of the endpoint: one that leaves is removed unless a policy keeps it."""
        if not _is_leaving(instance):
            return instance.health
        return Health.DRAINING if self._draining is Draining.REMOVE else Health.READY

    def locality(self, instance: Instance, value: Callable[[str], str]) -> str:
        """Return region/zone/subzone; a zone alone gets the region that belongs to it."""
        template = self._decision.locality
        locality = instance.locality if template is None else template.render(value)
        if not locality.startswith("/"):
            return locality
        zone = locality.split("/")[1]
        return self._defaults.zones.get(zone, self._defaults.region) + locality

    def weight(self, instance: Instance, value: Callable[[str], str]) -> tuple[int, tuple[str, ...]]:
        """Return the weight, 0 for leaving it to Istio, and what is wrong with it."""
        if self._decision.weight is None:
            return (instance.weight or 0) if self._keeps_weights else 0, ()
        text = self._decision.weight.render(value)
        if text.isascii() and text.isdecimal() and len(text) <= 10 and int(text) <= _MAX_WEIGHT:
            return int(text), ()
        return 0, (f'weight "{text[:40]}" is no weight; left out',) if text else ()


def _is_leaving(instance: Instance) -> bool:
    return instance.weight == 0 or instance.health is Health.DRAINING
