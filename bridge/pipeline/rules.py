"""Rules: which mesh service an instance belongs to, and how it looks there, or why it stays out.

For each field the first rule that matches and sets it decides; then what the registry says; then the
defaults. The decision for a set of matching rules is made once and kept, so that an instance
costs the rendering of a few templates.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from meshbridge.bridge.config.rules import Defaults, Rule, SetFields
from meshbridge.bridge.pipeline.matching import group_tests, instance_tests
from meshbridge.bridge.pipeline.protocols import istio_protocol
from meshbridge.bridge.pipeline.template import Template, compile_template
from meshbridge.bridge.pipeline.values import Dropped, Member, MeshKey, ServiceSettings
from meshbridge.bridge.pipeline.variables import is_same_for_all, variables
from meshbridge.schemas import naming
from meshbridge.schemas.istio import Location, Resolution, ServicePort
from meshbridge.schemas.registry import Health, Instance, InstanceGroup, Labels, Port, labels

T = TypeVar("T")

_NOTHING = SetFields()

_HEALTH_TEXT = {Health.UNREADY: "it is not ready", Health.DRAINING: "it is draining"}


@dataclass(frozen=True)
class Decision:
    """What a combination of rules says; None leaves the field to the registry, then to the defaults."""

    rules: tuple[str, ...]
    dropped_by: str = ""
    host: Template | None = None
    namespace: Template | None = None
    service_account: Template | None = None
    network: Template | None = None
    locality: Template | None = None
    labels: tuple[tuple[str, Template | None], ...] = ()
    fields: SetFields = _NOTHING


class Rules:
    """All rules of a configuration, compiled."""

    def __init__(self, rules: Sequence[Rule], defaults: Defaults) -> None:
        self._rules = rules
        self._group_tests = [group_tests(rule.match) for rule in rules]
        self._instance_tests = [instance_tests(rule.match) for rule in rules]
        self._decisions: dict[tuple[int, ...], Decision] = {}
        self.defaults = defaults
        self.default_host = compile_template(defaults.host)
        self.default_namespace = compile_template(defaults.namespace)

    def for_group(self, group: InstanceGroup) -> "GroupRules":
        """Return the rules that can concern this group."""
        applicable = [
            index for index, tests in enumerate(self._group_tests) if all(test(group) for test in tests)
        ]
        return GroupRules(self, group, applicable)

    def decide(self, applicable: Sequence[int], instance: Instance) -> Decision:
        """Return what the applicable rules say of an instance."""
        matching = tuple(
            index for index in applicable if all(test(instance) for test in self._instance_tests[index])
        )
        found = self._decisions.get(matching)
        if found is None:
            found = self._decisions[matching] = _combine(
                [(self._rules[index].name or f"rules[{index}]", self._rules[index]) for index in matching]
            )
        return found


class GroupRules:
    """The rules for one group; everything that is the same for all its instances is worked out once."""

    def __init__(self, rules: Rules, group: InstanceGroup, applicable: Sequence[int]) -> None:
        self._rules = rules
        self._group = group
        self._applicable = applicable
        self._attributes = dict(group.attributes)
        self._settings: dict[int, ServiceSettings] = {}
        self._keys: dict[tuple[str, str], MeshKey] = {}
        self._shared_keys: dict[int, MeshKey] = {}
        self._named_ports: dict[tuple[int, tuple[Port, ...]], tuple[Port, ...]] = {}

    def decision(self, instance: Instance) -> Decision:
        """Return which rules speak of the instance, and what they say."""
        return self._rules.decide(self._applicable, instance)

    def apply(self, instance: Instance) -> Member | Dropped:
        """Return the instance as the mesh shall see it, or why it stays out."""
        decision = self.decision(instance)
        if decision.dropped_by:
            return Dropped(instance.id, f"dropped by {decision.dropped_by}")
        if not instance.ports:
            return Dropped(instance.id, "it has no port")
        value = variables(self._group, self._attributes, instance)
        key = self._mesh_key(decision, value)
        if not key.host:
            return Dropped(instance.id, "its host is empty")
        if not key.namespace:
            return Dropped(instance.id, "its namespace is empty")
        return Member(
            mesh=key,
            settings=self._settings_for(decision),
            id=instance.id,
            address=instance.address,
            ports=self._ports(decision, instance),
            labels=_labels(decision, instance, value),
            locality=self._locality(decision, instance, value),
            network=_rendered(decision.network, value, instance.network),
            weight=instance.weight or 0 if decision.fields.weight is None else decision.fields.weight,
            service_account=_rendered(decision.service_account, value, instance.service_account),
            health=Health.DRAINING if instance.weight == 0 else instance.health,
        )

    def _mesh_key(self, decision: Decision, value: Callable[[str], str]) -> MeshKey:
        shared = self._shared_keys.get(id(decision))
        if shared is not None:
            return shared
        host = decision.host or (None if self._attributes.get("host") else self._rules.default_host)
        namespace = decision.namespace or (
            None if self._attributes.get("namespace") else self._rules.default_namespace
        )
        written = (
            _rendered(namespace, value, self._attributes.get("namespace", "")),
            _rendered(host, value, self._attributes.get("host", "")),
        )
        key = self._keys.get(written)
        if key is None:
            key = self._keys[written] = MeshKey(
                written[0] and naming.dns_label(written[0]), written[1] and naming.host(written[1])
            )
        if is_same_for_all(host) and is_same_for_all(namespace):
            self._shared_keys[id(decision)] = key
        return key

    def _settings_for(self, decision: Decision) -> ServiceSettings:
        found = self._settings.get(id(decision))
        if found is None:
            found = self._settings[id(decision)] = self._make_settings(decision.fields)
        return found

    def _make_settings(self, fields: SetFields) -> ServiceSettings:
        defaults = self._rules.defaults
        said = self._attributes
        ports = fields.ports if fields.ports is not None else parse_service_ports(said.get("ports", ""))
        return ServiceSettings(
            location=fields.location or _member_of(Location, said.get("location")) or defaults.location,
            resolution=fields.resolution or _member_of(Resolution, said.get("resolution")),
            endpoints=fields.endpoints or defaults.endpoints,
            export_to=_words(said.get("export_to", "")) if fields.export_to is None else fields.export_to,
            more_hosts=() if fields.host else tuple(map(naming.host, _words(said.get("hosts", ""))[1:])),
            addresses=_words(said.get("addresses", "")),
            subject_alt_names=_words(said.get("subject_alt_names", "")),
            service_ports=tuple(sorted(ports.items())),
        )

    def _ports(self, decision: Decision, instance: Instance) -> tuple[Port, ...]:
        known = (id(decision), instance.ports)
        found = self._named_ports.get(known)
        if found is None:
            found = self._named_ports[known] = tuple(self._name_ports(decision, instance.ports))
        return found

    def _name_ports(self, decision: Decision, ports: Sequence[Port]) -> Iterator[Port]:
        fallback = self._attributes.get("protocol", "") or self._rules.defaults.protocol
        taken: set[str] = set()
        for port in sorted(ports, key=lambda port: port.number):
            protocol = decision.fields.protocol or port.protocol or fallback
            istio = "" if protocol == "auto" else istio_protocol(protocol, tls=port.tls) or "TCP"
            name = _free_name(naming.dns_label(port.name or istio or "default"), taken)
            yield Port(name, port.number, istio)

    def _locality(self, decision: Decision, instance: Instance, value: Callable[[str], str]) -> str:
        locality = _rendered(decision.locality, value, instance.locality)
        return self._rules.defaults.region + locality if locality.startswith("/") else locality


def _words(text: str) -> tuple[str, ...]:
    """Return the items of a group's attribute that is a list."""
    return tuple(filter(None, text.split(",")))


def parse_service_ports(text: str) -> dict[str, int]:
    """Return the numbers in a group's attribute `ports`, a JSON list of Istio's service ports, by name."""
    try:
        ports = msgspec.json.decode(text or "[]", type=tuple[ServicePort, ...])
    except msgspec.MsgspecError:
        return {}
    return {naming.dns_label(port.name): port.number for port in ports}


def _combine(rules: Sequence[tuple[str, Rule]]) -> Decision:
    """Return what these rules, in order of precedence, say together."""
    verdict = next(((name, rule.drop) for name, rule in rules if rule.drop or rule.keep), ("", False))
    chosen: dict[str, object] = {}
    added: dict[str, str | None] = {}
    for _, rule in rules:
        for field in rule.set.model_fields_set:
            chosen.setdefault(field, getattr(rule.set, field))
        for key, text in (rule.set.labels or {}).items():
            added.setdefault(key, text)
    fields = _NOTHING.model_copy(update=chosen)
    return Decision(
        rules=tuple(name for name, _ in rules),
        dropped_by=verdict[0] if verdict[1] else "",
        host=_compiled(fields.host),
        namespace=_compiled(fields.namespace),
        service_account=_compiled(fields.service_account),
        network=_compiled(fields.network),
        locality=_compiled(fields.locality),
        labels=tuple((key, _compiled(text)) for key, text in sorted(added.items())),
        fields=fields,
    )


def _compiled(text: str | None) -> Template | None:
    return None if text is None else compile_template(text)


def _rendered(template: Template | None, value: Callable[[str], str], said: str) -> str:
    return said if template is None else template.render(value)


def _labels(decision: Decision, instance: Instance, value: Callable[[str], str]) -> Labels:
    """Return the endpoint's labels; `version` is taken from the metadata where the labels lack it."""
    version = "" if "version" in dict(instance.labels) else dict(instance.metadata).get("version", "")
    if not version and not decision.labels:
        return instance.labels
    found = dict(instance.labels)
    if version:
        found["version"] = naming.label_value(version)
    for key, template in decision.labels:
        if template is None:
            found.pop(key, None)
        else:
            found[key] = naming.label_value(template.render(value))
    return labels(found)


def _free_name(name: str, taken: set[str]) -> str:
    free = name
    count = 1
    while free in taken:
        count += 1
        free = f"{name[:58]}-{count}"
    taken.add(free)
    return free


def _member_of(enum: Callable[[str], T], text: str | None) -> T | None:
    try:
        return enum(text) if text else None
    except ValueError:
        return None


def health_text(health: Health) -> str:
    """Return why an instance in this state is no endpoint, "" when it is one."""
    return _HEALTH_TEXT.get(health, "")
