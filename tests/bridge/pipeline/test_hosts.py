import pytest

from meshbridge.bridge.pipeline.hosts import HostPolicy


@pytest.mark.parametrize(
    "host",
    [
        "shop.default.svc.cluster.local",
        "shop.default.svc",
        "shop.default.svc.example.org",
        "kubernetes",
        "kubernetes.default",
        "localhost",
    ],
)
def test_hosts_of_kubernetes_are_denied_by_default(host: str) -> None:
    assert HostPolicy().refusal(host).startswith(f"its host {host} is denied by safety.hosts (")


@pytest.mark.parametrize("host", ["shop.vms.mesh", "shop", "svc.shop.mesh", "cluster.local.mesh"])
def test_other_hosts_are_allowed_by_default(host: str) -> None:
    assert HostPolicy().refusal(host) == ""


def test_empty_lists_deny_nothing_and_allow_nothing() -> None:
    assert HostPolicy(deny=[]).refusal("localhost") == ""
    assert HostPolicy(allow=[], deny=[]).refusal("shop.mesh") == (
        "its host shop.mesh is none that safety.hosts allows"
    )


def test_deny_goes_before_allow() -> None:
    policy = HostPolicy(allow=["*.mesh"], deny=["/db-[0-9]+[.]mesh/"])

    assert policy.refusal("shop.mesh") == ""
    assert policy.refusal("db-1.mesh") == "its host db-1.mesh is denied by safety.hosts (/db-[0-9]+[.]mesh/)"
    assert policy.refusal("shop.legacy") == "its host shop.legacy is none that safety.hosts allows"
