"""Every relative link in our Markdown leads to something that is there."""

import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parent.parent
SKIPPED = {".venv", ".git", "node_modules", "build", "dist"}
LINK = re.compile(
    r"!?\[[^\]]*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)|^\[[^\]]+\]:\s*<?(\S+?)>?\s*$", re.MULTILINE
)
FENCED = re.compile(r"^(```|~~~).*?^\1\s*$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)")
HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)


def tracked() -> list[Path]:
    """Return our Markdown files; where the sources are no git checkout, all that lie there."""
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "*.md"], capture_output=True, text=True, check=False
    )
    if listed.returncode == 0:
        return [ROOT / name for name in listed.stdout.split("\0") if name]
    return [path for path in sorted(ROOT.rglob("*.md")) if not SKIPPED & set(path.relative_to(ROOT).parts)]


def links(text: str) -> Iterator[str]:
    """Give the targets of links, without those in code."""
    for first, second in LINK.findall(CODE.sub("", FENCED.sub("", text))):
        yield first or second


@cache
def anchors(path: Path) -> frozenset[str]:
    """Return what a file's headings can be linked by, as GitHub names them."""
    found: set[str] = set()
    for heading in HEADING.findall(FENCED.sub("", path.read_text())):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        number = 0
        while (name := f"{slug}-{number}" if number else slug) in found:
            number += 1
        found.add(name)
    return frozenset(found)


def broken(path: Path, text: str) -> list[str]:
    """Return the relative links of a text at that place which lead nowhere."""
    found = []
    for link in links(text):
        if re.match(r"[a-z][a-z0-9+.-]*:", link):
            continue
        name, _, anchor = unquote(link).partition("#")
        target = (path.parent / name).resolve() if name else path
        is_there = target.exists() and target.is_relative_to(ROOT)
        if not is_there or (anchor and (target.suffix != ".md" or anchor not in anchors(target))):
            found.append(link)
    return found


@pytest.mark.parametrize("path", tracked(), ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_lead_somewhere(path: Path) -> None:
    assert broken(path, path.read_text()) == []


def test_there_is_something_to_look_at() -> None:
    assert sum(1 for path in tracked() for _ in links(path.read_text())) > 20


def test_dead_links_are_found_and_code_is_none() -> None:
    text = "\n".join(
        (
            "# One",
            "[ok](README.md#develop) [web](https://example.com/x) `[code](nowhere.md)`",
            "[gone](absent.md) [title](README.md#no-such-title) [away](../../away.md)",
            "[named]",
            "",
            "[named]: also-absent.md",
            "```",
            "[fenced](nowhere.md)",
            "```",
        )
    )

    assert broken(ROOT / "README.md", text) == [
        "absent.md",
        "README.md#no-such-title",
        "../../away.md",
        "also-absent.md",
    ]
