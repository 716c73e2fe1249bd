"""What an application's entries are as a group. Pure."""

from collections.abc import Collection, Sequence

from meshbridge.adapters.eureka.instances import Entry
from meshbridge.schemas.registry import InstanceGroup, Labels, Note, ServiceKey, group


def make_group(key: ServiceKey, entries: Collection[Entry], vip_hosts: str) -> InstanceGroup:
    """Return the group of an application's entries; VIP names become attributes, and hosts if wanted."""
    usable = [entry for entry in entries if entry.instance is not None]
    notes = [note for entry in entries if entry.refusal or entry.remarks for note in _notes(entry)]
    names = [entry.vips for entry in usable]
    if names and names.count(names[0]) == len(names):  # As nearly always, and told without hashing them all.
        names = names[:1]
    vips = sorted({vip for found in names for vip in found})
    instances = [entry.instance for entry in usable if entry.instance is not None]
    return group(key, instances, _attributes(key.name, vips, vip_hosts), notes)


def _notes(entry: Entry) -> list[Note]:
    notes = [Note(entry.id, remark) for remark in entry.remarks]
    if entry.refusal:
        kept = "; its last good reading is kept" if entry.instance else ""
        notes.append(Note(entry.id, entry.refusal + kept))
    return notes


def _attributes(service: str, vips: Sequence[str], vip_hosts: str) -> Labels:
    if not vips:
        return ()
    vip = ("vip", ",".join(vips))
    if not vip_hosts:
        return (vip,)
    # The first of `hosts` is the service's main one, which is left to the rules.
    hosts = {vip_hosts.replace("{vip}", vip.partition(":")[0]) for vip in vips}
    return (("hosts", ",".join((service, *sorted(hosts)))), vip)
