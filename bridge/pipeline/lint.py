"""What is probably wrong with rules, though each is right by itself: of themselves, and of what they met."""

import ipaddress
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from meshbridge.bridge.config.rules import Match, Rule
from meshbridge.bridge.pipeline.decision import said
from meshbridge.bridge.pipeline.merge import MeshService
from meshbridge.bridge.pipeline.mesh import Mesh
from meshbridge.bridge.pipeline.pattern import compile_pattern, is_exact, is_expression
from meshbridge.bridge.pipeline.rules import rule_name
from meshbridge.bridge.wording import did_you_mean, listing

_MAX_SHOWN = 5
_ALWAYS = ("source", "service", "namespace", "id")
"""Conditions on something that every instance has, if only as an empty text: `*` is no condition there."""
_PERHAPS = ("port", "protocol", "tag")
"""Conditions on one of several things; an instance may have none."""
_BY_KEY = ("labels", "metadata", "attributes")


def lint(rules: Sequence[Rule], sources: Sequence[str]) -> Iterator[str]:
    """Yield what can be told from the rules and the names of the sources alone."""
    for index, rule in enumerate(rules):
        yield from (f"{_shown(index, rule)}: {text}" for text in _unknown_sources(rule.match, sources))
        by = _shadowing(rules[:index], rule)
        if by:
            names = ", ".join(_shown(position, rules[position]) for position in by)
            yield f"{_shown(index, rule)}: never decides anything, {names} decide it before"


def lint_met(mesh: Mesh) -> Iterator[str]:
    """Yield what shows when the rules have met what the sources hold."""
    rules = mesh.rules.rules
    used: Counter[int] = Counter()
    untouched: list[str] = []
    for source in sorted(mesh.guards):
        for evaluated in mesh.evaluated(source):
            own = mesh.rules.for_group(evaluated.group)
            matched = Counter(index for found in evaluated.group.instances for index in own.matching(found))
            used += matched
            if evaluated.group.instances and not matched:
                untouched.append(str(evaluated.group.key))
    yield from (
        f"{_shown(index, rule)}: matches nothing" for index, rule in enumerate(rules) if not used[index]
    )
    if rules and untouched:
        yield f"no rule matches {_some(sorted(untouched))}: the defaults decide"
    yield from _collisions(mesh)


def _collisions(mesh: Mesh) -> Iterator[str]:
    """Yield the hosts that several services have and disagree on."""
    for key in sorted(mesh.services):
        service = mesh.services[key].service
        text = _clash(service) if len(service.groups) > 1 else ""
        if text:
            yield f"{key}: {_some(list(map(str, service.groups)))} collide, {text}"


def _clash(service: MeshService) -> str:
    """Return what the ports of services that are merged differ in, "" when they agree."""
    for found in service.conflicts:
        if found.kind in ("port", "protocol"):
            return f"{found.field}: {found.value} of {found.winner} wins over {found.other} of {found.loser}"
    names = {port.name for port in service.ports}
    return next((f"port {one.record}: {one.reason}" for one in service.notes if one.record in names), "")


def _unknown_sources(match: Match, sources: Sequence[str]) -> Iterator[str]:
    for text in match.source:
        whole = text if is_expression(text) else text.partition("/")[0]
        pattern = compile_pattern(whole)
        if is_expression(text) and "/" in text[1:-1]:
            continue  # It speaks of parts, whose names only the registry knows.
        if not any(map(pattern.fullmatch, sources)):
            meant = did_you_mean(whole, sources)
            yield f'match.source "{text}" is no source, there are {listing(sources)}{meant}'


def _shadowing(earlier: Sequence[Rule], rule: Rule) -> list[int]:
    """Return the earlier rules that together leave a rule nothing to decide, none when it has something."""
    open_fields = _decides(rule)
    by = []
    for index, other in enumerate(earlier):
        if not covers(other.match, rule.match):
            continue
        taken = open_fields if other.drop and not _keeps(earlier[:index]) else open_fields & _decides(other)
        if taken:
            by.append(index)
            open_fields = open_fields - taken
    return [] if open_fields else by


def _keeps(rules: Iterable[Rule]) -> bool:
    return any(rule.keep for rule in rules)


def _decides(rule: Rule) -> set[str]:
    """Return the fields that the rule has a say in."""
    fields = set(said(rule.set)) - {"labels"}
    fields |= {f"labels.{key}" for key in rule.set.labels or {}}
    return fields | ({"drop"} if rule.drop or rule.keep else set())


def covers(wider: Match, narrower: Match) -> bool:
    """Whether every instance that the narrower match is for is one of the wider's, as far as can be told."""
    return (
        all(_covers_all(getattr(wider, field), getattr(narrower, field), loose=True) for field in _ALWAYS)
        and all(
            _covers_all(getattr(wider, field), getattr(narrower, field), loose=False) for field in _PERHAPS
        )
        and all(
            _covers_all(patterns, getattr(narrower, field).get(key, ()), loose=True)
            for field in _BY_KEY
            for key, patterns in getattr(wider, field).items()
        )
        and _covers_networks(wider.address, narrower.address)
    )


def _covers_all(wider: Sequence[str], narrower: Sequence[str], *, loose: bool) -> bool:
    if not wider or (loose and "*" in wider):
        return True
    return bool(narrower) and all(any(_covers_one(wide, one) for wide in wider) for one in narrower)


def _covers_one(wide: str, one: str) -> bool:
    if wide in ("*", one):
        return True
    if is_exact(one):
        return compile_pattern(wide).fullmatch(one) is not None
    prefix = wide[:-1]
    if is_expression(one) or is_expression(wide) or not wide.endswith("*") or not is_exact(prefix):
        return False
    return one.startswith(prefix)


def _covers_networks(wider: Sequence[str], narrower: Sequence[str]) -> bool:
    if not wider:
        return True
    wide = [ipaddress.ip_network(text) for text in wider]
    return bool(narrower) and all(
        any(_is_within(ipaddress.ip_network(text), network) for network in wide) for text in narrower
    )


def _is_within(
    one: ipaddress.IPv4Network | ipaddress.IPv6Network, other: ipaddress.IPv4Network | ipaddress.IPv6Network
) -> bool:
    if isinstance(one, ipaddress.IPv4Network):
        return isinstance(other, ipaddress.IPv4Network) and one.subnet_of(other)
    return isinstance(other, ipaddress.IPv6Network) and one.subnet_of(other)


def _shown(index: int, rule: Rule) -> str:
    name = rule_name(index, rule)
    return name if name == f"rules[{index}]" else f"rules[{index}] ({name})"


def _some(names: Sequence[str]) -> str:
    more = len(names) - _MAX_SHOWN
    return ", ".join(names[:_MAX_SHOWN]) + (f" and {more} more" if more > 0 else "")
