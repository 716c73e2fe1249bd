"""Identities of endpoints: what clients demand, and how a change of it is rolled over.

Istio puts the ids of all endpoints of a service into one list that its clients check. When an id leaves that
list, connections to an instance whose certificate has not changed yet would fail; so it stays among the
service's subject alternative names for a while. That depends on what was before: it is retained state.
"""

from collections.abc import Iterable, Mapping

import msgspec

from meshbridge.bridge.pipeline.values import Member, MeshKey, ServiceSettings
from meshbridge.schemas.istio import Location
from meshbridge.schemas.validation import TLS_MODE


def spiffe_id(trust_domain: str, namespace: str, account: str) -> str:
    """Return the id that the certificate of a workload with this service account has."""
    return f"spiffe://{trust_domain}/ns/{namespace}/sa/{account}"


def identity_text(member: Member, trust_domain: str) -> str:
    """Return what clients demand of an endpoint, for people."""
    mode = dict(member.labels).get(TLS_MODE, "istio" if member.service_account else "disabled")
    if member.settings.location is Location.MESH_EXTERNAL:
        return "plaintext: it is outside the mesh (location MESH_EXTERNAL)"
    if mode != "istio":
        is_told = TLS_MODE in dict(member.labels)
        return f"plaintext: {'its label says so' if is_told else 'it has no sidecar that is known of'}"
    accepted = list(member.settings.subject_alt_names)
    if member.service_account:
        accepted.insert(0, spiffe_id(trust_domain, member.mesh.namespace, member.service_account))
    if not accepted:
        return "plaintext: mutual TLS needs a service account or subject alternative names"
    return f"mutual TLS as {' or '.join(accepted)}"


def accepted_ids(
    namespace: str, members: Iterable[Member], settings: ServiceSettings, trust_domain: str
) -> list[str]:
    """Return the ids of which clients accept any at every endpoint: Istio keeps one list for a service."""
    accounts = {
        found.service_account for found in members if found.service_account and found.health.is_served
    }
    ids = [spiffe_id(trust_domain, namespace, account) for account in sorted(accounts)]
    return list(dict.fromkeys([*ids, *settings.subject_alt_names]))


class Known(msgspec.Struct, frozen=True, gc=False):
    """The identities of one service: those it has, and until when (Unix seconds) those it had are kept."""

    accounts: tuple[str, ...]
    leaving: tuple[tuple[str, float], ...] = ()


class RollOver:
    """What is known of all services' identities. Reads no clock; times are Unix seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        """How long an identity is kept; 0 for not at all."""
        self._known: dict[MeshKey, Known] = {}
        self._until: dict[MeshKey, float] = {}
        """When the next identity of a service leaves."""

    def names(
        self, key: MeshKey, members: Iterable[Member], trust_domain: str, now: float
    ) -> tuple[str, ...]:
        """Take the newest endpoints of a service and return the ids it had and that are still accepted."""
        accounts = {
            member.service_account for member in members if member.service_account and member.health.is_served
        }
        known = self._known.get(key)
        if not (accounts or known):
            return ()
        if not self.seconds:
            self.forget(key)
            return ()
        changed = _next(known or Known(()), accounts, now, self.seconds)
        self._known[key] = changed
        if changed.leaving:
            self._until[key] = min(until for _, until in changed.leaving)
        else:
            self._until.pop(key, None)
        return tuple(spiffe_id(trust_domain, key.namespace, account) for account, _ in changed.leaving)

    def due(self, now: float) -> list[MeshKey]:
        """Return the services that need not accept an earlier identity any longer."""
        return [key for key, until in self._until.items() if until <= now]

    def forget(self, key: MeshKey) -> None:
        """Drop a service that is gone."""
        self._known.pop(key, None)
        self._until.pop(key, None)

    def dump(self) -> Mapping[str, Known]:
        """Return everything, as retained state keeps it."""
        return {str(key): known for key, known in self._known.items()}

    def load(self, kept: Mapping[str, Known]) -> None:
        """Take what an earlier run kept, for services of which nothing newer is known."""
        for text, known in kept.items():
            namespace, _, host = text.partition("/")
            key = MeshKey(namespace, host)
            if key not in self._known:
                self._known[key] = known
                if known.leaving:
                    self._until[key] = min(until for _, until in known.leaving)


def _next(known: Known, accounts: set[str], now: float, seconds: float) -> Known:
    """Return what is known after the newest accounts; without any, the last ones still count.

    A clock that was set back must not keep an identity for longer than it should be.
    """
    current = accounts or set(known.accounts)
    leaving = {
        account: min(until, now + seconds)
        for account, until in known.leaving
        if until > now and account not in current
    }
    for account in known.accounts:
        if account not in current:
            leaving.setdefault(account, now + seconds)
    return Known(tuple(sorted(current)), tuple(sorted(leaving.items())))
