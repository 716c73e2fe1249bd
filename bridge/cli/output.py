"""How commands write: tables, YAML and JSON on standard output, talk on standard error."""

import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from rich.table import Table as RichTable

GAP = "  "
NOTHING = "<none>"
"""An empty cell, so that columns can be counted."""

Row = list[str]
"""The cells of a table's line."""

_COLOURS = {
    "synced": "green", "served": "green", "ok": "green", "yes": "green",
    "connecting": "yellow", "stale": "yellow", "empty": "yellow", "warning": "yellow", "held": "yellow",
    "waiting": "yellow",
    "denied": "red", "quarantined": "red", "dropped": "red", "no": "red", "failed": "red",
}  # fmt: skip


class Format(StrEnum):
    """How to show things."""

    TABLE = "table"
    YAML = "yaml"
    JSON = "json"
    NAME = "name"


class TableOrJson(StrEnum):
    """How to show things that are not resources."""

    TABLE = "table"
    JSON = "json"


OutputOption = Annotated[Format, typer.Option("--output", "-o", help="How to show it.")]
TableOrJsonOption = Annotated[TableOrJson, typer.Option("--output", "-o", help="How to show it.")]


def talk(text: str) -> None:
    """Tell people something that is not the result."""
    typer.echo(text, err=True)


def log_to_stderr(level: Literal["info", "warning"]) -> None:
    """Send log lines where talk goes, so that the result stays clean."""
    from meshbridge.bridge import logs
    from meshbridge.bridge.config.models import Log

    logs.configure(Log(level=level))


class Table:
    """Rows whose columns stay where they are, also those that come later."""

    def __init__(self, headers: Sequence[str]) -> None:
        self._headers = headers
        self._widths = [0] * len(headers)

    def lines(self, rows: Sequence[Sequence[str]], *, header: bool = True) -> list[str]:
        """Return the rows as text; nothing is cut, columns are two or more spaces apart."""
        filled = [[cell or NOTHING for cell in row] for row in rows]
        shown = [list(self._headers), *filled] if header else filled
        self._widths = [
            max(wide) for wide in zip(self._widths, *(map(len, row) for row in shown), strict=True)
        ]
        return [GAP.join(map(str.ljust, row, self._widths)).rstrip() for row in shown]


def print_lines(lines: Iterable[str]) -> None:
    """Print lines."""
    sys.stdout.writelines(f"{line}\n" for line in lines)


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table, with colours on a terminal."""
    if sys.stdout.isatty():
        _print_coloured(headers, rows)
    else:
        print_lines(Table(headers).lines(rows))


def _print_coloured(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console

    Console().print(coloured(headers, rows))


def coloured(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> "RichTable":
    """Return a table for a terminal."""
    from rich.table import Table as RichTable
    from rich.text import Text

    table = RichTable(*headers, box=None, pad_edge=False, padding=(0, len(GAP), 0, 0), header_style="bold")
    for column in table.columns:
        column.overflow = "fold"
    for row in rows:
        table.add_row(*(Text(cell or NOTHING, style=_COLOURS.get(cell, "")) for cell in row))
    return table


def print_json(document: object) -> None:
    """Print one JSON document."""
    import json

    print_lines([json.dumps(document, indent=2, ensure_ascii=False)])


def print_json_line(document: object) -> None:
    """Print a JSON document on a line of its own."""
    import json

    print_lines([json.dumps(document, ensure_ascii=False, separators=(",", ":"))])


def print_yaml(documents: Iterable[Any]) -> None:
    """Print YAML documents, each behind a line `---`."""
    from meshbridge.schemas.yaml_text import dump

    sys.stdout.writelines(dump([document]) for document in documents)


def age(since: float | None, now: float) -> str:
    """Return the time since then as kubectl writes it: 12s, 5m, 3h, 2d; `never` for None."""
    if since is None:
        return "never"
    seconds = max(0, int(now - since))
    if seconds < 120:
        return f"{seconds}s"
    if seconds < 2 * 3600:
        return f"{seconds // 60}m"
    return f"{seconds // 3600}h" if seconds < 2 * 86400 else f"{seconds // 86400}d"
