"""What is packaged is what is there."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDERS = ("adapters", "bridge", "mcp", "schemas")


def test_every_folder_with_an_init_is_listed_as_a_package() -> None:
    packaging = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]

    found = {
        "meshbridge." + ".".join(init.parent.relative_to(ROOT).parts)
        for folder in FOLDERS
        for init in (ROOT / folder).rglob("__init__.py")
    }

    assert found == set(packaging["packages"])


def test_links_for_mypy_lead_to_the_sources() -> None:
    for folder in FOLDERS:
        link = ROOT / ".types" / "meshbridge" / folder
        assert link.is_symlink()
        assert link.resolve() == ROOT / folder


def test_the_root_is_no_package() -> None:
    assert not (ROOT / "__init__.py").exists()


def test_every_folder_says_what_it_is_for() -> None:
    folders = (*FOLDERS, "deploy", "integration", "tests")

    missing = [folder for folder in folders if not (ROOT / folder / "README.md").is_file()]

    assert missing == []
