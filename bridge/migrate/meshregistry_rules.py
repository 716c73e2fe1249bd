"""How meshregistry chooses and names what it takes, as rules. Pure."""

from collections.abc import Mapping
from typing import Any

from meshbridge.bridge.migrate.draft import Mapped, is_set, items, texts

Rule = dict[str, Any]

_PIECES = {"service": "{service}", "ip": "{address}"}


def selection_rules(found: Mapped, match: dict[str, str], notes: list[str]) -> list[Rule]:
    """Return rules that keep what any of the EndpointSelectors takes, and drop the rest."""
    selectors = items(found.get("EndpointSelectors"))
    rules: list[Rule] = []
    for selector in selectors:
        rules += _selected(selector, match, notes)
    if rules:
        rules.append({"name": "chosen by no selector", "match": dict(match), "drop": True})
    notes += [
        f"{match['source']}: {key} has to be written as rules with keep and drop"
        for key in ("ServicedEndpointSelectors", "EmptyEpSelectorsExcludeAll")
        if is_set(found.get(key))
    ]
    return rules


def _selected(selector: Mapped, match: dict[str, str], notes: list[str]) -> list[Rule]:
    if is_set(selector.get("matchExpressions")):
        notes.append(f"{match['source']}: a selector's matchExpressions have to be written as rules")
        return []
    rules: list[Rule] = []
    ranges = selector.get("ExcludeIPRanges")
    if isinstance(ranges, Mapping):
        excluded = [*texts(ranges.get("IPs")), *texts(ranges.get("CIDRs"))]
        if excluded:
            rules.append({"match": {**match, "address": excluded}, "drop": True})
    labels = selector.get("matchLabels")
    wanted = {str(key): str(value) for key, value in labels.items()} if isinstance(labels, Mapping) else {}
    chosen = {**match, **({"metadata": wanted} if wanted else {})}
    return [*rules, {"match": chosen, "keep": True}]


def label_rules(found: Mapped, match: dict[str, str], notes: list[str]) -> list[Rule]:
    """Return the rule that names labels as InstanceMetaRelabel does."""
    relabel = found.get("InstanceMetaRelabel")
    labels: dict[str, str] = {}
    for item in items(relabel.get("Items")) if isinstance(relabel, Mapping) else []:
        key, target = str(item.get("Key", "")), str(item.get("TargetKey", ""))
        if not key or not target:
            notes.append(f"{match['source']}: an item of InstanceMetaRelabel lacks Key or TargetKey")
            continue
        labels[target] = _value(key, item)
    return [{"match": dict(match), "set": {"labels": labels}}] if labels else []


def _value(key: str, item: Mapped) -> str:
    mapping = item.get("ValuesMapping")
    pairs = ",".join(f"{old}={new}" for old, new in mapping.items()) if isinstance(mapping, Mapping) else ""
    changed = f":map({pairs})" if pairs else ""
    default = f"|{item['CreatedWithValue']}" if item.get("CreatedWithValue") else ""
    return f"{{metadata.{key}{changed}{default}}}"


def hosts_rule(found: Mapped, preset: str, notes: list[str]) -> dict[str, str]:
    """Return how hosts are named: by ServiceNaming, else as the preset does."""
    naming = found.get("ServiceNaming")
    pieces = items(naming.get("Items")) if isinstance(naming, Mapping) else []
    if not pieces or not isinstance(naming, Mapping):
        return {"preset": preset}
    found_pieces = [_piece(piece) for piece in pieces]
    if None in found_pieces:
        notes.append("ServiceNaming: ports can't be part of a host; it is named without")
    return {"host": str(naming.get("Sep") or ".").join(piece for piece in found_pieces if piece)}


def _piece(piece: Mapped) -> str | None:
    value = str(piece.get("Value", ""))
    match str(piece.get("Kind", "")):
        case "$":
            return _PIECES.get(value)
        case "meta":
            return f"{{metadata.{value}}}"
    return value.replace("{", "{{").replace("}", "}}")
