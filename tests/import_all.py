"""Imports every module of the installed package; a sub-package that packaging forgot fails here.

python tests/import_all.py
"""

import importlib
import pkgutil
import sys

ROOTS = ("meshbridge.schemas", "meshbridge.adapters", "meshbridge.mcp", "meshbridge.bridge")


def main() -> None:
    """Import everything, and say how much that was and from where."""
    count = 0
    for root in map(importlib.import_module, ROOTS):
        for found in pkgutil.walk_packages(root.__path__, f"{root.__name__}."):
            if not found.name.endswith("__main__"):
                importlib.import_module(found.name)
                count += 1
    sys.stdout.write(f"imported {count} modules from {next(iter(root.__path__))}\n")


if __name__ == "__main__":
    main()
