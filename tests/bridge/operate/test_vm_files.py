import shlex
from typing import Any

import pytest
import yaml

from meshbridge.bridge.operate.vm_files import Site, vm_files

GROUP: dict[str, Any] = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "WorkloadGroup",
    "metadata": {"name": "shop", "namespace": "legacy"},
    "spec": {
        "metadata": {"labels": {"app": "web-shop", "version": "v2"}},
        "template": {"serviceAccount": "shop", "network": "vms", "ports": {"http": 8080, "admin": 9090}},
        "probe": {"httpGet": {"port": 8080, "path": "/ready"}},
    },
}


def environment(text: str) -> dict[str, str]:
    return dict(word.split("=", 1) for word in shlex.split(text))


def test_environment_says_who_the_workload_is() -> None:
    found = environment(vm_files(GROUP, Site())["cluster.env"])

    assert found["CANONICAL_SERVICE"] == "web-shop"
    assert found["CANONICAL_REVISION"] == "v2"
    assert found["SERVICE_ACCOUNT"] == "shop"
    assert found["POD_NAMESPACE"] == found["ISTIO_NAMESPACE"] == "legacy"
    assert found["ISTIO_SERVICE"] == "shop.legacy"
    assert found["ISTIO_META_NETWORK"] == "vms"
    assert found["ISTIO_META_POD_PORTS"] == (
        '[{"name":"admin","containerPort":9090},{"name":"http","containerPort":8080}]'
    )
    assert "CA_ADDR" not in found


def test_mesh_config_says_where_istiod_is_and_carries_the_probe() -> None:
    config = yaml.safe_load(vm_files(GROUP, Site(mesh_id="m1"))["mesh.yaml"])["defaultConfig"]

    assert config["discoveryAddress"] == "istiod.istio-system.svc:15012"
    assert config["meshId"] == "m1"
    assert config["readinessProbe"] == GROUP["spec"]["probe"]
    assert config["proxyMetadata"]["ISTIO_META_DNS_CAPTURE"] == "true"
    assert all(isinstance(value, str) for value in config["proxyMetadata"].values())


def test_revision_names_its_own_istiod() -> None:
    files = vm_files(GROUP, Site(revision="canary", ingress_ip="192.0.2.1"))

    assert environment(files["cluster.env"])["CA_ADDR"] == "istiod-canary.istio-system.svc:15012"
    assert files["hosts"] == "192.0.2.1 istiod-canary.istio-system.svc\n"


def test_default_revision_is_no_name_of_its_own() -> None:
    assert Site(revision="default").istiod == "istiod.istio-system.svc"


def test_without_an_ingress_address_the_hosts_are_empty_and_the_reader_is_told() -> None:
    files = vm_files(GROUP, Site())

    assert files["hosts"] == ""
    assert "has to resolve istiod.istio-system.svc" in files["README.txt"]


def test_bare_group_gets_its_name_and_the_default_account() -> None:
    bare = {"metadata": {"name": "shop", "namespace": "legacy"}, "spec": {}}

    found = environment(vm_files(bare, Site(dns_capture=False))["cluster.env"])

    assert (found["CANONICAL_SERVICE"], found["CANONICAL_REVISION"]) == ("shop", "latest")
    assert found["SERVICE_ACCOUNT"] == "default"
    assert "ISTIO_META_DNS_CAPTURE" not in found
    assert "ISTIO_META_POD_PORTS" not in found


def test_auto_registration_names_the_group() -> None:
    found = environment(vm_files(GROUP, Site(auto_register=True))["cluster.env"])

    assert found["ISTIO_META_AUTO_REGISTER_GROUP"] == "shop"


@pytest.mark.parametrize("value", ["it's", "a b", "$(reboot)", "x\ny"])
def test_odd_values_can_not_break_out_of_their_quotes(value: str) -> None:
    group = {**GROUP, "spec": {"metadata": {"labels": {"app": value}}}}

    assert environment(vm_files(group, Site())["cluster.env"])["CANONICAL_SERVICE"] == value


def test_reader_is_told_how_to_get_what_is_missing() -> None:
    text = vm_files(GROUP, Site())["README.txt"]

    assert "kubectl -n legacy create token shop --audience istio-ca" in text
    assert "jsonpath={.data.root-cert\\.pem}" in text
