"""What operators write beside the services: Istio's own objects, in the namespace of the services."""

from collections.abc import Mapping, Sequence
from typing import Any

NAMESPACE = "meshbridge"

Policy = Mapping[str, Any]


def mutual_tls(hosts: str) -> Policy:
    """Return that these hosts are called by mTLS, and with which identities they are trusted."""
    traffic = {"tls": {"mode": "ISTIO_MUTUAL"}}
    return _policy("DestinationRule", "mutual", {"host": hosts, "trafficPolicy": traffic})


def subsets(host: str, versions: Sequence[str]) -> Policy:
    """Return that a host's endpoints are told apart by their label `version`."""
    named = [{"name": version, "labels": {"version": version}} for version in versions]
    return _policy("DestinationRule", "subsets", {"host": host, "subsets": named})


def split(host: str, shares: Mapping[str, int]) -> Policy:
    """Return how many percent of the calls go to each version."""
    route = [
        {"destination": {"host": host, "subset": version}, "weight": share}
        for version, share in shares.items()
        if share
    ]
    return _policy("VirtualService", "split", {"hosts": [host], "http": [{"route": route}]})


def _policy(kind: str, name: str, spec: Mapping[str, Any]) -> Policy:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": spec,
    }
