"""Services that tests put into the inventory, in the bridge's own format."""

from collections.abc import Mapping
from typing import Any

from integration.istiod.endpoints import Endpoint

SHOP = "shop.vms.mesh"
PORT = 8080

PAYMENTS: Mapping[str, Any] = {
    "name": "payments",
    "protocol": "grpc",
    "region": "eu",
    "network": "dc-1",
    "ports": {"grpc": 9090, "http-admin": 9091},
    "labels": {"team": "money"},
    "instances": [
        {"address": "10.0.1.1", "zone": "a", "weight": 3, "service_account": "payments", "version": "v1"},
        {"address": "2001:db8::2", "zone": "b", "ports": {"grpc": 19090, "http-admin": 9091}},
    ],
}
"""A service that uses every field."""

PAYMENTS_ENTRY: Mapping[str, Any] = {
    "hosts": ["payments.vms.mesh"],
    "location": "MESH_INTERNAL",
    "resolution": "STATIC",
    "ports": [
        {"number": 9090, "name": "grpc", "protocol": "GRPC"},
        {"number": 9091, "name": "http-admin", "protocol": "HTTP"},
    ],
    "endpoints": [
        {
            "address": "10.0.1.1",
            "labels": {"team": "money", "version": "v1"},
            "network": "dc-1",
            "locality": "eu/a",
            "weight": 3,
            "serviceAccount": "payments",
        },
        {
            "address": "2001:db8::2",
            "ports": {"grpc": 19090},
            "labels": {"team": "money"},
            "network": "dc-1",
            "locality": "eu/b",
        },
    ],
}
"""What istiod has to hold of it, written by hand."""

PAYMENTS_ENDPOINTS = (
    Endpoint("10.0.1.1:9090", "eu/a", 3),
    Endpoint("2001:db8::2:19090", "eu/b", 1),
)
"""What a proxy has to get of its port 9090."""


def shop(*addresses: str) -> Mapping[str, Any]:
    """Return a small service with these instances."""
    instances = [{"address": address} for address in addresses]
    return {"name": "shop", "protocol": "http", "port": PORT, "instances": instances}


def on_port(*addresses: str) -> list[str]:
    """Return the endpoints that a proxy gets for these instances of the shop."""
    return sorted(f"{address}:{PORT}" for address in addresses)
