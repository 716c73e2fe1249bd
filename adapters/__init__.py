"""Adapters: code that watches one kind of registry and says what it holds."""

from collections.abc import Mapping

from meshbridge.adapters.base import AdapterConfig
from meshbridge.adapters.consul.settings import ConsulConfig
from meshbridge.adapters.eureka.settings import EurekaConfig
from meshbridge.adapters.inventory.settings import InventoryConfig
from meshbridge.adapters.zookeeper.settings import ZookeeperConfig

ADAPTERS: Mapping[str, type[AdapterConfig]] = {
    "consul": ConsulConfig,
    "eureka": EurekaConfig,
    "inventory": InventoryConfig,
    "zookeeper": ZookeeperConfig,
}
"""Configuration class by kind: the one place to touch for a new registry."""
