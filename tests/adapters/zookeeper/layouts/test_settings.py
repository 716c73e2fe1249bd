"""The configuration of a ZooKeeper source."""

import sys

import pytest
from pydantic import ValidationError

from meshbridge.adapters.base import AdapterContext
from meshbridge.adapters.zookeeper.settings import RootSettings, ZookeeperConfig
from meshbridge.schemas.errors import ConfigError

OURS = "meshbridge.adapters.zookeeper"


def config(**settings: object) -> ZookeeperConfig:
    return ZookeeperConfig.model_validate(
        {"name": "zk", "kind": "zookeeper", "hosts": "zk1:2181", "roots": [{"path": "/dubbo"}]} | settings
    )


def test_a_configuration_can_set_everything() -> None:
    found = config(
        hosts="zk1:2181,zk2:2181/prod/eu",
        digest={"file": "/etc/zk-digest"},
        sasl={"mechanism": "DIGEST-MD5", "username": "reader", "password_file": "/etc/zk-password"},
        tls={"ca_file": "/etc/ca.pem"},
        session_timeout="10s",
        connect_timeout="5s",
        max_node_size=4096,
        resync="5m",
    )

    assert found.chroot == "/prod/eu"
    assert found.expand() == [found]
    assert config().chroot == ""


def test_each_root_fails_alone() -> None:
    found = config(roots=[{"path": "/dubbo"}, {"path": "/"}, {"path": "/services", "name": "spring"}])

    parts = found.expand()

    assert [part.name for part in parts] == ["zk/dubbo", "zk/root", "zk/spring"]
    assert [part.root.path for part in parts] == ["/dubbo", "/", "/services"]
    assert all(part.expand() == [part] for part in parts)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hosts": ""}, "hosts"),
        ({"hosts": "user:hush@zk1"}, "hosts"),
        ({"hosts": "zk1:2181/"}, "hosts"),
        ({"roots": []}, "roots"),
        ({"roots": [{"path": "dubbo"}]}, "path"),
        ({"roots": [{"path": "/dubbo/"}]}, "path"),
        ({"roots": [{"path": "/a/b"}, {"path": "/a-b"}]}, "several roots are named a-b"),
        ({"roots": [{"path": "/a", "layout": "consul"}]}, "layout"),
        ({"roots": [{"path": "/a", "applications": "/b"}]}, "needs `layout: dubbo`"),
        ({"roots": [{"path": "/a", "layout": "dubbo", "applications": "/a"}]}, "beside"),
        ({"roots": [{"path": "/a", "layout": "dubbo", "applications": "/"}]}, "beside"),
        ({"roots": [{"path": "/a", "layout": "json", "json_records": {"path": "{id}"}}]}, "service"),
        ({"roots": [{"path": "/a", "json_records": {"port": "port"}}]}, "port"),
        ({"sasl": {"mechanism": "DIGEST-MD5"}}, "password_file"),
        ({"session_timeout": "0s"}, "session_timeout"),
    ],
)
def test_a_mistake_is_named(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message) as caught:
        config(**settings)

    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "base", "trees"),
    [
        ({"path": "/dubbo"}, "/dubbo", ("",)),
        ({"path": "/dubbo", "applications": "/services"}, "/", ("dubbo", "services")),
        ({"path": "/eu/dubbo", "applications": "/eu/services/all"}, "/eu", ("dubbo", "services/all")),
        ({"path": "/dubbo", "applications": "/dubbo/apps"}, "/dubbo", ("", "apps")),
        ({"path": "/", "applications": "/services"}, "/", ("", "services")),
    ],
)
def test_trees_are_told_below_what_they_share(
    settings: dict[str, str], base: str, trees: tuple[str, ...]
) -> None:
    root = RootSettings.model_validate(settings | {"layout": "dubbo"})

    assert root.base == base
    assert root.make_layout().trees == trees


@pytest.mark.parametrize("layout", ["dubbo", "curator", "serversets", "nerve", "json"])
def test_what_was_recognised_is_made(layout: str) -> None:
    assert RootSettings(path="/r").make_layout(layout).name == layout


def test_a_configuration_builds_its_adapter() -> None:
    assert config().build(AdapterContext("zk")).name == "zk"


def test_a_missing_client_library_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("adapter", "kazoo_session", "client"):
        monkeypatch.delitem(sys.modules, f"{OURS}.{module}", raising=False)
    monkeypatch.setitem(sys.modules, "kazoo.exceptions", None)

    with pytest.raises(ConfigError, match=r"meshbridge\[zookeeper\]"):
        config().build(AdapterContext("zk"))


def test_a_bug_in_the_adapter_is_not_taken_for_a_missing_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, f"{OURS}.adapter", None)

    with pytest.raises(ModuleNotFoundError):
        config().build(AdapterContext("zk"))


def test_sasl_without_its_package_is_an_error_of_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "puresasl", None)
    config = ZookeeperConfig.model_validate(
        {"name": "zk", "hosts": "zk1:2181", "roots": [{"path": "/dubbo"}], "sasl": {}}
    )

    with pytest.raises(ConfigError, match=r"meshbridge\[sasl\]"):
        config.build(AdapterContext("zk"))
