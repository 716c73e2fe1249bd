"""Rules: which mesh service an instance belongs to, and how it looks there, or why it stays out.

For each field the first rule that matches and sets it decides; then what the registry says; then the
defaults. The decision for a set of matching rules is made once and kept, so that an instance
costs the rendering of a few templates.
"""

from collections.abc import Callable, Sequence

from meshbridge.bridge.config.rules import Defaults, Rule
from meshbridge.bridge.pipeline.decision import Decision, combine, host_template
from meshbridge.bridge.pipeline.hosts import HostPolicy
from meshbridge.bridge.pipeline.looks import Look
from meshbridge.bridge.pipeline.matching import group_tests, instance_tests
from meshbridge.bridge.pipeline.ports import named_ports, port_metadata
from meshbridge.bridge.pipeline.settings import make_settings
from meshbridge.bridge.pipeline.template import Template, compile_template
from meshbridge.bridge.pipeline.values import Dropped, Member, MeshKey
from meshbridge.bridge.pipeline.variables import is_same_for_all, variables
from meshbridge.schemas import naming
from meshbridge.schemas.registry import Health, Instance, InstanceGroup, Labels, Port

_HEALTH_TEXT = {Health.UNREADY: "it is not ready", Health.DRAINING: "it is draining"}


class Rules:
    """All rules of a configuration, compiled."""

    def __init__(
        self,
        rules: Sequence[Rule],
        defaults: Defaults,
        hosts: HostPolicy | None = None,
        identity_rollover: float = 0.0,
    ) -> None:
        self.rules = rules
        self._group_tests = [group_tests(rule.match) for rule in rules]
        self._instance_tests = [instance_tests(rule.match) for rule in rules]
        self._decisions: dict[tuple[int, ...], Decision] = {}
        self.defaults = defaults
        self.hosts = hosts or HostPolicy()
        self.identity_rollover = identity_rollover
        """Seconds for which an identity that a service no longer has is accepted."""
        self.default_host = host_template(defaults.preset, defaults.host)
        self.default_namespace = compile_template(defaults.namespace)

    def for_group(self, group: InstanceGroup) -> "GroupRules":
        """Return the rules that can concern this group."""
        applicable = [
            index for index, tests in enumerate(self._group_tests) if all(test(group) for test in tests)
        ]
        return GroupRules(self, group, applicable)

    def decide(self, applicable: Sequence[int], instance: Instance) -> Decision:
        """Return what the applicable rules say of an instance."""
        matching = self.matching(applicable, instance)
        found = self._decisions.get(matching)
        if found is None:
            found = self._decisions[matching] = combine(
                [(rule_name(index, self.rules[index]), self.rules[index]) for index in matching]
            )
        return found

    def matching(self, applicable: Sequence[int], instance: Instance) -> tuple[int, ...]:
        """Return which of the applicable rules match an instance."""
        return tuple(
            index for index in applicable if all(test(instance) for test in self._instance_tests[index])
        )


def rule_name(index: int, rule: Rule) -> str:
    """Return how people are told of a rule."""
    return rule.name or f"rules[{index}]"


class GroupRules:
    """The rules for one group; everything that is the same for all its instances is worked out once."""

    def __init__(self, rules: Rules, group: InstanceGroup, applicable: Sequence[int]) -> None:
        self._rules = rules
        self._group = group
        self._applicable = applicable
        self._attributes = dict(group.attributes)
        self._looks: dict[int, Look] = {}
        self._keys: dict[tuple[str, str], tuple[MeshKey, str]] = {}
        self._shared_keys: dict[int, tuple[MeshKey, str]] = {}
        self._named_ports: dict[tuple[int, tuple[Port, ...], Labels], tuple[Port, ...]] = {}

    def decision(self, instance: Instance) -> Decision:
        """Return which rules speak of the instance, and what they say."""
        return self._rules.decide(self._applicable, instance)

    def matching(self, instance: Instance) -> tuple[int, ...]:
        """Return which rules match the instance, by their position."""
        return self._rules.matching(self._applicable, instance)

    def apply(self, instance: Instance) -> Member | Dropped:
        """Return the instance as the mesh shall see it, or why it stays out."""
        decision = self.decision(instance)
        if decision.dropped_by:
            return Dropped(instance.id, f"dropped by {decision.dropped_by}")
        value = variables(self._group, self._attributes, instance)
        ports = self._ports(decision, instance)
        if not ports:
            return Dropped(instance.id, "it has no port")
        key, refusal = self._mesh_key(decision, value)
        if refusal:
            return Dropped(instance.id, refusal)
        look = self._look(decision, value)
        weight, remarks = look.weight(instance, value)
        return Member(
            mesh=key,
            settings=look.settings,
            id=instance.id,
            address=instance.address,
            ports=ports,
            labels=look.labels(instance, value),
            locality=look.locality(instance, value),
            network=_rendered(decision.network, value, instance.network),
            weight=weight,
            service_account=_rendered(decision.service_account, value, instance.service_account),
            health=look.health(instance),
            remarks=remarks,
        )

    def _mesh_key(self, decision: Decision, value: Callable[[str], str]) -> tuple[MeshKey, str]:
        """Return the mesh service that the instance belongs to, and why it may not."""
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
        found = self._keys.get(written)
        if found is None:
            found = self._keys[written] = self._judged(*written)
        if is_same_for_all(host) and is_same_for_all(namespace):
            self._shared_keys[id(decision)] = found
        return found

    def _judged(self, namespace: str, host: str) -> tuple[MeshKey, str]:
        key = MeshKey(namespace and naming.dns_label(namespace), host and naming.host(host))
        if not host:
            return key, "its host is empty"
        if not namespace:
            return key, "its namespace is empty"
        return key, self._rules.hosts.refusal(key.host)

    def _look(self, decision: Decision, value: Callable[[str], str]) -> Look:
        found = self._looks.get(id(decision))
        if found is None:
            rules = self._rules
            settings = make_settings(decision, self._attributes, value, rules.defaults, rules.hosts)
            found = self._looks[id(decision)] = Look(
                decision, settings, self._group.key.source, rules.defaults
            )
        return found

    def _ports(self, decision: Decision, instance: Instance) -> tuple[Port, ...]:
        said = port_metadata(instance.metadata) if instance.metadata else ()
        known = (id(decision), instance.ports, said)
        found = self._named_ports.get(known)
        if found is None:
            general = (self._attributes.get("protocol", ""), self._rules.defaults.protocol)
            found = named_ports(instance.ports, said, decision.fields.protocol, general)
            self._named_ports[known] = found
        return found


def _rendered(template: Template | None, value: Callable[[str], str], said: str) -> str:
    return said if template is None else template.render(value)


def health_text(health: Health) -> str:
    """Return why an instance in this state is no endpoint, "" when it is one."""
    return _HEALTH_TEXT.get(health, "")
