"""Adds the toy registry to a copy of the sources, by the steps of adapters/README.md and no others."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOY = Path(__file__).parent / "toy"
PARTS = ("adapters", "bridge", "mcp", "schemas", "tests", ".types", "pyproject.toml")
SKIPPED = shutil.ignore_patterns("__pycache__", "toy", "benchmarks")
MAIN = ("-c", "from meshbridge.bridge.cli import main; main()")
IMPORT = "from meshbridge.adapters.zookeeper.settings import ZookeeperConfig\n"
LAST_KIND = '    "zookeeper": ZookeeperConfig,\n'
LAST_PURE = '    "meshbridge.adapters.zookeeper.groups",\n'
LAST_PACKAGE = '    "meshbridge.adapters.zookeeper",\n'


class Checkout:
    """A copy of the sources, and Python in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def insert(self, path: str, before: str, line: str) -> None:
        """Insert a line into a file, before one that is there once."""
        text = (self.folder / path).read_text()
        assert text.count(before) == 1, f"{path} has {before!r} {text.count(before)} times"
        (self.folder / path).write_text(text.replace(before, line + before))

    def python(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run Python over the copy; `.types` has the folders under their import names."""
        return subprocess.run(
            [sys.executable, *words],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(self.folder / ".types"), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """The sources with the toy registry added."""
    found = Checkout(tmp_path_factory.mktemp("checkout"))
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, found.folder / part, symlinks=True, ignore=SKIPPED)
        else:
            shutil.copy(ROOT / part, found.folder / part)
    # Installed, meshbridge is a namespace package; the linter takes only what is one here, too.
    (found.folder / ".types" / "meshbridge" / "__init__.py").unlink()
    shutil.copytree(TOY / "adapter", found.folder / "adapters" / "toy", ignore=SKIPPED)
    shutil.copytree(TOY / "tests", found.folder / "tests" / "adapters" / "toy", ignore=SKIPPED)
    found.insert("adapters/__init__.py", IMPORT, "from meshbridge.adapters.toy.settings import ToyConfig\n")
    found.insert("adapters/__init__.py", LAST_KIND, '    "toy": ToyConfig,\n')
    found.insert("pyproject.toml", LAST_PACKAGE, '    "meshbridge.adapters.toy",\n')
    found.insert("pyproject.toml", LAST_PURE, '    "meshbridge.adapters.toy.listing",\n')
    return found


def test_added_registry_keeps_the_contract_and_is_served(checkout: Checkout) -> None:
    tests = ("tests/adapters/test_contract.py", "tests/adapters/toy", "tests/test_packaging.py")

    run = checkout.python(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "toy or listed_as_a_package or harness", *tests
    )

    assert run.returncode == 0, run.stdout + run.stderr
    contract = (ROOT / "tests" / "contract.py").read_text().count("async def test_c")
    others = 3  # Served by a bridge, listed as a package, has a harness.
    assert f"{contract + others} passed" in run.stdout, run.stdout


def test_added_modules_keep_the_layers_and_the_parser_is_pure(checkout: Checkout) -> None:
    lint = "from importlinter.cli import lint_imports_command; lint_imports_command(['--no-cache'])"

    run = checkout.python("-c", lint)

    assert run.returncode == 0, run.stdout + run.stderr
    assert "Contracts: 2 kept, 0 broken" in run.stdout, run.stdout


def test_added_kind_is_in_the_schema_and_in_the_reference(checkout: Checkout) -> None:
    schema = checkout.python(*MAIN, "schema")
    reference = checkout.python("-m", "meshbridge.bridge.config.reference")

    toy = json.loads(schema.stdout)["$defs"]["ToyConfig"]
    assert set(toy["required"]) == {"kind", "name", "url"}
    assert toy["properties"]["url"]["description"].startswith("Address of the document")
    assert "## sources of kind toy" in reference.stdout


@pytest.mark.parametrize(
    ("source", "code", "said"),
    [
        ("{name: things, kind: toy, url: 'http://toy.example.com/services'}", 0, "ok"),
        ("{name: things, kind: toy, url: 'ftp://toy.example.com'}", 2, "url"),
        ("{name: things, kind: toyz, url: 'http://toy.example.com'}", 2, "toy"),
    ],
)
def test_check_knows_the_added_kind(checkout: Checkout, source: str, code: int, said: str) -> None:
    (checkout.folder / "meshbridge.yaml").write_text(f"sources: [{source}]\n")

    run = checkout.python(*MAIN, "check", "-c", "meshbridge.yaml")

    assert run.returncode == code, run.stdout + run.stderr
    assert said in run.stdout + run.stderr


def test_kind_without_a_harness_fails(checkout: Checkout) -> None:
    harness = checkout.folder / "tests" / "adapters" / "toy" / "harness.py"
    harness.rename(harness.with_suffix(".away"))

    run = checkout.python(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "harness", "tests/adapters/test_contract.py"
    )

    harness.with_suffix(".away").rename(harness)
    assert run.returncode == 1, run.stdout + run.stderr
    assert "test_every_registered_kind_has_a_harness" in run.stdout
