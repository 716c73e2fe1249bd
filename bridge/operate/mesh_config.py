"""What istiod's mesh configuration means for a bridge: is it read, is Kubernetes still, does TLS fit. Pure.

istiod reads `configSources` at its start only (istio.io/api mesh/v1alpha1/config.proto; pilot/pkg/bootstrap).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec
import yaml

from meshbridge.bridge.operate.findings import Finding, failed, ok, warning

TLS_SINCE = (1, 26)
"""First release whose istiod speaks TLS to a config source; older ones take plaintext silently."""

_MAX_DEPTH = 3
_PLAIN_MODES = frozenset({"", "DISABLE"})
_IGNORED_MODES = frozenset({"MUTUAL", "ISTIO_MUTUAL"})


class Served(msgspec.Struct, frozen=True):
    """How the bridge serves."""

    host: str
    """Where it listens; "" everywhere."""
    port: int
    tls: bool
    wants_certificates: bool = False


class ConfigSource(msgspec.Struct, frozen=True):
    """One of istiod's config sources."""

    address: str
    tls_mode: str = ""
    has_authority: bool = False
    """Whether it says whom to trust, by `caCertificates` or `credentialName`."""

    @property
    def is_xds(self) -> bool:
        """Whether it is an MCP-over-xDS server."""
        return self.address.startswith("xds://")

    @property
    def server(self) -> str:
        """HOST:PORT of an MCP-over-xDS server; istiod looks at nothing else of the address."""
        return urlsplit(self.address).netloc


def read_mesh_config(text: str) -> Mapping[str, Any]:
    """Return the MeshConfig in a text: itself, its ConfigMap, an IstioOperator, or values of Istio's charts.

    Raises:
        ValueError: there is none in it; the text says what was expected.
    """
    try:
        documents = [found for found in yaml.safe_load_all(text) if isinstance(found, Mapping)]
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"is not YAML: {' '.join(str(error).split())[:200]}") from None
    for document in documents:
        if (found := _within(document)) is not None:
            return found
    raise ValueError(
        "holds no mesh configuration; give the ConfigMap "
        "(kubectl -n istio-system get configmap istio -o yaml), its text, an IstioOperator, "
        "or the chart's values with meshConfig"
    )


def _within(document: Mapping[str, Any], depth: int = 0) -> Mapping[str, Any] | None:
    if depth > _MAX_DEPTH:
        return None
    if isinstance(inner := document.get("meshConfig"), Mapping):
        return inner
    if isinstance(spec := document.get("spec"), Mapping):
        return _within(spec, depth + 1)
    data = document.get("data")
    if isinstance(data, Mapping) and isinstance(data.get("mesh"), str):
        return read_mesh_config(data["mesh"])
    return None if "kind" in document else document


def config_sources(mesh: Mapping[str, Any]) -> list[ConfigSource]:
    """Return istiod's config sources in their order; malformed ones are left out, as istiod warns of them."""
    found = mesh.get("configSources")
    items = found if isinstance(found, Sequence) and not isinstance(found, str) else ()
    return [_source(item) for item in items if isinstance(item, Mapping)]


def _source(item: Mapping[str, Any]) -> ConfigSource:
    tls = item.get("tlsSettings")
    settings = tls if isinstance(tls, Mapping) else {}
    return ConfigSource(
        address=str(item.get("address", "")),
        tls_mode=str(settings.get("mode", "")) if settings else "",
        has_authority=bool(settings.get("caCertificates") or settings.get("credentialName")),
    )


def check_mesh_config(
    mesh: Mapping[str, Any], served: Served | None, release: tuple[int, int] | None
) -> list[Finding]:
    """Return what is right and wrong with a mesh configuration; `release` is None when not known."""
    sources = config_sources(mesh)
    ours = _ours(sources, served)
    findings = [*_check_sources(sources, ours, served), *_check_kubernetes(sources)]
    if ours is not None:
        findings += _check_tls(ours, served, release)
    return findings


def _ours(sources: Sequence[ConfigSource], served: Served | None) -> ConfigSource | None:
    xds = [source for source in sources if source.is_xds]
    if served is not None:
        by_port = [source for source in xds if source.server.endswith(f":{served.port}")]
        return by_port[0] if by_port else None
    return xds[0] if xds else None


def _check_sources(
    sources: Sequence[ConfigSource], ours: ConfigSource | None, served: Served | None
) -> Iterator[Finding]:
    subject = "config sources"
    port = served.port if served else 16010
    if not sources:
        yield failed(
            subject,
            f"configSources is empty: no bridge is read; add xds://BRIDGE:{port} and k8s://, restart istiod",
        )
    elif ours is None:
        known = ", ".join(source.address for source in sources)
        yield failed(subject, f"none of {known} is the bridge; add xds://BRIDGE:{port}, and restart istiod")
    else:
        yield ok(subject, f"istiod reads {ours.address}")
    for source in sources:
        if not source.address.startswith(("xds://", "fs://", "k8s://")):
            yield failed(subject, f"{source.address}: istiod ignores it; write xds://HOST:PORT")
        elif source.is_xds and not _has_port(source):
            yield failed(subject, f"{source.address}: needs a port, as in xds://HOST:{port}")


def _has_port(source: ConfigSource) -> bool:
    try:
        return urlsplit(source.address).port is not None
    except ValueError:
        return False


def _check_kubernetes(sources: Sequence[ConfigSource]) -> Iterator[Finding]:
    if not sources:
        return
    near = [source.address for source in sources if source.address.startswith("k8s:")]
    if "k8s://" in near:
        yield ok("Kubernetes", "istiod goes on to read its own resources (k8s://)")
    elif near:
        yield failed("Kubernetes", f'"{near[0]}" has to be exactly k8s://')
    else:
        yield failed(
            "Kubernetes",
            "k8s:// is missing: with configSources set, istiod no longer reads VirtualServices "
            "and all else from Kubernetes; add it",
        )


def _check_tls(
    ours: ConfigSource, served: Served | None, release: tuple[int, int] | None
) -> Iterator[Finding]:
    mode, subject = ours.tls_mode, "TLS"
    if mode in _IGNORED_MODES:
        yield failed(
            subject,
            f"istiod ignores mode {mode} and speaks plaintext, in every release; SIMPLE is what it can",
        )
    if mode == "SIMPLE" and release is not None and release < TLS_SINCE:
        yield failed(
            subject,
            f"istiod {release[0]}.{release[1]} speaks plaintext all the same; 1.26 is the first with TLS",
        )
    if mode == "SIMPLE" and not ours.has_authority:
        yield warning(
            subject,
            "without caCertificates or credentialName, the system's authorities have to know the certificate",
        )
    if served is not None:
        yield from _check_tls_of_both(ours, served)


def _check_tls_of_both(ours: ConfigSource, served: Served) -> Iterator[Finding]:
    speaks_tls = ours.tls_mode == "SIMPLE"
    if served.tls and not speaks_tls:
        yield failed(
            "TLS", "the bridge serves TLS only, and istiod comes in plaintext; set tlsSettings.mode: SIMPLE"
        )
    elif speaks_tls and not served.tls:
        yield failed(
            "TLS",
            "istiod speaks TLS, and the bridge plaintext only; set outputs.mcp.tls, or take tlsSettings away",
        )
    elif served.tls and served.wants_certificates:
        yield failed(
            "TLS",
            "the bridge asks for client certificates (client_ca_file), and istiod has none; a proxy can",
        )
    else:
        yield ok(
            "TLS",
            "both speak TLS" if served.tls else "both speak plaintext; keep others away by a NetworkPolicy",
        )
