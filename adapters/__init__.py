"""Adapters: code that watches one kind of registry and says what it holds."""

from collections.abc import Mapping

from meshbridge.adapters.base import AdapterConfig
from meshbridge.adapters.inventory.settings import InventoryConfig

ADAPTERS: Mapping[str, type[AdapterConfig]] = {
    "inventory": InventoryConfig,
}
"""Configuration class by kind: the one place to touch for a new registry."""
