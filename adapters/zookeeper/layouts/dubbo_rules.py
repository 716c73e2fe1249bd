"""Rules that change providers: `override://` and `absent://` nodes, and YAML rules of the config center.

Providers apply them to themselves, but not reliably, so they are applied here as well. They set values and
never add to them, so applying one twice is applying it once.

Formats: org.apache.dubbo.rpc.cluster.configurator (URLs), ConfigurationParser of Dubbo 2.7 and 3.3 (YAML).
"""

import fnmatch
import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

import msgspec
import yaml

from meshbridge.adapters.zookeeper.layouts import dubbo_url, fields
from meshbridge.adapters.zookeeper.layouts.dubbo_url import DubboUrl
from meshbridge.adapters.zookeeper.layouts.fields import Refused

MAX_RULE = 256 * 1024
"""Bytes of one YAML rule."""

_ANY_HOST = "0.0.0.0"
_EVERY = ("*", _ANY_HOST)
_MAX_CONFIGS = 1000
_NOTHING = "\0"
"""A pattern that no text is like."""
# What says whom a rule is for, and so is no value to set.
_CONDITIONS = frozenset(
    ("category", "check", "dynamic", "enabled", "group", "version", "application", "side", "priority")
)
_OTHER_CONDITIONS = frozenset(
    ("interface", "configversion", "compatible_config", "provideraddresses", "anyhost")
)
_LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# Besides its own errors, PyYAML lets through whatever a scalar with an explicit tag runs into.
_YAML_ERRORS = (
    yaml.YAMLError,
    ValueError,
    RecursionError,
    TypeError,
    ArithmeticError,
    AttributeError,
    LookupError,
)
_OVERRIDE = "override"
_ABSENT = "absent"


class Provider(msgspec.Struct, frozen=True, gc=False):
    """What rules look at."""

    host: str
    port: int
    interface: str
    parameters: Mapping[str, str]

    @property
    def application(self) -> str:
        """The application it belongs to, "" if it does not say."""
        return self.parameters.get("application", "")


class Rule(msgspec.Struct, frozen=True, gc=False):
    """Values for some providers; empty conditions are met by all."""

    values: tuple[tuple[str, str], ...]
    addresses: tuple[str, ...] = ()
    """`ip`, `ip:port`, `0.0.0.0`, `0.0.0.0:port`, a network, a pattern with `*`: one has to match."""
    applications: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    """Interfaces, or `group/interface:version`."""
    parameters: tuple[tuple[str, str], ...] = ()
    """Parameters the provider must have."""
    is_weak: bool = False
    """Whether it sets only what is missing (`absent://`)."""
    order: tuple[bool, int, str] = (False, 0, "")
    """Rules for one host come after those for all, then by priority: the last one wins."""

    def applies_to(self, provider: Provider) -> bool:
        """Tell whether all conditions are met."""
        return (
            (not self.addresses or any(_is_at(text, provider) for text in self.addresses))
            and (not self.applications or _is_any(self.applications, provider.application))
            and (not self.services or any(_is_service(text, provider) for text in self.services))
            and all(_is_like(value, provider.parameters.get(key, "")) for key, value in self.parameters)
        )


def of_url(url: DubboUrl) -> Rule | None:
    """Return the rule of a node below `configurators`; None when it is switched off, or not for providers.

    Raises:
        Refused: it is no rule of a kind that is known here.
    """
    if url.protocol == "empty":
        return None
    if url.protocol not in (_OVERRIDE, _ABSENT):
        raise Refused(f"{fields.shown(url.protocol)} rules are not known")
    if url.get("enabled").lower() == "false" or url.get("side").lower() == "consumer" or not url.host:
        return None
    is_for_all = url.host in _EVERY
    if not is_for_all and not url.port:
        return None  # A host without a port is a consumer.
    keyed = {key[1:]: value for key, value in url.parameters.items() if key.startswith("~")}
    version = "" if url.get("version") == dubbo_url.NO_VERSION else url.get("version")
    conditions = {"group": url.get("group"), "version": version, **keyed}
    return Rule(
        values=_values(url.parameters),
        addresses=() if is_for_all and not url.port else (f"{_bracketed(url.host)}:{url.port}",),
        applications=_given(url.get("application")),
        parameters=tuple(sorted(conditions.items())),
        is_weak=url.protocol == _ABSENT,
        order=(not is_for_all, fields.weight(url.get("priority"), 0) or 0, url.host),
    )


@lru_cache(maxsize=512)
def of_yaml(data: bytes) -> tuple[Rule, ...]:
    """Return the rules of a `.configurators` node of the config center, in their order.

    Raises:
        Refused: it is no such document.
    """
    document = _document(data)
    if fields.scalar(document.get("enabled")).lower() == "false":
        return ()
    is_of_service = fields.scalar(document.get("scope")) != "application"
    # The key of a service rule is the service, as the node's name is, but with its group and version.
    scope = _given(fields.scalar(document.get("key"))) if is_of_service else ()
    configs = _list(document.get("configs"))[:_MAX_CONFIGS]
    return tuple(rule for item in configs for rule in _of_config(fields.mapping(item), scope))


def apply(rules: Iterable[Rule], provider: Provider) -> Mapping[str, str]:
    """Return the provider's parameters after the rules, the later ones winning."""
    found = dict(provider.parameters)
    for rule in rules:
        if rule.applies_to(provider):
            for key, value in rule.values:
                if not (rule.is_weak and key in found):
                    found[key] = value
    return found


def _document(data: bytes) -> Mapping[str, object]:
    if len(data) > MAX_RULE:
        raise Refused(f"it is larger than {MAX_RULE} bytes")
    if b"<<" in data:
        raise Refused("it has merge keys, which can grow without bounds")
    try:
        found = yaml.load(data, Loader=_LOADER)  # noqa: S506 - it is a safe one
    except _YAML_ERRORS as error:
        raise Refused(f"it is no YAML: {type(error).__name__}") from error
    if not isinstance(found, dict):
        raise Refused("it is no mapping")
    return found


def _of_config(config: Mapping[str, object], scope: tuple[str, ...]) -> Iterator[Rule]:
    values = _values(fields.mapping(config.get("parameters")))
    is_off = fields.scalar(config.get("enabled")).lower() == "false"
    if is_off or not values or fields.scalar(config.get("side")).lower() == "consumer":
        return
    matched = fields.mapping(config.get("match"))
    addresses = _addresses(config.get("addresses")) or _addresses(config.get("providerAddresses"))
    yield Rule(
        values=values,
        addresses=addresses or _address_pattern(matched.get("address") or matched.get("providerAddress")),
        applications=_names(config.get("applications")) or _one_of(matched.get("app")),
        services=_names(config.get("services")) or _one_of(matched.get("service")) or scope,
        parameters=tuple(_conditions(matched.get("param"))),
    )


def _addresses(value: object) -> tuple[str, ...]:
    """Return a list of addresses; one that stands for all empties it."""
    found = _names(value)
    return () if any(text in _EVERY for text in found) else found


def _names(value: object) -> tuple[str, ...]:
    """Return a list of names; `*` alone stands for all."""
    found = tuple(fields.scalar(item) or _NOTHING for item in _list(value))
    return () if "*" in found else found


def _list(value: object) -> list[object]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise Refused("a condition is no list")
    return value


def _address_pattern(value: object) -> tuple[str, ...]:
    """Return what `{exact: ...}`, `{wildcard: ...}` or `{cidr: ...}` says."""
    if value is None:
        return ()
    return tuple(fields.scalar(text) or _NOTHING for text in fields.mapping(value).values()) or (_NOTHING,)


def _one_of(value: object) -> tuple[str, ...]:
    """Return the patterns of `{oneof: [{exact: a}, {prefix: b}]}`; what is not known matches nothing."""
    if value is None:
        return ()
    choices = _list(fields.mapping(value).get("oneof"))
    return tuple(_pattern(fields.mapping(choice)) for choice in choices) or (_NOTHING,)


def _pattern(choice: Mapping[str, object]) -> str:
    if "prefix" in choice:
        return fields.scalar(choice["prefix"]) + "*"
    return fields.scalar(choice.get("exact")) or fields.scalar(choice.get("wildcard")) or _NOTHING


def _conditions(value: object) -> Iterator[tuple[str, str]]:
    for item in _list(value):
        entry = fields.mapping(item)
        yield fields.scalar(entry.get("key")), _pattern(fields.mapping(entry.get("value")))


def _values(parameters: Mapping[str, object]) -> tuple[tuple[str, str], ...]:
    return tuple(
        (str(key), fields.scalar(value))
        for key, value in parameters.items()
        if str(key).lower() not in _CONDITIONS | _OTHER_CONDITIONS
        and not str(key).startswith("~")
        and fields.scalar(value)
    )


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _given(text: str) -> tuple[str, ...]:
    return () if text in ("", "*") else (text,)


def _is_any(patterns: Iterable[str], text: str) -> bool:
    return any(_is_like(pattern, text) for pattern in patterns)


def _is_like(pattern: str, text: str) -> bool:
    """Compare with `*` as the only wildcard."""
    if "*" not in pattern:
        return pattern == text
    return fnmatch.fnmatchcase(text, pattern.replace("[", "[[]").replace("?", "[?]"))


def _is_service(text: str, provider: Provider) -> bool:
    group, slash, rest = text.rpartition("/")
    interface, colon, version = rest.partition(":")
    has_group, has_version = provider.parameters.get("group", ""), provider.parameters.get("version", "")
    return (
        _is_like(interface, provider.interface)
        # 2.7 writes the bare interface as key, whatever the group.
        and (not slash or dubbo_url.matches(group, has_group))
        and (not colon or dubbo_url.matches(version, has_version))
    )


def _is_at(text: str, provider: Provider) -> bool:
    if "/" in text:
        return _is_in_network(text, provider.host)
    host, colon, port = text.rpartition(":")
    if colon and (":" not in host or host.startswith("[")):
        return _is_host(host.strip("[]"), provider.host) and port in ("0", "*", str(provider.port))
    return _is_host(text, provider.host)


def _is_host(pattern: str, host: str) -> bool:
    return pattern in _EVERY or _is_like(pattern, host)


def _is_in_network(text: str, host: str) -> bool:
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
