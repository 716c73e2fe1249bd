"""The arguments of slime's meshregistry (modules/meshregistry/pkg/bootstrap/args.go, 2025-02). Pure.

They stand below `general.LEGACY` of its module configuration, which is a text in the ConfigMap of a bundle.
"""

from collections.abc import Iterator, Mapping

import yaml

from meshbridge.bridge.migrate.draft import Draft, Mapped, is_set, items, split_host, texts
from meshbridge.bridge.migrate.meshregistry_rules import hosts_rule, label_rules, selection_rules

_SOURCES = ("ZookeeperSource", "EurekaSource", "NacosSource", "K8SSource")
_TOP = (*_SOURCES, "Mcp", "Revision", "MeshConfigFile", "RevCrds", "RegistryStartDelay", "EnableGRPCTracing")
_NOT_NEEDED = (
    *("Enabled", "RefreshPeriod", "WaitTime", "Mode", "WatchingWorkerCount", "WatchingResyncCron"),
    *("WatchingDebounce", "ConnectionTimeout", "LabelPatch", "IgnoreLabel", "EnableEmptyProtection"),
)
"""What has no counterpart because there is nothing to set: changes are watched, guards are always on."""
_RULES = (
    "EndpointSelectors",
    "InstanceMetaRelabel",
    "ServiceNaming",
    "ResourceNs",
    "SvcProtocol",
    "HostSuffix",
)
_MAX_DEPTH = 4


def from_args(document: object) -> Draft:
    """Return the draft for the arguments, wherever in the document they stand."""
    draft = Draft("the arguments of meshregistry")
    args = _args(document)
    if args is None:
        draft.notes.append(f"it has none of {', '.join(_SOURCES)}")
        return draft
    for name, convert in (("ZookeeperSource", _zookeeper), ("EurekaSource", _eureka)):
        found = args.get(name)
        if isinstance(found, Mapping) and found.get("Enabled"):
            convert(found, draft)
    draft.notes += [
        f"{name}: there is no source of this kind"
        for name in ("NacosSource", "K8SSource")
        if isinstance(args.get(name), Mapping) and args[name].get("Enabled")
    ]
    _outputs(args, draft)
    draft.leave_out("arguments", args, _TOP)
    return draft


def _args(document: object, depth: int = 0) -> Mapped | None:
    if not isinstance(document, Mapping) or depth > _MAX_DEPTH:
        return None
    if any(name in document for name in _SOURCES):
        return document
    for inner in _inside(document):
        if (found := _args(inner, depth + 1)) is not None:
            return found
    return None


def _inside(document: Mapped) -> Iterator[object]:
    yield from (document.get("general"), document.get("LEGACY"), document.get("data"))
    for key, value in document.items():
        if str(key).startswith("cfg") and isinstance(value, str):
            try:
                yield yaml.safe_load(value)
            except yaml.YAMLError:
                continue


def _zookeeper(found: Mapped, draft: Draft) -> None:
    root: dict[str, object] = {"path": str(found.get("RegistryRootNode") or "/dubbo"), "layout": "dubbo"}
    if applications := found.get("ApplicationRegisterRootNode"):
        root["applications"] = str(applications)
    hosts = ",".join(split_host(address, 2181) for address in texts(found.get("Address")))
    name = draft.unique_name("zookeeper")
    draft.sources.append({"name": name, "kind": "zookeeper", "hosts": hosts, "roots": [root]})
    suffix = ".dubbo" if found.get("GatewayModel") else str(found.get("HostSuffix", ""))
    preset = "meshregistry-dubbo"
    if suffix != ".dubbo":
        draft.notes.append(
            f'ZookeeperSource: hosts end in .dubbo where the original has "{suffix}"; write a host template'
        )
    draft.notes.append("ZookeeperSource: hosts have hyphens where the original has colons")
    _source_rules(found, name, preset, "dubbo", draft)
    known = (
        *_NOT_NEEDED,
        *_RULES,
        "Address",
        "RegistryRootNode",
        "ApplicationRegisterRootNode",
        "GatewayModel",
    )
    draft.leave_out("ZookeeperSource", found, known)


def _eureka(found: Mapped, draft: Draft) -> None:
    clusters = items(found.get("Servers")) or [found]
    for cluster in clusters:
        name = draft.unique_name(str(cluster.get("RegistryID") or "eureka"))
        draft.sources.append({"name": name, "kind": "eureka", "urls": texts(cluster.get("Address"))})
        if is_set(period := found.get("RefreshPeriod")):
            draft.sources[-1]["poll_interval"] = str(period)
        _source_rules(found, name, "meshregistry-eureka", "eureka", draft)
    if found.get("K8SDomainSuffix", True):
        draft.notes.append(
            "EurekaSource.K8SDomainSuffix: hosts get no .svc.cluster.local: that is Kubernetes' own"
        )
    known = (
        *_NOT_NEEDED,
        *_RULES,
        "Address",
        "RegistryID",
        "Servers",
        "K8SDomainSuffix",
        "NsHost",
        "GatewayModel",
    )
    draft.leave_out("EurekaSource", found, known)


def _source_rules(found: Mapped, name: str, preset: str, namespace: str, draft: Draft) -> None:
    match = {"source": name}
    draft.rules += selection_rules(found, match, draft.notes)
    draft.rules += label_rules(found, match, draft.notes)
    decided: dict[str, object] = {"namespace": str(found.get("ResourceNs") or namespace)}
    protocol = str(found.get("SvcProtocol", "")).lower()
    if protocol in {"http", "http2", "grpc", "tcp"}:
        decided["protocol"] = protocol
    elif protocol:
        draft.notes.append(
            f"{name}: SvcProtocol {found['SvcProtocol']} is none that istiod knows; tcp is the default"
        )
    draft.rules.append({"match": match, "set": {**hosts_rule(found, preset, draft.notes), **decided}})


def _outputs(args: Mapped, draft: Draft) -> None:
    mcp = args.get("Mcp")
    url = str(mcp.get("ServerUrl", "")) if isinstance(mcp, Mapping) else ""
    if url.startswith(("xds://", "mcp://")):
        listen = split_host(url, 16010)
        is_local = listen.startswith(("127.", "localhost"))
        draft.outputs = {"mcp": {"listen": listen, **({} if is_local else {"plaintext": "anywhere"})}}
        if not is_local:
            draft.notes.append(
                "Mcp.ServerUrl: it listens in plaintext, as the original; outputs.mcp.tls is better"
            )
    if revision := args.get("Revision"):
        draft.rules.append({"name": "revision", "set": {"revision": str(revision)}})
