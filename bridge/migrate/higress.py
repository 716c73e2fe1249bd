"""Higress' McpBridge resource (networking.higress.io/v1, api/networking/v1/mcp_bridge.proto). Pure."""

from collections.abc import Callable, Mapping

from meshbridge.bridge.migrate.draft import Draft, Mapped, is_set, items, texts

_KNOWN = (
    *("type", "name", "domain", "port", "authSecretName", "zkServicesPath"),
    *("consulNamespace", "consulDatacenter", "consulServiceTag", "consulRefreshInterval"),
)
_DUBBO, _SPRING = "/dubbo", "/services"
"""Where Higress looks in ZooKeeper: the first always, the second as well as what zkServicesPath names."""


def from_mcp_bridge(document: object) -> Draft:
    """Return the draft for a McpBridge, a list of them, or its `spec`."""
    draft = Draft("a McpBridge of Higress")
    for spec in _specs(document):
        for registry in items(spec.get("registries")):
            _registry(registry, draft)
        draft.leave_out("spec", spec, ("registries",))
    return draft


def _specs(document: object) -> list[Mapped]:
    if not isinstance(document, Mapping):
        return []
    if str(document.get("kind", "")).endswith("List"):
        return [spec for item in items(document.get("items")) for spec in _specs(item)]
    spec = document.get("spec", document)
    return [spec] if isinstance(spec, Mapping) else []


def _registry(registry: Mapped, draft: Draft) -> None:
    kind = str(registry.get("type", ""))
    where = f"registry {registry.get('name') or registry.get('domain') or '?'}"
    convert = _KINDS.get(kind)
    if convert is None:
        hint = "; list its endpoints in an inventory" if kind in {"static", "dns"} else ""
        draft.notes.append(f"{where}: there is no source for the type {kind or '(none)'}{hint}")
        return
    convert(registry, where, draft)
    draft.leave_out(where, registry, _KNOWN)


def _zookeeper(registry: Mapped, where: str, draft: Draft) -> None:
    name = draft.unique_name(str(registry.get("name", "")))
    paths = [path.rstrip("/") for path in texts(registry.get("zkServicesPath"))]
    spring = [path for path in dict.fromkeys([_SPRING, *paths]) if path != _DUBBO]
    roots = [{"path": _DUBBO, "layout": "dubbo"}, *({"path": path, "layout": "curator"} for path in spring)]
    draft.sources.append(
        {
            "name": name,
            "kind": "zookeeper",
            "hosts": f"{registry.get('domain')}:{_port(registry, 2181)}",
            "roots": roots,
        }
    )
    draft.rules += [
        _named({"source": f"{name}/dubbo"}, "higress-dubbo"),
        _named({"source": name}, "higress-spring-zookeeper"),
    ]
    draft.notes.append(
        f"{where}: hosts of Dubbo have hyphens where Higress writes colons, which Istio refuses"
    )
    _authentication(registry, where, "digest: {file: FILE}", draft)


def _eureka(registry: Mapped, where: str, draft: Draft) -> None:
    name = draft.unique_name(str(registry.get("name", "")))
    url = f"http://{registry.get('domain')}:{_port(registry, 8761)}/eureka"
    draft.sources.append({"name": name, "kind": "eureka", "urls": [url]})
    draft.rules.append(_named({"source": name}, "higress-eureka"))
    _authentication(registry, where, "username and password_file", draft)


def _consul(registry: Mapped, where: str, draft: Draft) -> None:
    name = draft.unique_name(str(registry.get("name", "")))
    source: dict[str, object] = {
        "name": name,
        "kind": "consul",
        "address": f"http://{registry.get('domain')}:{_port(registry, 8500)}",
    }
    for ours, theirs in (
        ("datacenters", "consulDatacenter"),
        ("namespaces", "consulNamespace"),
        ("tags", "consulServiceTag"),
    ):
        if is_set(registry.get(theirs)):
            source[ours] = [str(registry[theirs])]
    draft.sources.append(source)
    draft.rules.append(_named({"source": name}, "higress-consul"))
    if is_set(registry.get("consulRefreshInterval")):
        draft.notes.append(f"{where}.consulRefreshInterval is not needed: changes are waited for, not polled")
    _authentication(registry, where, "token_file", draft)


_KINDS: Mapping[str, Callable[[Mapped, str, Draft], None]] = {
    "zookeeper": _zookeeper,
    "eureka": _eureka,
    "consul": _consul,
}


def _named(match: dict[str, str], preset: str) -> dict[str, object]:
    return {"match": match, "set": {"preset": preset}}


def _port(registry: Mapped, default: int) -> object:
    return registry.get("port") or default


def _authentication(registry: Mapped, where: str, ours: str, draft: Draft) -> None:
    if secret := registry.get("authSecretName"):
        draft.notes.append(f"{where}: mount the secret {secret} and name its file with {ours}")
