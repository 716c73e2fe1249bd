"""Ansible inventories: the JSON of `ansible-inventory --list` and inventory scripts, and YAML inventories.

Hosts of a group, those of its child groups included, are the instances of the service the configuration
maps the group to. Variables come, weakest first, from the group `all`, from parent groups, from child groups,
from the host; of groups equally deep the later in the alphabet wins, as in Ansible. Not read: INI files
(`ansible-inventory` turns them into JSON), templates, encrypted values.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter

import msgspec

from meshbridge.adapters.inventory.formats import checks
from meshbridge.adapters.inventory.formats.checks import Reason, Refused
from meshbridge.adapters.inventory.formats.options import AnsibleNames
from meshbridge.adapters.inventory.formats.ranges import expand
from meshbridge.adapters.inventory.formats.record import Collector, Draft, Parsed
from meshbridge.adapters.inventory.formats.yaml_text import Vaulted
from meshbridge.schemas.errors import PayloadError

MAX_HOSTS = 200_000
"""Hosts in one inventory, ranges expanded."""

_SECRET = re.compile(r"pass|secret|token|credential|private|api_?key|vault|(^|_)key($|_)", re.IGNORECASE)
_MAX_METADATA = 64

Variables = dict[str, object]


class _Group(msgspec.Struct):
    hosts: dict[str, None] = msgspec.field(default_factory=dict)
    children: dict[str, None] = msgspec.field(default_factory=dict)
    variables: Variables = msgspec.field(default_factory=dict)


class _Inventory(msgspec.Struct):
    groups: dict[str, _Group] = msgspec.field(default_factory=dict)
    hosts: dict[str, Variables] = msgspec.field(default_factory=dict)

    def group(self, name: str) -> _Group:
        return self.groups.setdefault(name, _Group())


def parse(documents: Iterable[object], document: str, names: AnsibleNames) -> Parsed:
    """Return the hosts of the mapped groups.

    Raises:
        PayloadError: it is no inventory, too large, a group contains itself, or no group is mapped.
    """
    if not names.groups:
        raise PayloadError(document, "an Ansible inventory, but `ansible.groups` maps no group to a service")
    inventory = _Inventory()
    try:
        for root in documents:
            _read(root, inventory)
        depths = _depths(inventory)
    except Refused as error:
        raise PayloadError(document, error.text) from error
    found = Collector(document)
    memberships = _memberships(inventory, depths)
    for service in sorted(set(names.groups.values())):
        for host in _hosts_of(service, inventory, names, found):
            try:
                draft = _draft(service, host, _variables(host, inventory, memberships[host]), names)
            except Refused as error:
                found.refuse(f"{document}: host {host}", error, service, (f"{service}/{host}",))
            else:
                found.add(draft, f"{document}: host {host}")
    return found.parsed()


def _read(root: object, inventory: _Inventory) -> None:
    if not isinstance(root, Mapping):
        raise Refused(Reason.FIELD, f"an inventory is a mapping of groups, not {checks.shown(root)}")
    for name, value in root.items():
        if name == "_meta":
            hostvars = value.get("hostvars") if isinstance(value, Mapping) else None
            for host, variables in _mapping(hostvars, "_meta.hostvars").items():
                inventory.hosts.setdefault(host, {}).update(_mapping(variables, f"hostvars of {host}"))
        else:
            _read_group(str(name), value, inventory)


def _read_group(name: str, value: object, inventory: _Inventory) -> None:
    """Read a group; the nesting of YAML inventories is bounded by the reader of the text."""
    group = inventory.group(name)
    fields = {"hosts": value} if isinstance(value, list) else _mapping(value, f"group {name}")
    group.variables.update(_mapping(fields.get("vars"), f"vars of group {name}"))
    for host, variables in _named(fields.get("hosts"), f"hosts of group {name}"):
        # Only a mapping of hosts, the YAML form, has ranges; lists are expanded already.
        for single in expand(host, MAX_HOSTS) if isinstance(fields["hosts"], Mapping) else [host]:
            group.hosts[single] = None
            inventory.hosts.setdefault(single, {}).update(_mapping(variables, f"variables of host {host}"))
        if len(inventory.hosts) > MAX_HOSTS:
            raise Refused(Reason.FIELD, f"more than {MAX_HOSTS} hosts, ranges expanded")
    for child, content in _named(fields.get("children"), f"children of group {name}"):
        group.children[child] = None
        _read_group(child, content, inventory)


def _named(value: object, what: str) -> Iterator[tuple[str, object]]:
    """Yield the items of a mapping, or of a list of names."""
    if isinstance(value, list):
        yield from ((checks.as_text(item), None) for item in value)
    else:
        yield from _mapping(value, what).items()


def _mapping(value: object, what: str) -> dict[str, object]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise Refused(Reason.FIELD, f"{what}: a mapping is needed, not {checks.shown(value)}")
    return {str(key): item for key, item in value.items()}


def _depths(inventory: _Inventory) -> dict[str, int]:
    """Return how deep each group stands below the top: the longest way counts."""
    parents: dict[str, set[str]] = {name: set() for name in inventory.groups}
    for name, group in inventory.groups.items():
        for child in group.children:
            parents[child].add(name)
    depths: dict[str, int] = {}
    try:
        for name in TopologicalSorter(parents).static_order():
            depths[name] = max((depths[parent] + 1 for parent in parents[name]), default=0)
    except CycleError as error:
        raise Refused(Reason.FIELD, f"a group contains itself: {' > '.join(error.args[1])}") from error
    return depths


def _memberships(inventory: _Inventory, depths: Mapping[str, int]) -> dict[str, list[str]]:
    """Return the groups of each host, parents included, weakest first."""
    above: dict[str, frozenset[str]] = {name: frozenset([name]) for name in inventory.groups}
    for name in sorted(inventory.groups, key=lambda group: depths[group]):
        for child in inventory.groups[name].children:
            above[child] |= above[name]
    members: dict[str, set[str]] = {host: {"all"} & inventory.groups.keys() for host in inventory.hosts}
    for name, group in inventory.groups.items():
        for host in group.hosts:
            members[host] |= above[name]
    return {
        host: sorted(found, key=lambda name: (name != "all", depths[name], name))
        for host, found in members.items()
    }


def _hosts_of(service: str, inventory: _Inventory, names: AnsibleNames, found: Collector) -> list[str]:
    hosts: set[str] = set()
    pending = [name for name, mapped in names.groups.items() if mapped == service]
    for name in pending:
        if name not in inventory.groups:
            text = f"the group {name!r} is not in this inventory"
            found.remark(found.document, Reason.FIELD, text, service)
    seen: set[str] = set()
    while pending:
        name = pending.pop()
        if name in inventory.groups and name not in seen:
            seen.add(name)
            hosts |= inventory.groups[name].hosts.keys()
            pending.extend(inventory.groups[name].children)
    return sorted(hosts)


def _variables(host: str, inventory: _Inventory, groups: Iterable[str]) -> Variables:
    merged: Variables = {}
    for name in groups:
        merged.update(inventory.groups[name].variables)
    merged.update(inventory.hosts[host])
    return merged


def _draft(service: str, host: str, variables: Variables, names: AnsibleNames) -> Draft:
    def plain(name: str) -> object:
        value = _unwrapped(variables.get(name))
        if isinstance(value, Vaulted):
            raise Refused(Reason.SECRET, f"the variable {name} is encrypted")
        if isinstance(value, str) and "{{" in value:
            raise Refused(Reason.FIELD, f"the variable {name} is a template, which only Ansible can fill in")
        return value

    port = plain(names.port_var)
    if port is None:
        raise Refused(Reason.PORT, f"it has no port: the variable {names.port_var} is not set")
    return Draft(
        service=service,
        address=plain(names.address_var) or host,
        host=host,
        ports={"": port},
        protocol=plain(names.protocol_var),
        version=plain(names.version_var),
        zone=plain(names.zone_var),
        weight=plain(names.weight_var),
        metadata=dict(_metadata(variables)),
    )


def _unwrapped(value: object) -> object:
    if isinstance(value, Mapping) and len(value) == 1:
        if "__ansible_unsafe" in value:
            return value["__ansible_unsafe"]
        if "__ansible_vault" in value:
            return Vaulted()
    return value


def _metadata(variables: Variables) -> Iterator[tuple[str, str]]:
    """Yield the variables that rules may use: short plain texts that don't sound like secrets."""
    names = (n for n in sorted(variables) if not n.startswith("ansible_") and not _SECRET.search(n))
    texts = ((name, checks.as_text(_unwrapped(variables[name]))) for name in names)
    fitting = ((name, text) for name, text in texts if text and len(text) <= checks.MAX_TEXT)
    for _, pair in zip(range(_MAX_METADATA), fitting, strict=False):
        yield pair
