"""The bootstrap files of a VM's sidecar, made from a WorkloadGroup. Pure.

The files are those of `istioctl x workload entry configure` (release 1.31), which Istio's sidecar package
reads in /etc/istio and /var/lib/istio. What only the control plane can issue is missing: the
root certificate and a token.
"""

import json
import shlex
from collections.abc import Mapping
from typing import Any

import msgspec

from meshbridge.schemas.yaml_text import dump

Manifest = Mapping[str, Any]
"""A Kubernetes object."""

_CANONICAL_NAME = "service.istio.io/canonical-name"
_CANONICAL_REVISION = "service.istio.io/canonical-revision"
_NAME_LABELS = (_CANONICAL_NAME, "app.kubernetes.io/name", "app")
_REVISION_LABELS = (_CANONICAL_REVISION, "app.kubernetes.io/version", "version")
_ISTIOD_PORT = 15012
_EXCLUDED_PORTS = "15090,15021,15020"
"""Ports of the sidecar itself, which it must not capture."""

MISSING = {
    "root-cert.pem": "kubectl -n {namespace} get configmap istio-ca-root-cert "
    "-o 'jsonpath={{.data.root-cert\\.pem}}'",
    "istio-token": "kubectl -n {namespace} create token {account} --audience istio-ca --duration 1h",
}
"""Files that have to be added, and the command whose output each is."""


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """What a WorkloadGroup doesn't say: the control plane, and how VMs of this kind reach it."""

    istio_namespace: str = "istio-system"
    revision: str = ""
    """Revision of the control plane; "" is the default one."""
    cluster: str = "Kubernetes"
    mesh_id: str = ""
    trust_domain: str = "cluster.local"
    ingress_ip: str = ""
    """Address at which istiod is reached from the VM, an east-west gateway as a rule; "" when DNS tells."""
    dns_capture: bool = True
    auto_register: bool = False

    @property
    def istiod(self) -> str:
        """Host name of istiod."""
        name = f"istiod-{self.revision}" if self.revision and self.revision != "default" else "istiod"
        return f"{name}.{self.istio_namespace}.svc"


def vm_files(group: Manifest, site: Site) -> dict[str, str]:
    """Return the content of each file by its name."""
    metadata = _proxy_metadata(group, site)
    return {
        "mesh.yaml": _mesh_yaml(group, site, metadata),
        "cluster.env": _cluster_env(group, site, metadata),
        "hosts": f"{site.ingress_ip} {site.istiod}\n" if site.ingress_ip else "",
        "README.txt": _read_me(group, site),
    }


def service_account(group: Manifest) -> str:
    """Return the service account of the group's workloads; "default" where none is named."""
    return str(_template(group).get("serviceAccount") or "default")


def _template(group: Manifest) -> Manifest:
    found: Manifest = group["spec"].get("template", {})
    return found


def _proxy_metadata(group: Manifest, site: Site) -> dict[str, str]:
    name, namespace = group["metadata"]["name"], group["metadata"]["namespace"]
    labels = _labels(group, name)
    found = {
        "CANONICAL_REVISION": labels[_CANONICAL_REVISION],
        "CANONICAL_SERVICE": labels[_CANONICAL_NAME],
        "ISTIO_METAJSON_LABELS": _json(labels),
        "ISTIO_META_CLUSTER_ID": site.cluster,
        "ISTIO_META_MESH_ID": site.mesh_id,
        "ISTIO_META_NETWORK": str(_template(group).get("network", "")),
        "ISTIO_META_WORKLOAD_NAME": name,
        "POD_NAMESPACE": namespace,
        "SERVICE_ACCOUNT": service_account(group),
        "TRUST_DOMAIN": site.trust_domain,
    }
    if ports := _template(group).get("ports"):
        found["ISTIO_META_POD_PORTS"] = _json(
            [{"name": port, "containerPort": ports[port]} for port in sorted(ports)]
        )
    if site.dns_capture:
        found["ISTIO_META_DNS_CAPTURE"] = "true"
    if site.auto_register:
        found["ISTIO_META_AUTO_REGISTER_GROUP"] = name
    return dict(sorted(found.items()))


def _labels(group: Manifest, name: str) -> dict[str, str]:
    metadata = group["spec"].get("metadata") or {}
    found = {**metadata.get("labels", {}), **_template(group).get("labels", {})}
    found[_CANONICAL_NAME] = next((found[key] for key in _NAME_LABELS if found.get(key)), name)
    found[_CANONICAL_REVISION] = next((found[key] for key in _REVISION_LABELS if found.get(key)), "latest")
    return dict(sorted(found.items()))


def _mesh_yaml(group: Manifest, site: Site, metadata: Mapping[str, str]) -> str:
    config: dict[str, object] = {"discoveryAddress": f"{site.istiod}:{_ISTIOD_PORT}"}
    if site.mesh_id:
        config["meshId"] = site.mesh_id
    config["proxyMetadata"] = dict(metadata)
    if probe := group["spec"].get("probe"):
        config["readinessProbe"] = probe
    return dump([{"defaultConfig": config}])


def _cluster_env(group: Manifest, site: Site, metadata: Mapping[str, str]) -> str:
    name, namespace = group["metadata"]["name"], group["metadata"]["namespace"]
    found = {
        **metadata,
        "ISTIO_INBOUND_PORTS": "*",
        "ISTIO_LOCAL_EXCLUDE_PORTS": _EXCLUDED_PORTS,
        "ISTIO_NAMESPACE": namespace,
        "ISTIO_SERVICE": f"{name}.{namespace}",
        "ISTIO_SERVICE_CIDR": "*",
    }
    if site.revision and site.revision != "default":
        found["CA_ADDR"] = f"{site.istiod}:{_ISTIOD_PORT}"
    return "".join(f"{key}={shlex.quote(value)}\n" for key, value in sorted(found.items()))


def _read_me(group: Manifest, site: Site) -> str:
    namespace, account = group["metadata"]["namespace"], service_account(group)
    commands = [
        f"  {command.format(namespace=namespace, account=account)} > {file}\n"
        for file, command in MISSING.items()
    ]
    hosts = f"hosts is empty: the VM has to resolve {site.istiod}, or use --ingress-ip.\n\n"
    hosts = "" if site.ingress_ip else hosts
    return (
        f"Bootstrap files for a VM of the workload group {namespace}/{group['metadata']['name']}.\n\n"
        "Two files are missing, since only the control plane can issue them. Either\n\n"
        f"{''.join(commands)}\n"
        "or let `istioctl x workload entry configure` write all of them, which needs the WorkloadGroup\n"
        "in the cluster (meshbridge get workloadgroups NAME -o yaml | kubectl apply -f -).\n"
        "The token is a secret, and good for an hour.\n\n"
        f"{hosts}"
        "On the VM:\n\n"
        "  install -D -m 0644 root-cert.pem /etc/certs/root-cert.pem\n"
        "  install -D -m 0600 -o istio-proxy istio-token /var/run/secrets/tokens/istio-token\n"
        "  install -D -m 0644 cluster.env /var/lib/istio/envoy/cluster.env\n"
        "  install -D -m 0644 mesh.yaml /etc/istio/config/mesh\n"
        "  cat hosts >> /etc/hosts\n"
        "  systemctl restart istio\n"
    )


def _json(found: object) -> str:
    return json.dumps(found, separators=(",", ":"))
