"""Tests of what is checked: WorkloadGroup probes and ports."""

import pytest

from meshbridge.adapters.probing.plan import port_to_probe, workload_probe
from meshbridge.adapters.probing.settings import GrpcProbe, HttpProbe, ProbeSettings, TcpProbe
from meshbridge.schemas.errors import PayloadError
from meshbridge.schemas.registry import Instance, Port
from meshbridge.schemas.settings import Secret

PORTS = (Port("web", 8080), Port("admin", 9090))


def test_workload_probe_has_istios_defaults() -> None:
    assert workload_probe('{"tcpSocket": {"port": 8080}}') == ProbeSettings(
        tcp=TcpProbe(port=8080), interval=10.0, timeout=1.0, initial_delay=0.0, rise=1, fall=3
    )


def test_workload_probe_keeps_its_timing() -> None:
    probe = workload_probe(
        '{"initialDelaySeconds": 5, "timeoutSeconds": 3, "periodSeconds": 4, "successThreshold": 2,'
        ' "failureThreshold": 6, "grpc": {"service": "pay"}}'
    )

    assert probe == ProbeSettings(
        grpc=GrpcProbe(service="pay"), interval=4.0, timeout=3.0, initial_delay=5.0, rise=2, fall=6
    )


def test_workload_probe_may_wait_longer_than_its_period() -> None:
    probe = workload_probe('{"timeoutSeconds": 20, "tcpSocket": {"port": 1}}')

    assert (probe.interval, probe.time_limit) == (20.0, 20.0)


def test_https_workload_probe_takes_any_certificate_and_its_headers() -> None:
    probe = workload_probe(
        '{"httpGet": {"path": "ready", "port": 8443, "scheme": "HTTPS", "host": "127.0.0.1",'
        ' "httpHeaders": [{"name": "X-Probe", "value": "1"}]}}'
    )

    assert probe.action == HttpProbe(
        path="/ready", port=8443, scheme="https", headers={"X-Probe": Secret("1")}, insecure_skip_verify=True
    )


@pytest.mark.parametrize(
    ("host", "sent"), [("pay.example", "pay.example"), ("localhost", ""), ("::1", ""), ("10.0.0.1", "")]
)
def test_only_a_name_becomes_the_host_header(host: str, sent: str) -> None:
    action = workload_probe(f'{{"httpGet": {{"port": 80, "host": "{host}"}}}}').action

    assert isinstance(action, HttpProbe)
    assert action.host == sent


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"exec": {"command": ["true"]}}', "exec probes run on the workload"),
        ("{}", "exactly one of"),
        ("{", "is no probe"),
        ('{"tcpSocket": {"port": "x"}}', "is no probe"),
        ('{"tcpSocket": {"port": 70000}}', "is no usable probe"),
        ('{"tcpSocket": {"port": 80}, "timeoutSeconds": -1}', "is no usable probe"),
        ('{"tcpSocket": {"port": 80}, "initialDelaySeconds": -1}', "is no usable probe"),
        ('{"httpGet": {"port": 80, "path": "/a b"}}', "is no usable probe"),
        ("[" * 100_000, "is no probe"),
    ],
)
def test_unusable_workload_probes_are_refused_with_the_reason(text: str, words: str) -> None:
    with pytest.raises(PayloadError, match=words):
        workload_probe(text)


@pytest.mark.parametrize(("wanted", "number"), [(None, 8080), ("admin", 9090), (22, 22)])
def test_port_is_the_first_the_named_or_the_given_one(wanted: int | str | None, number: int) -> None:
    probe = ProbeSettings(tcp=TcpProbe(port=wanted))

    assert port_to_probe(Instance("a", "10.0.0.1", PORTS), probe) == number


@pytest.mark.parametrize(
    ("instance", "words"),
    [
        (Instance("a", "10.0.0.1"), "a: has no port named 'grpc' to probe"),
        (Instance("a", "10.0.0.1", PORTS), "a: has no port named 'grpc' to probe"),
        (Instance("a", "unix:///run/pay.sock", PORTS), "a: has no network address"),
        (Instance("a", "", PORTS), "a: has no network address"),
    ],
)
def test_instances_that_cannot_be_probed_are_refused(instance: Instance, words: str) -> None:
    with pytest.raises(PayloadError, match=words):
        port_to_probe(instance, ProbeSettings(tcp=TcpProbe(port="grpc")))


def test_an_instance_without_ports_cannot_be_probed() -> None:
    with pytest.raises(PayloadError, match="a: has no port to probe"):
        port_to_probe(Instance("a", "10.0.0.1"), ProbeSettings(tcp=TcpProbe()))
