"""Which hosts the registries may bring into the mesh.

A ServiceEntry for a Kubernetes service's host would add endpoints to that service: a name somebody registered
must not do that. Hosts of hand-written entries are safe already, as ours are dated later than any of them.
"""

from collections.abc import Sequence

from meshbridge.bridge.pipeline.pattern import compile_pattern

KUBERNETES = ("*.cluster.local", "*.svc", "*.svc.*", "kubernetes", "kubernetes.*", "localhost", "*.localhost")
"""Hosts that belong to Kubernetes or to the machine, in all their forms."""


class HostPolicy:
    """Says of a host whether it may be used."""

    def __init__(self, allow: Sequence[str] = ("*",), deny: Sequence[str] = KUBERNETES) -> None:
        self._allow = [compile_pattern(text) for text in allow]
        self._deny = [(text, compile_pattern(text)) for text in deny]

    def refusal(self, host: str) -> str:
        """Return why the host may not be used, "" when it may."""
        for text, pattern in self._deny:
            if pattern.fullmatch(host):
                return f"its host {host} is denied by safety.hosts ({text})"
        if not any(pattern.fullmatch(host) for pattern in self._allow):
            return f"its host {host} is none that safety.hosts allows"
        return ""
