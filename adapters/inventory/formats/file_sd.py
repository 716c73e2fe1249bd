"""Prometheus file_sd and http_sd: a list of target groups, each with `targets` and `labels`.

https://prometheus.io/docs/prometheus/latest/configuration/configuration/#file_sd_config
"""

from collections.abc import Iterable, Mapping

from meshbridge.adapters.inventory.formats import checks
from meshbridge.adapters.inventory.formats.checks import Reason, Refused
from meshbridge.adapters.inventory.formats.native import unknown_key
from meshbridge.adapters.inventory.formats.options import LabelNames
from meshbridge.adapters.inventory.formats.record import Collector, Draft, Parsed
from meshbridge.adapters.inventory.formats.text import place
from meshbridge.schemas.errors import PayloadError

_KEYS = ("targets", "labels")


def parse(documents: Iterable[object], document: str, names: LabelNames) -> Parsed:
    """Return the records of the documents of one file.

    Raises:
        PayloadError: it is not a list.
    """
    found = Collector(document)
    for root in documents:
        if not isinstance(root, list):
            raise PayloadError(document, f"a list of target groups is needed, not {checks.shown(root)}")
        for index, item in enumerate(root):
            where = place(document, item, f"[{index}]")
            try:
                _group(item, where, names, found)
            except Refused as error:
                found.refuse(where, error)
    return found.parsed()


def _group(item: object, where: str, names: LabelNames, found: Collector) -> None:
    if not isinstance(item, Mapping):
        raise Refused(Reason.FIELD, f"a target group is a mapping, not {checks.shown(item)}")
    labels = item.get("labels") or {}
    targets = item.get("targets")
    if not isinstance(labels, Mapping) or not isinstance(targets, list):
        raise Refused(Reason.FIELD, "a target group has a list `targets` and a mapping `labels`")
    if not checks.as_text(labels.get(names.service)):
        raise Refused(Reason.SERVICE, f"the label {names.service!r} that names the service is missing")
    service = checks.service(labels[names.service])
    for key in item:
        if key not in _KEYS:
            found.remark(where, Reason.UNKNOWN_KEY, unknown_key(str(key), _KEYS, "key"), service)
    for target in targets:
        found.add(_draft(service, target, labels, names), f"{where} target {checks.shown(target)}")


def _draft(service: str, target: object, labels: Mapping[str, object], names: LabelNames) -> Draft:
    host, colon, port = checks.as_text(target).rpartition(":")
    special = {names.service, names.version, names.zone, names.protocol, names.weight}
    others = {str(key): value for key, value in labels.items() if key not in special}
    return Draft(
        service=service,
        address=host if colon else target,
        ports={"": port} if colon else {},
        protocol=labels.get(names.protocol),
        version=labels.get(names.version),
        zone=labels.get(names.zone),
        weight=labels.get(names.weight),
        labels={key: value for key, value in others.items() if not key.startswith("__")},
        metadata={key: checks.as_text(value) for key, value in others.items() if key.startswith("__")},
    )
