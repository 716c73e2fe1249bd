"""Configurations of other bridges, imported: what comes out can be loaded, and what is missing is said."""

from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from meshbridge.bridge.config.loading import loads
from meshbridge.bridge.config.models import Config
from meshbridge.bridge.migrate.draft import Draft, split_host, text
from meshbridge.bridge.migrate.flags import from_consul2istio, from_dubbo2istio
from meshbridge.bridge.migrate.higress import from_mcp_bridge
from meshbridge.bridge.migrate.meshregistry import from_args


def config(draft: Draft) -> Config:
    """Return the configuration that the draft's text means."""
    return loads(text(draft).encode(), "imported.yaml", {})


def plain(draft: Draft) -> Any:
    config(draft)
    return yaml.safe_load(text(draft))


HIGRESS = """
apiVersion: networking.higress.io/v1
kind: McpBridge
metadata: {name: default, namespace: higress-system}
spec:
  registries:
  - {type: zookeeper, name: zk, domain: zk.infra, port: 2181, zkServicesPath: [/spring, /dubbo, /services]}
  - {type: eureka, name: spring, domain: eureka.infra, port: 8761}
  - type: consul
    name: dc
    domain: consul.infra
    port: 8500
    consulDatacenter: dc1
    consulServiceTag: mesh
    consulRefreshInterval: 10
    authSecretName: consul-token
    protocol: http
  - {type: nacos2, name: n, domain: nacos.infra, port: 8848}
  - {type: static, name: vms, domain: "10.0.0.1:80", port: 80}
"""


def test_mcp_bridge_becomes_a_source_for_each_registry_that_there_is() -> None:
    found = plain(from_mcp_bridge(yaml.safe_load(HIGRESS)))

    assert found["sources"] == [
        {
            "name": "zk",
            "kind": "zookeeper",
            "hosts": "zk.infra:2181",
            "roots": [
                {"path": "/dubbo", "layout": "dubbo"},
                {"path": "/services", "layout": "curator"},
                {"path": "/spring", "layout": "curator"},
            ],
        },
        {"name": "spring", "kind": "eureka", "urls": ["http://eureka.infra:8761/eureka"]},
        {
            "name": "dc",
            "kind": "consul",
            "address": "http://consul.infra:8500",
            "datacenters": ["dc1"],
            "tags": ["mesh"],
        },
    ]


def test_hosts_of_higress_go_on() -> None:
    rules = plain(from_mcp_bridge(yaml.safe_load(HIGRESS)))["rules"]

    assert [(rule["match"]["source"], rule["set"]["preset"]) for rule in rules] == [
        ("zk/dubbo", "higress-dubbo"),
        ("zk", "higress-spring-zookeeper"),
        ("spring", "higress-eureka"),
        ("dc", "higress-consul"),
    ]


def test_what_of_a_mcp_bridge_is_not_taken_along_is_noted() -> None:
    draft = from_mcp_bridge(yaml.safe_load(HIGRESS))

    notes = "\n".join(draft.notes)
    assert "registry n: there is no source for the type nacos2" in notes
    assert "registry vms: there is no source for the type static; list its endpoints in an inventory" in notes
    assert "registry dc: mount the secret consul-token and name its file with token_file" in notes
    assert "registry dc.consulRefreshInterval is not needed" in notes
    assert "registry dc.protocol is not taken along" in notes
    assert all(f"# - {note}\n" in text(draft) for note in draft.notes)


def test_list_of_mcp_bridges_is_taken_as_kubectl_prints_it() -> None:
    draft = from_mcp_bridge(
        {"kind": "McpBridgeList", "items": [yaml.safe_load(HIGRESS), yaml.safe_load(HIGRESS)]}
    )

    assert [source["name"] for source in draft.sources] == ["zk", "spring", "dc", "zk-2", "spring-2", "dc-2"]
    config(draft)


@pytest.mark.parametrize(
    "document", [None, [], "text", {}, {"spec": 3}, {"spec": {"registries": [{"type": "dns"}]}}]
)
def test_document_without_a_registry_that_there_is_gives_nothing(document: object) -> None:
    with pytest.raises(ValueError, match="nothing to import"):
        text(from_mcp_bridge(document))


MESHREGISTRY = """
name: meshregistry
kind: meshregistry
general:
  LEGACY:
    Revision: canary
    Mcp: {ServerUrl: "xds://0.0.0.0:16010", EnableIncPush: false}
    EurekaSource:
      Enabled: true
      RefreshPeriod: 15s
      SvcPort: 80
      Servers:
      - {RegistryID: east, Address: ["http://east/eureka"]}
      - {RegistryID: west, Address: ["http://west/eureka"]}
    ZookeeperSource:
      Enabled: true
      Address: ["zk1:2181", "zk2"]
      HostSuffix: .dubbo
      EnableDubboSidecar: true
      EndpointSelectors:
      - matchLabels: {env: prod}
        ExcludeIPRanges: {CIDRs: ["10.9.0.0/16"], IPs: ["10.1.1.1"]}
      - matchLabels: {env: canary}
      InstanceMetaRelabel:
        Items:
        - {Key: ver, TargetKey: version, CreatedWithValue: v1, ValuesMapping: {"1.0": v1, "2.0": v2}}
        - {Key: lost}
    NacosSource: {Enabled: true, Address: ["http://nacos"]}
"""


def test_arguments_of_meshregistry_become_sources() -> None:
    found = plain(from_args(yaml.safe_load(MESHREGISTRY)))

    assert found["sources"] == [
        {
            "name": "zookeeper",
            "kind": "zookeeper",
            "hosts": "zk1:2181,zk2:2181",
            "roots": [{"path": "/dubbo", "layout": "dubbo"}],
        },
        {"name": "east", "kind": "eureka", "urls": ["http://east/eureka"], "poll_interval": "15s"},
        {"name": "west", "kind": "eureka", "urls": ["http://west/eureka"], "poll_interval": "15s"},
    ]
    assert found["outputs"] == {"mcp": {"listen": "0.0.0.0:16010", "plaintext": "anywhere"}}


def test_selectors_and_relabelling_become_rules() -> None:
    rules = plain(from_args(yaml.safe_load(MESHREGISTRY)))["rules"]

    zookeeper = [rule for rule in rules if rule.get("match", {}).get("source") == "zookeeper"]
    assert zookeeper == [
        {"match": {"source": "zookeeper", "address": ["10.1.1.1", "10.9.0.0/16"]}, "drop": True},
        {"match": {"source": "zookeeper", "metadata": {"env": "prod"}}, "keep": True},
        {"match": {"source": "zookeeper", "metadata": {"env": "canary"}}, "keep": True},
        {"name": "chosen by no selector", "match": {"source": "zookeeper"}, "drop": True},
        {
            "match": {"source": "zookeeper"},
            "set": {"labels": {"version": "{metadata.ver:map(1.0=v1,2.0=v2)|v1}"}},
        },
        {"match": {"source": "zookeeper"}, "set": {"preset": "meshregistry-dubbo", "namespace": "dubbo"}},
    ]
    assert rules[-1] == {"name": "revision", "set": {"revision": "canary"}}


def test_what_of_the_arguments_is_not_taken_along_is_noted() -> None:
    notes = from_args(yaml.safe_load(MESHREGISTRY)).notes

    assert "NacosSource: there is no source of this kind" in notes
    assert "EurekaSource.SvcPort is not taken along" in notes
    assert "ZookeeperSource.EnableDubboSidecar is not taken along" in notes
    assert "zookeeper: an item of InstanceMetaRelabel lacks Key or TargetKey" in notes
    assert any("listens in plaintext" in note for note in notes)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda args: args,
        lambda args: {"general": {"LEGACY": args}},
        lambda args: {"data": {"cfg": "bundle: {}", "cfg_mesh": yaml.dump({"general": {"LEGACY": args}})}},
        lambda args: {"data": {"cfg": "a: [", "cfg_mesh": yaml.dump(args)}},
    ],
    ids=["bare", "module", "configmap", "beside a broken one"],
)
def test_arguments_are_found_wherever_they_stand(wrap: Callable[[Any], Any]) -> None:
    args = {"EurekaSource": {"Enabled": True, "Address": ["http://e/eureka"]}}

    assert config(from_args(wrap(args))).sources[0].name == "eureka"


def test_service_naming_becomes_a_host_template() -> None:
    naming = {
        "Sep": "-",
        "Items": [
            {"Kind": "$", "Value": "service"},
            {"Kind": "meta", "Value": "group"},
            {"Kind": "static", "Value": "x{y}"},
            {"Kind": "$", "Value": "port"},
        ],
    }
    draft = from_args(
        {
            "EurekaSource": {
                "Enabled": True,
                "Address": ["http://e"],
                "SvcProtocol": "HTTP",
                "ServiceNaming": naming,
            }
        }
    )

    assert draft.rules[-1]["set"]["host"] == "{service}-{metadata.group}-x{{y}}"
    assert draft.rules[-1]["set"]["protocol"] == "http"
    assert "ServiceNaming: ports can't be part of a host; it is named without" in draft.notes
    config(draft)


def test_options_of_zookeeper_are_taken_or_noted() -> None:
    source = {
        "Enabled": True,
        "Address": ["zk"],
        "ApplicationRegisterRootNode": "/services",
        "HostSuffix": ".x",
        "SvcProtocol": "DUBBO",
        "EndpointSelectors": [{"matchExpressions": [{"key": "a"}]}],
        "ServicedEndpointSelectors": {"a": []},
    }

    draft = from_args({"ZookeeperSource": source, "Mcp": {"ServerUrl": "xds://127.0.0.1:1"}, "Other": 1})

    found = plain(draft)
    assert found["sources"][0]["roots"][0]["applications"] == "/services"
    assert found["outputs"] == {"mcp": {"listen": "127.0.0.1:1"}}
    notes = "\n".join(draft.notes)
    assert 'hosts end in .dubbo where the original has ".x"' in notes
    assert "SvcProtocol DUBBO is none that istiod knows" in notes
    assert "matchExpressions have to be written as rules" in notes
    assert "ServicedEndpointSelectors has to be written" in notes
    assert "arguments.Other is not taken along" in notes


def test_document_without_arguments_says_what_was_looked_for() -> None:
    with pytest.raises(ValueError, match="it has none of ZookeeperSource, EurekaSource"):
        text(from_args({"a": {"b": {"c": {}}}}))


def test_flags_of_consul2istio_with_a_domain() -> None:
    draft = from_consul2istio(
        ["--consulAddress=consul:8500", "-fqdn", "consul.mesh", "-enableDefaultPort=false"]
    )

    found = plain(draft)
    assert found["sources"] == [{"name": "consul", "kind": "consul", "address": "http://consul:8500"}]
    assert found["defaults"] == {"namespace": "istio-system", "host": "{service}.consul.mesh"}
    assert len(draft.notes) == 1


def test_flags_of_consul2istio_by_default() -> None:
    draft = from_consul2istio([])

    assert plain(draft)["defaults"] == {"namespace": "istio-system", "preset": "consul2istio"}
    assert any("no port 80 is added" in note for note in draft.notes)
    assert any("bare service names" in note for note in draft.notes)


def test_flags_of_dubbo2istio() -> None:
    found = plain(from_dubbo2istio(["-type", "zookeeper", "-name", "Prod", "-addr", "zk1,zk2:2182"]))

    assert found["sources"][0] == {
        "name": "prod",
        "kind": "zookeeper",
        "hosts": "zk1:2181,zk2:2182",
        "roots": [{"path": "/dubbo", "layout": "dubbo"}],
    }
    assert found["rules"][0]["set"]["labels"] == {"version": "{metadata.aeraki_meta_app_version}"}


@pytest.mark.parametrize(
    ("make", "arguments", "words"),
    [
        (from_dubbo2istio, ["-type", "nacos", "-addr", "n"], "no source for the registry type nacos"),
        (from_dubbo2istio, [], "-addr is missing"),
        (from_dubbo2istio, ["-x", "1"], "dubbo2istio: unrecognized arguments"),
        (from_consul2istio, ["-fqdn"], "consul2istio: argument -fqdn/--fqdn: expected one argument"),
    ],
)
def test_flags_that_can_not_be_used_say_why(make: Any, arguments: list[str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        text(make(arguments))


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("zk", "zk:2181"),
        ("zk:1", "zk:1"),
        ("http://u:p@zk:1/x", "zk:1"),
        ("[::1]", "[::1]:2181"),
        ("[::1]:7", "[::1]:7"),
    ],
)
def test_addresses_get_their_port(address: str, expected: str) -> None:
    assert split_host(address, 2181) == expected


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)


@given(
    st.lists(
        st.fixed_dictionaries(
            {"type": st.sampled_from(["zookeeper", "eureka", "consul"])},
            optional={"name": st.text(max_size=70), "domain": values, "zkServicesPath": values},
        ),
        max_size=4,
    )
)
def test_any_registries_give_a_draft(registries: list[Any]) -> None:
    draft = from_mcp_bridge({"registries": registries})

    assert len(draft.sources) == len(registries)
    assert len({source["name"] for source in draft.sources}) == len(registries)


@given(
    st.dictionaries(
        st.sampled_from(["ZookeeperSource", "EurekaSource", "Mcp"]),
        st.fixed_dictionaries(
            {"Enabled": st.just(True)},
            optional={
                "Address": values,
                "EndpointSelectors": values,
                "InstanceMetaRelabel": values,
                "ServiceNaming": values,
                "Servers": values,
                "ServerUrl": values,
            },
        ),
    )
)
def test_any_arguments_give_a_draft(args: Any) -> None:
    assert from_args(args).origin
