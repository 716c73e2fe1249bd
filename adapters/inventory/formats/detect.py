"""Which format a document has, and its records."""

import io
import re
from collections.abc import Iterable, Mapping

from meshbridge.adapters.inventory.formats import ansible, csv_table, file_sd, istio, native, text
from meshbridge.adapters.inventory.formats.options import FormatOptions
from meshbridge.adapters.inventory.formats.record import Format, Parsed
from meshbridge.schemas.errors import PayloadError

_INI_SECTION = re.compile(r"\[[\w.-]+(:\w+)?\]")
_ANSIBLE_GROUP = frozenset({"hosts", "children", "vars"})


def parse(content: bytes, document: str, options: FormatOptions, wanted: Format = Format.AUTO) -> Parsed:
    """Return what a document says, in the wanted format or the one its content shows.

    Raises:
        PayloadError: nothing of it can be read.
    """
    written = text.decode(content, document)
    if wanted is Format.CSV or (wanted is Format.AUTO and _is_table(written, document)):
        return csv_table.parse(written, document)
    if _INI_SECTION.fullmatch(_first_line(written)):
        hint = "read it by `commands: [[ansible-inventory, -i, FILE, --list]]`"
        raise PayloadError(document, f"an INI inventory, which only Ansible can read; {hint}")
    values = text.load(written, document)
    if not values:
        return Parsed()
    if all(_is_marker(value) for value in values):
        return Parsed(is_meant_empty=True)
    return _parse_values(values, document, options, detect(values) if wanted is Format.AUTO else wanted)


def _parse_values(
    values: list[object], document: str, options: FormatOptions, chosen: Format | None
) -> Parsed:
    match chosen:
        case Format.ISTIO:
            return istio.parse(values, document)
        case Format.MESHBRIDGE:
            return native.parse(values, document)
        case Format.FILE_SD:
            return file_sd.parse(values, document, options.labels_map)
        case Format.ANSIBLE:
            return ansible.parse(values, document, options.ansible)
    raise PayloadError(document, "none of the known formats; set `format` if it is one")


def detect(values: Iterable[object]) -> Format | None:
    """Return the format that the first document shows, None for none."""
    first = next(iter(values), None)
    if isinstance(first, list):
        is_targets = not first or any(isinstance(item, Mapping) and "targets" in item for item in first)
        return Format.FILE_SD if is_targets else None
    if not isinstance(first, Mapping):
        return None
    if "apiVersion" in first and "kind" in first:
        return Format.ISTIO
    if isinstance(first.get("services", "none"), list | None) or "empty" in first:
        return Format.MESHBRIDGE
    if "_meta" in first or any(_is_ansible_group(value) for value in first.values()):
        return Format.ANSIBLE
    return None


def _is_table(written: str, document: str) -> bool:
    return document.endswith(".csv") or csv_table.is_header(_first_line(written))


def _first_line(written: str) -> str:
    """Return the first line that is neither blank nor a comment."""
    lines = (line for line in io.StringIO(written) if line.strip() and not line.startswith("#"))
    return next(lines, "").strip()


def _is_marker(value: object) -> bool:
    """Whether a document is `empty: true` and nothing else, which every format but CSV understands."""
    if not isinstance(value, Mapping) or value.get("empty") is not True:
        return False
    return value.keys() <= {"empty", "services"} and not value.get("services")


def _is_ansible_group(value: object) -> bool:
    return isinstance(value, Mapping) and bool(value) and value.keys() <= _ANSIBLE_GROUP
