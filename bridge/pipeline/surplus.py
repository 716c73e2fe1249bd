"""What of a mesh service depends on others, or on the past: its virtual address, earlier identities."""

from collections.abc import Iterable

import msgspec

from meshbridge.bridge.pipeline.addresses import VirtualAddresses
from meshbridge.bridge.pipeline.identities import RollOver
from meshbridge.bridge.pipeline.merge import MeshService
from meshbridge.bridge.pipeline.rules import Rules
from meshbridge.bridge.pipeline.values import MeshKey, VirtualIps
from meshbridge.schemas.istio import ServicePort

_BY_NAME = frozenset({"HTTP", "HTTP2", "HTTPS", "GRPC", "GRPC-WEB", "HTTP_PROXY", "TLS"})
"""Protocols whose requests name their host."""


class Surplus:
    """Keeps both for all services."""

    def __init__(self, rules: Rules) -> None:
        self.identities = RollOver(rules.identity_rollover)
        self._addresses = VirtualAddresses(rules.defaults.virtual_ip_range)
        self._trust_domain = rules.defaults.trust_domain

    def configure(self, rules: Rules) -> None:
        """Use other settings from now on; every service has to be completed again."""
        self.identities.seconds = rules.identity_rollover
        self._trust_domain = rules.defaults.trust_domain
        if self._addresses.network != rules.defaults.virtual_ip_range:
            self._addresses = VirtualAddresses(rules.defaults.virtual_ip_range)

    def complete(self, service: MeshService, now: float) -> tuple[MeshService, set[MeshKey]]:
        """Return the service with all it needs, and the other services that must be completed again.

        Args:
            service: as merged.
            now: Unix seconds.
        """
        key = service.key
        wants = _wants_address(service)
        moved = self._addresses.take(key) if wants else self._addresses.free(key)
        address = self._addresses.get(key) if wants else ""
        names = self.identities.names(key, service.members, self._trust_domain, now)
        if not (address or names):
            return service, moved
        return msgspec.structs.replace(service, virtual_ip=address, earlier_names=names), moved

    def forget(self, key: MeshKey) -> set[MeshKey]:
        """Drop a service that is gone, and return the services that must be completed again."""
        self.identities.forget(key)
        return self._addresses.free(key)


def _wants_address(service: MeshService) -> bool:
    wanted = service.settings.virtual_ips
    if wanted is VirtualIps.NONE or service.settings.addresses:
        return False
    return wanted is VirtualIps.ALL or _has_tcp(service.ports)


def _has_tcp(ports: Iterable[ServicePort]) -> bool:
    return any(port.protocol.upper() not in _BY_NAME for port in ports)
