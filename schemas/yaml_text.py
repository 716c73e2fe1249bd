"""YAML that every reader takes for the same values."""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

import yaml
from typing_extensions import override

if TYPE_CHECKING:
    from yaml import SafeDumper as Dumper
else:  # The C emitter is ten times faster; PyYAML may come without it.
    Dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

# Texts that every YAML reader takes for texts. PyYAML itself would leave 1e3 and y bare, which kubectl
# reads as a number and a truth.
_PLAIN = re.compile(r"(?!(?:y|n|yes|no|on|off|true|false|null|nan|inf)\Z)[a-z][-a-z0-9_./]*", re.IGNORECASE)
_WIDTH = 1 << 20


def dump(documents: Iterable[object]) -> str:
    """Return the documents as block YAML, each behind a line `---`, keys in their own order."""
    return yaml.dump_all(
        documents,
        Dumper=_CarefulDumper,
        explicit_start=True,
        sort_keys=False,
        default_flow_style=False,
        allow_unicode=True,
        width=_WIDTH,
    )


class _CarefulDumper(Dumper):
    @override
    def ignore_aliases(self, data: object) -> bool:
        return True

    def represent_text(self, text: str) -> yaml.ScalarNode:
        style = None if _PLAIN.fullmatch(text) else '"'
        return yaml.ScalarNode("tag:yaml.org,2002:str", text, style=style)


_CarefulDumper.add_representer(str, _CarefulDumper.represent_text)
