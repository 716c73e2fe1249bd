"""Which hosts the registries may bring into the mesh.

A ServiceEntry for a Kubernetes service's host would add endpoints to that service: a name somebody registered
must not do that. Hosts of hand-written entries are safe already, as ours are dated later than any of them.
"""

import re
from collections.abc import Sequence

from meshbridge.bridge.pipeline.pattern import compile_pattern

KUBERNETES = ("*.cluster.local", "*.svc", "*.svc.*", "kubernetes", "kubernetes.*", "localhost", "*.localhost")
"""Hosts that belong to Kubernetes or to the machine, in all their forms."""


class HostPolicy:
    """Says of a host whether it may be used."""

    def __init__(self, allow: Sequence[str] = ("*",), deny: Sequence[str] = KUBERNETES) -> None:
        self._deny = [(text, compile_pattern(text)) for text in deny]
        self._denied = _any_of(deny)
        self._allowed = None if "*" in allow else _any_of(allow)

    def refusal(self, host: str) -> str:
        """Return why the host may not be used, "" when it may."""
        if self._denied.fullmatch(host):
            by = next(text for text, pattern in self._deny if pattern.fullmatch(host))
            return f"its host {host} is denied by safety.hosts ({by})"
        if self._allowed is not None and not self._allowed.fullmatch(host):
            return f"its host {host} is none that safety.hosts allows"
        return ""


def _any_of(texts: Sequence[str]) -> re.Pattern[str]:
    """Return one expression for all patterns; of none, one that matches nothing."""
    return re.compile("|".join(f"(?:{compile_pattern(text).pattern})" for text in texts) or "(?!)")
