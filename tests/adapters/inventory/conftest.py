"""What the tests of inventories share."""

import importlib.util
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import ModuleType

import pytest

from meshbridge.adapters.base import AdapterContext
from meshbridge.adapters.inventory.adapter import InventoryAdapter
from meshbridge.adapters.inventory.settings import InventoryConfig
from meshbridge.schemas.registry import InstanceGroup


def _load_contract() -> ModuleType:
    path = Path(__file__).parents[2] / "contract.py"
    spec = importlib.util.spec_from_file_location("contract_for_inventory", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CONTRACT = _load_contract()
Run = CONTRACT.Watch
Start = Callable[..., Awaitable[Run]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """`await start(files=[...])` gives a Run that has synced, or raises what `run()` raised."""
    runs: list[Run] = []

    async def begin(
        previous: dict[str, InstanceGroup] | None = None,
        adapter: InventoryAdapter | None = None,
        **settings: object,
    ) -> Run:
        counts = CONTRACT.Counts()
        if adapter is None:
            values = {"name": "vms", "settle": "50ms", **settings}
            if not values.keys() & {"files", "urls", "commands"}:
                values["files"] = [str(tmp_path)]
            config = InventoryConfig.model_validate(values)
            context = AdapterContext("vms", counts, previous=lambda: previous or {})
            adapter = InventoryAdapter(config, context)
        run = Run(adapter, counts=counts)
        runs.append(run)
        await run.settled()
        return run

    yield begin
    for run in runs:
        await run.stop()
