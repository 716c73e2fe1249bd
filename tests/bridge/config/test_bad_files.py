"""Every file in bad/ has a mistake or several; the table says where each is and how it is explained."""

from pathlib import Path

import jsonschema
import pytest
import yaml

from meshbridge.bridge.config.loading import load
from meshbridge.bridge.config.schema import schema
from meshbridge.schemas.errors import ConfigError

BAD = Path(__file__).parent / "bad"

EXPECTED = {
    "bad-choice": [
        '3: log.level: unknown value "inof", allowed: debug, error, info, warning; did you mean "info"?',
        "4: log.format: must be one of console, json (3)",
    ],
    "bad-cidr": ['3: rules[0].match.address[1]: "10.0.0.0/33" is not an IP address or CIDR'],
    "bad-duration": [
        "3: safety.window: 60 is not a duration; write a number and a unit",
        "4: safety.hold: 'ten minutes' is not a duration",
    ],
    "bad-label": ["4: rules[0].set.labels.on: must be a text; put it in quotes (true)"],
    "bad-listen": [
        '2: admin.listen: "localhost" is not an address to listen on; write HOST:PORT',
        '3: outputs.mcp.listen: "::1:16010" needs brackets around its IPv6 address: [::1]:16010',
    ],
    "bad-match-value": [
        "5: rules[0].match.metadata.version: must be a text or a list of texts; put numbers in quotes (2)"
    ],
    "bad-name": [
        "2: sources[0].name: must be lower-case letters, digits and inner hyphens, at most 63 (My_VMs)"
    ],
    "bad-number-tag": ["2: safety.min_removed: not a valid int"],
    "bad-numbers": [
        "3: safety.min_removed: must be a whole number (1.5)",
        "4: safety.max_removed_percent: must be at most 100.0 (101)",
    ],
    "bad-port": [
        "3: rules[0].match.port: 70000 is not a port, which is a number from 1 to 65535",
        "5: rules[0].set.ports.http: must be at least 1 (0)",
    ],
    "bad-regex": ['4: rules[0].match.service: "/shop-(/" is not a regular expression: missing )'],
    "bad-resolution": [
        '3: rules[0].set.resolution: unknown value "DNSS", allowed: DNS, STATIC; did you mean "DNS"?'
    ],
    "bad-template": ['3: defaults.host: unknown variable "{sevice}", known are address, attributes.KEY'],
    "bad-template-brace": ['3: defaults.host: "{" without its partner in "{service.mesh"; write "{{"'],
    "bad-weight": ["3: rules[0].set.weight: must be a number, or a template that gives one (true)"],
    "complex-key": ["2: a key must be a text"],
    "duplicate-key": ['4: log.level: duplicate key "level", first on line 3'],
    "duplicate-names": [
        '5: sources[2].name: the name "vms" is taken by sources[0]; names of sources must differ'
    ],
    "reserved-name": [
        "1: sources[0].name: `meshbridge release config` is about the configuration; choose another name"
    ],
    "empty-section": ["2: log: must be a mapping (key: value) (nothing is written; leave the key out"],
    "kubernetes": [
        "3: outputs.kubernetes.enabled: mcp and kubernetes are both on, and istiod would get every resource"
    ],
    "kubernetes-group": ["4: outputs.kubernetes.group: "],
    "workload-group": ["4: rules[0].set.endpoints: istiod reads WorkloadGroups from Kubernetes alone"],
    "kubernetes-output-off": ['4: rules[0].set.output: the output "kubernetes" is off'],
    "list": ["1: must be a mapping: sources:"],
    "merge-key": ["3: log: merge keys (<<) are not supported"],
    "missing-kind": ["2: sources[0].kind: is missing; allowed: consul, eureka, inventory, zookeeper"],
    "missing-name": ["2: sources[0].name: is missing; it is required"],
    "missing-sources": ["1: sources: is missing; it is required"],
    "no-sources": ["1: sources: needs at least one source"],
    "open-admin": [
        '3: admin.listen: ":16080" is reachable from elsewhere; set token_file, or listen on 127.0.0.1'
    ],
    "mcp-allow": ["5: outputs.mcp.allow: clients are told apart by their certificates"],
    "mcp-allow-patterns": [
        "5: outputs.mcp.allow[0]: needs exactly one of spiffe, san, cn",
        "6: outputs.mcp.allow[1]: needs exactly one of spiffe, san, cn",
        '7: outputs.mcp.allow[2].kinds[0]: unknown value "Gateway", allowed: ServiceEntry, WorkloadEntry',
    ],
    "plaintext-anywhere": [
        '4: outputs.mcp.listen: "0.0.0.0:16010" is reachable from elsewhere and has no TLS'
    ],
    "recursive": ["2: rules[0]: an alias that contains itself"],
    "rule-drop-and-keep": ["3: rules[0]: drop and keep exclude each other; leave one out"],
    "rule-drop-and-set": ["3: rules[0]: a rule with drop can't set anything; leave out drop or set"],
    "rule-nothing": ["3: rules[0]: the rule decides nothing; add set, drop or keep"],
    "scalar-tag": ["2: log.level: the tag !secret is not supported"],
    "several": [
        '1: soruces: unknown key "soruces"; did you mean "sources"? allowed: admin, defaults, log, outputs,',
        "5: sources[0].files[0]: the environment variable NOT_SET is not set",
        "7: rules[0].match.source: must be a text or a list of texts",
        '8: rules[0].set.host: unknown variable "{sevice}"',
        "10: safety.window: 60 is not a duration",
        '11: admin.listen: "0.0.0.0:16080" is reachable from elsewhere',
    ],
    "source-not-mapping": ["2: sources[0]: must be a mapping (key: value) (vms)"],
    "syntax": ["3: not valid YAML: did not find expected ',' or '}'"],
    "tag": ["2: log: the tag tag:yaml.org,2002:python/object/apply:os.system is not supported"],
    "tls-without-key": ["4: outputs.mcp.tls.key_file: is missing; it is required"],
    "two-documents": ["2: a second YAML document begins here"],
    "rule-preset": [
        '3: rules[0].set.preset: "dubo2istio" is no preset, known are consul2istio, dubbo2istio, ',
        "4: rules[1].set: preset gives the host; leave out preset or host",
        '5: rules[2].set.hosts[0]: "{id}" may differ between the instances of a service; here only {service}',
        '5: rules[2].set.subject_alt_names[0]: "{metadata.san}" may differ between the instances',
        '6: rules[3].set.revision: "blue green" is not a revision; allowed are at most 63 letters',
        '7: rules[4].set.host: unknown filter "lowr", known are after(MARK), before(MARK), ',
        "8: rules[5].set.weight: 0 is not a weight, which is a number from 1 to 2147483647",
        "9: defaults: preset gives the host; leave out preset or host",
    ],
    "virtual-ip-range": [
        '2: defaults.virtual_ip_range: "10.0.0.0/24" is not an IPv4 network of at least /16',
        '3: safety.hosts.deny[0]: "/(/" is not a regular expression: missing )',
    ],
    "virtual-ip-words": [
        '2: defaults.virtual_ips: unknown value "some", allowed: all, none, tcp',
        '2: defaults.virtual_ip_range: "fd00::/8" is not an IPv4 network of at least /16',
    ],
    "unknown-key": ['1: soruces: unknown key "soruces"; did you mean "sources"? allowed: admin, defaults,'],
    "unknown-kind": [
        '3: sources[0].kind: unknown kind "inventry", allowed: consul, eureka, inventory, zookeeper; '
        'did you mean "inventory"?'
    ],
    "unknown-nested-key": [
        '3: rules[0].match.servcie: unknown key "servcie"; did you mean "service"? allowed:'
    ],
    "unknown-source-key": ['5: sources[0].pasword: unknown key "pasword"; '],
    "variable": [
        "5: sources[0].files[0]: the environment variable NOT_SET is not set",
        '6: sources[0].files[1]: malformed variable; write ${NAME}, or $${ for a literal "${"',
    ],
}

ONLY_THE_LOADER_SEES = {
    # What is lost once YAML is read, or needs more than a schema can say.
    *("bad-cidr", "bad-listen", "bad-port", "bad-regex", "bad-template", "bad-template-brace"),
    *(
        "complex-key",
        "duplicate-key",
        "duplicate-names",
        "kubernetes",
        "kubernetes-output-off",
        "workload-group",
        "merge-key",
        "no-sources",
    ),
    "reserved-name",
    *(
        "mcp-allow",
        "mcp-allow-patterns",
        "open-admin",
        "plaintext-anywhere",
        "recursive",
        "rule-drop-and-keep",
        "rule-drop-and-set",
        "virtual-ip-range",
    ),
    *("rule-nothing", "scalar-tag", "bad-number-tag", "syntax", "tag", "two-documents", "variable"),
}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_bad_file_gives_every_mistake_with_its_line(name: str) -> None:
    file = BAD / f"{name}.yaml"

    with pytest.raises(ConfigError) as raised:
        load(file, {})

    problems = raised.value.problems
    assert len(problems) == len(EXPECTED[name]), problems
    for problem, words in zip(problems, EXPECTED[name], strict=True):
        assert problem.startswith(f"{file}:{words}")
        assert "\n" not in problem


def test_every_bad_file_is_in_the_table() -> None:
    assert {file.stem for file in BAD.glob("*.yaml")} == set(EXPECTED)


@pytest.mark.parametrize("name", sorted(set(EXPECTED) - ONLY_THE_LOADER_SEES))
def test_schema_refuses_bad_file(name: str) -> None:
    content = yaml.safe_load((BAD / f"{name}.yaml").read_text())

    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema()).validate(content)


def test_value_of_an_unknown_key_is_not_shown() -> None:
    with pytest.raises(ConfigError) as raised:
        load(BAD / "unknown-source-key.yaml", {})

    assert "hunter2" not in str(raised.value)
