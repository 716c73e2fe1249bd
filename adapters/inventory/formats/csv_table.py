"""CSV: a header, then one instance per line.

Columns, in any order: service, address and port must be there; protocol, version, zone, weight and labels
(`k=v;k=v`) may be. Each line is read by itself, so that a stray quote can't swallow its neighbours; a cell
can't contain a line break. Lines that begin with # and blank lines are skipped; the line `# empty: true`
means what it says.
"""

import csv
import re

import msgspec

from meshbridge.adapters.inventory.formats.checks import Reason, Refused, shown
from meshbridge.adapters.inventory.formats.native import unknown_key
from meshbridge.adapters.inventory.formats.record import Collector, Draft, Parsed
from meshbridge.schemas.errors import PayloadError

_NEEDED = ("service", "address", "port")
_COLUMNS = (*_NEEDED, "protocol", "version", "zone", "weight", "labels")
_MARKER = re.compile(r"#\s*empty:\s*true\s*")


def parse(text: str, document: str) -> Parsed:
    """Return the records of a table.

    Raises:
        PayloadError: the header is unusable.
    """
    found = Collector(document)
    header: list[str] = []
    is_meant_empty = False
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            is_meant_empty = is_meant_empty or bool(_MARKER.fullmatch(line))
        elif not header:
            header = _header(line, f"{document}:{number}", found)
        else:
            _row(line, header, f"{document}:{number}", found)
    return msgspec.structs.replace(found.parsed(), is_meant_empty=is_meant_empty)


def is_header(line: str) -> bool:
    """Whether a line looks like the header of a table."""
    cells = [cell.strip().strip('"').lower() for cell in line.split(",")]
    return {"service", "address"} <= set(cells)


def _header(line: str, place: str, found: Collector) -> list[str]:
    try:
        header = [cell.strip().lower() for cell in _cells(line)]
    except Refused as error:
        raise PayloadError(place, error.text) from error
    missing = [name for name in _NEEDED if name not in header]
    if missing:
        raise PayloadError(place, f"the header lacks {', '.join(missing)}; it has {shown(line)}")
    if len(set(header)) < len(header):
        raise PayloadError(place, f"the header has a column twice: {shown(line)}")
    for name in header:
        if name not in _COLUMNS:
            found.remark(place, Reason.UNKNOWN_KEY, unknown_key(name, _COLUMNS, "column"))
    return header


def _row(line: str, header: list[str], place: str, found: Collector) -> None:
    try:
        cells = _cells(line)
    except Refused as error:
        found.refuse(place, error)
        return
    row = dict(zip(header, (cell.strip() for cell in cells), strict=False))
    draft = Draft(
        service=row.get("service", ""),
        address=row.get("address"),
        ports={"": row.get("port")},
        protocol=row.get("protocol"),
        version=row.get("version"),
        zone=row.get("zone"),
        weight=row.get("weight"),
    )
    if len(cells) > len(header):
        surplus = Refused(Reason.FIELD, f"{len(cells)} cells where the header has {len(header)}")
        found.refuse(place, surplus, draft.service)
        return
    draft.labels = _labels(row.get("labels", ""), place, draft.service, found)
    found.add(draft, place)


def _cells(line: str) -> list[str]:
    try:
        return next(csv.reader([line], strict=True, skipinitialspace=True))
    except csv.Error as error:
        raise Refused(Reason.FIELD, f"not a CSV line: {error}") from error


def _labels(text: str, place: str, service: str, found: Collector) -> dict[str, object]:
    wanted: dict[str, object] = {}
    for pair in filter(None, (part.strip() for part in text.split(";"))):
        key, equals, value = pair.partition("=")
        if equals:
            wanted[key.strip()] = value.strip()
        else:
            found.remark(place, Reason.LABEL, f"label {shown(pair)} is left out: it is not k=v", service)
    return wanted
