"""Conditions of rules, compiled: what is known of a whole group is decided once for the group."""

import ipaddress
import re
from collections.abc import Callable, Iterable, Sequence

from meshbridge.bridge.config.rules import Match
from meshbridge.bridge.pipeline.pattern import compile_pattern
from meshbridge.schemas.registry import Instance, InstanceGroup

GroupTest = Callable[[InstanceGroup], bool]
InstanceTest = Callable[[Instance], bool]


def group_tests(match: Match) -> list[GroupTest]:
    """Return the conditions on a service as a whole; all must hold."""
    tests: list[GroupTest] = []
    if match.source:
        tests.append(_on_group(match.source, _source_names))
    if match.service:
        tests.append(_on_group(match.service, lambda group: (group.key.name,)))
    if match.namespace:
        tests.append(_on_group(match.namespace, _attribute("namespace")))
    tests.extend(_on_group(patterns, _attribute(key)) for key, patterns in match.attributes.items())
    return tests


def instance_tests(match: Match) -> list[InstanceTest]:
    """Return the conditions on one instance; all must hold."""
    tests: list[InstanceTest] = []
    if match.id:
        tests.append(_on_instance(match.id, lambda instance: (instance.id,)))
    if match.address:
        tests.append(_in_networks(match.address))
    if match.port:
        tests.append(_on_instance(match.port, _port_texts))
    if match.protocol:
        tests.append(_on_instance(match.protocol, lambda instance: [p.protocol for p in instance.ports]))
    if match.tag:
        tests.append(_on_instance(match.tag, lambda instance: instance.tags))
    tests.extend(_on_instance(patterns, _label(key)) for key, patterns in match.labels.items())
    tests.extend(_on_instance(patterns, _metadata(key)) for key, patterns in match.metadata.items())
    return tests


def _source_names(group: InstanceGroup) -> Iterable[str]:
    """Return the name of the source and, where it is one part of several (`name/part`), of the whole."""
    return {group.key.source, group.key.source.partition("/")[0]}


def _attribute(key: str) -> Callable[[InstanceGroup], Iterable[str]]:
    return lambda group: (dict(group.attributes).get(key, ""),)


def _label(key: str) -> Callable[[Instance], Iterable[str]]:
    return lambda instance: (dict(instance.labels).get(key, ""),)


def _metadata(key: str) -> Callable[[Instance], Iterable[str]]:
    return lambda instance: (dict(instance.metadata).get(key, ""),)


def _port_texts(instance: Instance) -> Iterable[str]:
    return [text for port in instance.ports for text in (str(port.number), port.name)]


def _on_group(patterns: Sequence[str], values: Callable[[InstanceGroup], Iterable[str]]) -> GroupTest:
    compiled = [compile_pattern(text) for text in patterns]
    return lambda group: _any_matches(compiled, values(group))


def _on_instance(patterns: Sequence[str], values: Callable[[Instance], Iterable[str]]) -> InstanceTest:
    compiled = [compile_pattern(text) for text in patterns]
    return lambda instance: _any_matches(compiled, values(instance))


def _any_matches(patterns: Sequence[re.Pattern[str]], values: Iterable[str]) -> bool:
    return any(pattern.fullmatch(value) for value in values for pattern in patterns)


def _in_networks(texts: Sequence[str]) -> InstanceTest:
    networks = [ipaddress.ip_network(text) for text in texts]

    def test(instance: Instance) -> bool:
        try:
            address = ipaddress.ip_address(instance.address)
        except ValueError:  # A host name or a socket path is in no network.
            return False
        return any(address in network for network in networks)

    return test
