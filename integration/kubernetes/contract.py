"""The sink's contract, whose tools the other tests use too."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

_PATH = Path(__file__).parents[2] / "tests" / "sink_contract.py"


def load() -> ModuleType:
    """Return the module: test folders are no packages."""
    name = "sink_contract"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, _PATH)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


CONTRACT = load()
