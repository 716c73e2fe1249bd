"""The chart and the kustomize base: the same objects, fit for the bridge, and wrong values refused."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from meshbridge.bridge.config.loading import load

PERSISTENT = ("--set", "state.persistent=true")
WITH_TLS = ("--set", "mcp.tlsSecret=meshbridge-mcp-tls")
WRITES = ("--set", "config.outputs.kubernetes.enabled=true,config.defaults.output=kubernetes")
MONITORED = ("--set", "serviceMonitor.enabled=true")


@pytest.mark.parametrize(
    ("values", "folder"), [((), "base"), (PERSISTENT, "stateful"), ((*WITH_TLS, *MONITORED), "all")]
)
def test_chart_and_kustomize_render_the_same_objects(
    manifests: Any, values: tuple[str, ...], folder: str
) -> None:
    by_chart = manifests.chart(*values)

    by_kustomize = manifests.kustomize(folder)

    assert by_chart.keys() == by_kustomize.keys()
    for key, found in by_chart.items():
        assert found == by_kustomize[key], key


@pytest.mark.parametrize("values", [(), PERSISTENT, WITH_TLS, WRITES, ("--set", "admin.tlsSecret=web-tls")])
def test_the_rendered_configuration_is_valid(manifests: Any, tmp_path: Path, values: tuple[str, ...]) -> None:
    file = tmp_path / "meshbridge.yaml"
    file.write_text(yaml.safe_dump(manifests.config(manifests.chart(*values))))

    config = load(file)

    assert config.outputs.mcp.listen == "0.0.0.0:16010"
    assert (config.outputs.mcp.tls is not None) == (values == WITH_TLS)


@pytest.mark.parametrize("values", [(), PERSISTENT, WITH_TLS])
def test_every_file_that_the_configuration_names_is_mounted(manifests: Any, values: tuple[str, ...]) -> None:
    objects = manifests.chart(*values)
    pod = manifests.pod(objects)
    mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    config = manifests.config(objects)
    tls = config["outputs"]["mcp"].get("tls", {})
    named = [
        config["admin"]["token_file"],
        config["admin"]["socket"],
        *config["sources"][0]["files"],
        *tls.values(),
    ]

    assert all(any(file.startswith(f"{path}/") for path in mounts.values()) for file in named)
    assert config["safety"]["state_dir"] in mounts.values()
    claims = [
        claim["metadata"]["name"]
        for claim in objects.get(("StatefulSet", "meshbridge"), {})
        .get("spec", {})
        .get("volumeClaimTemplates", [])
    ]
    assert set(mounts) == {*claims, *(volume["name"] for volume in pod["volumes"])}


def test_istiod_reaches_bridges_that_are_not_ready_and_no_proxy_is_in_the_way(manifests: Any) -> None:
    objects = manifests.chart()

    assert objects["Service", "meshbridge"]["spec"]["publishNotReadyAddresses"] is True
    assert "publishNotReadyAddresses" not in objects["Service", "meshbridge-admin"]["spec"]
    labels = objects["Deployment", "meshbridge"]["spec"]["template"]["metadata"]["labels"]
    assert labels["sidecar.istio.io/inject"] == "false"
    assert labels["istio.io/dataplane-mode"] == "none"


def test_with_the_kubernetes_output_the_chart_gives_the_rights_that_it_needs(manifests: Any) -> None:
    file = Path(__file__).parent.parent.parent / "deploy" / "rbac.yaml"
    needed = {(one["kind"], one["metadata"]["name"]): one for one in yaml.safe_load_all(file.read_text())}

    objects = manifests.chart(*WRITES)

    assert manifests.pod(objects)["automountServiceAccountToken"] is True
    for key in (("ClusterRole", "meshbridge"), ("Role", "meshbridge")):
        assert objects[key]["rules"] == needed[key]["rules"]
    for key in (("ClusterRoleBinding", "meshbridge"), ("RoleBinding", "meshbridge")):
        for field in ("roleRef", "subjects"):
            assert objects[key][field] == needed[key][field]


def test_the_kubernetes_output_for_single_namespaces_needs_no_rights_in_others(manifests: Any) -> None:
    objects = manifests.chart(*WRITES, "--set", "config.outputs.kubernetes.namespaces={legacy}")

    assert ("ClusterRoleBinding", "meshbridge") not in objects
    assert objects["RoleBinding", "meshbridge-write"]["metadata"]["namespace"] == "legacy"


def test_replicas_find_one_another(manifests: Any) -> None:
    objects = manifests.chart()

    [url] = manifests.config(objects)["safety"]["peers"]["urls"]
    service = objects["Service", "meshbridge-peers"]["spec"]
    assert url == "http://meshbridge-peers:16080"
    assert service["clusterIP"] == "None"
    assert service["publishNotReadyAddresses"] is True
    peers = objects["NetworkPolicy", "meshbridge"]["spec"]["ingress"][1]["from"][1]["podSelector"][
        "matchLabels"
    ]
    assert peers == service["selector"]


def test_pods_have_no_rights_that_they_do_not_need(manifests: Any) -> None:
    objects = manifests.chart()
    pod = manifests.pod(objects)
    container = pod["containers"][0]["securityContext"]

    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["readOnlyRootFilesystem"] is True
    assert container["capabilities"] == {"drop": ["ALL"]}
    assert not [kind for kind, _ in objects if "Role" in kind]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("replicas=two", ["/replicas", "got string, want integer"]),
        ("replicas=0", ["/replicas", "minimum: got 0, want 1"]),
        ("config.sources=null", ["/config", "missing property 'sources'"]),
        ("config.admin.listen=127.0.0.1:16080", ["/config/admin/listen", "'127.0.0.1:16080' does not match"]),
        ("config.outputs.mcp.plaintext=yes", ["/config/outputs/mcp/plaintext", "'loopback', 'anywhere'"]),
        ("config.sorces[0].name=x", ["/config", "additional properties 'sorces' not allowed"]),
        ("replica=3", ["additional properties 'replica' not allowed"]),
        ("image.pullPolicy=Sometimes", ["/image/pullPolicy", "'Always', 'IfNotPresent', 'Never'"]),
        ("admin.tokenSecret=", ["/admin/tokenSecret", "does not match"]),
        ("networkPolicy.istiodLabels=null", ["/networkPolicy"]),
        ("resources.limits.memory=lots", ["/resources/limits/memory", "'lots' does not match"]),
    ],
)
def test_wrong_values_are_refused_with_place_and_reason(manifests: Any, value: str, words: list[str]) -> None:
    done = manifests.helm("--set", value)

    assert done.returncode == 1
    for word in words:
        assert word in done.stderr


def test_every_value_is_described(manifests: Any) -> None:
    chart = Path(__file__).parent.parent.parent / "deploy" / "helm" / "meshbridge"
    values = yaml.safe_load((chart / "values.yaml").read_text())
    schema = yaml.safe_load((chart / "values.schema.json").read_text())

    assert set(values) == set(schema["properties"]) - {"global"}
    for name in ("image", "admin", "mcp", "state", "topologySpread", "networkPolicy", "serviceMonitor"):
        assert set(values[name]) == set(schema["properties"][name]["properties"])


def test_names_that_look_like_something_else_stay_text(manifests: Any) -> None:
    # YAML 1.1 reads y, no and 12 as a boolean and a number.
    names = "admin.tokenSecret=y,mcp.tlsSecret=no,networkPolicy.istiodNamespace=on,secretMounts[0].secret=yes"
    objects = manifests.chart("--set-string", f"{names},secretMounts[0].path=/secrets,state.storageClass=12")

    found = [one["secret"]["secretName"] for one in manifests.pod(objects)["volumes"] if "secret" in one]

    assert found == ["y", "no", "yes"]
    allowed = objects["NetworkPolicy", "meshbridge"]["spec"]["ingress"][0]["from"][0]
    assert allowed["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "on"}
