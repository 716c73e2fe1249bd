"""The configuration of a Consul source."""

import sys

import pytest
from pydantic import ValidationError

from meshbridge.adapters.base import AdapterContext
from meshbridge.adapters.consul.records import Scope
from meshbridge.adapters.consul.settings import ConsulConfig
from meshbridge.schemas.errors import ConfigError


def config(**settings: object) -> ConsulConfig:
    return ConsulConfig(name="dcs", **settings)


def test_the_local_agent_is_the_default() -> None:
    assert config().agents == ("http://127.0.0.1:8500",)
    assert config().expand() == [config()]
    assert config().scope == Scope()


@pytest.mark.parametrize(
    "address", ["http://user:pw@host:8500", "ftp://host", "host:8500", "http://host/path", "unix://relative"]
)
def test_an_address_of_another_form_is_refused(address: str) -> None:
    with pytest.raises(ValidationError):
        config(address=address)


def test_address_and_addresses_exclude_each_other() -> None:
    with pytest.raises(ValidationError, match="exclude"):
        config(address="http://a:8500", addresses=["http://b:8500"])
    assert config(addresses=["http://b:8500/", "unix:///run/c"]).agents == ("http://b:8500", "unix:///run/c")


def test_each_datacenter_is_a_failure_domain() -> None:
    parts = config(datacenters=["dc1", "DC_2"]).expand()

    assert [part.name for part in parts] == ["dcs/dc1", "dcs/DC_2"]
    assert [part.scope.parameters for part in parts] == [{"dc": "dc1"}, {"dc": "DC_2"}]
    assert [part.expand() for part in parts] == [[parts[0]], [parts[1]]]


def test_one_datacenter_keeps_the_name() -> None:
    parts = config(datacenters=["dc1"]).expand()

    assert [(part.name, part.scope.datacenter) for part in parts] == [("dcs", "dc1")]


def test_datacenters_namespaces_and_peers_multiply() -> None:
    parts = config(datacenters=["a", "b"], namespaces=["x", "y"], peers=["p"], partition="q").expand()

    assert [part.name for part in parts] == ["dcs/a.x", "dcs/a.y", "dcs/b.x", "dcs/b.y"]
    assert parts[1].scope == Scope("a", "y", "q", "p")
    assert not parts[1].scope.has_servers


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (
        "meshbridge.adapters.consul.adapter",
        "meshbridge.adapters.consul.transport",
        "meshbridge.adapters.consul.client",
        "meshbridge.adapters.consul.watch",
        "meshbridge.adapters.consul.intake",
        "meshbridge.adapters.consul.hot",
        "meshbridge.adapters.consul.reads",
    ):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, "consul", None)

    with pytest.raises(ConfigError, match=r"meshbridge\[consul\]"):
        config().build(AdapterContext("dcs"))
