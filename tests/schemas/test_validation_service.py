"""Each row: what a ServiceEntry has, and the field and severity that are found, None when it is accepted."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshbridge.schemas.istio import (
    Location,
    Resolution,
    ServiceEntry,
    ServicePort,
    WorkloadEntry,
    WorkloadSelector,
)
from meshbridge.schemas.resource import Kind
from meshbridge.schemas.validation import Severity, has_errors, validate

ERROR, WARNING = Severity.ERROR, Severity.WARNING
HTTP = ServicePort(number=80, name="http", protocol="HTTP")
TCP = ServicePort(number=90, name="tcp", protocol="TCP")
UNSET = ServicePort(number=91, name="any")
VALID = ServiceEntry(
    hosts=("orders.mesh",),
    location=Location.MESH_INTERNAL,
    resolution=Resolution.STATIC,
    ports=(HTTP,),
    endpoints=(WorkloadEntry(address="10.0.0.1"),),
)
NONE, DNS, ROUND_ROBIN, DYNAMIC = (
    Resolution.NONE,
    Resolution.DNS,
    Resolution.DNS_ROUND_ROBIN,
    Resolution.DYNAMIC_DNS,
)
ONE = (WorkloadEntry(address="10.0.0.1"),)
NAMED = (WorkloadEntry(address="vm.example.com"),)
UNIX = (WorkloadEntry(address="unix:///run/app.sock"),)
DYNAMIC_ENTRY = {"resolution": DYNAMIC, "endpoints": (), "hosts": ("*.mesh",)}


def found(spec, labels=(), namespace="legacy"):
    problems = validate(Kind.SERVICE_ENTRY, namespace, "orders", spec, labels)
    return [(problem.severity, problem.field) for problem in problems]


def ports(count):
    return tuple(ServicePort(number=n + 1, name=f"p{n}", protocol="HTTP") for n in range(count))


def test_a_valid_entry_has_no_problems() -> None:
    assert found(VALID) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        # hosts
        ({"hosts": ()}, (ERROR, "hosts")),
        ({"hosts": ("*",)}, (ERROR, "hosts[0]")),
        ({"hosts": ("a_b.mesh",)}, (ERROR, "hosts[0]")),
        ({"hosts": ("Orders.Mesh",)}, None),
        ({"hosts": ("orders.mesh.",)}, None),
        ({"hosts": ("orders..mesh",)}, (ERROR, "hosts[0]")),
        ({"hosts": ("10.0.0.1",)}, (ERROR, "hosts[0]")),
        ({"hosts": ("orders.1a",)}, None),
        ({"hosts": ("a" * 63 + ".mesh",)}, None),
        ({"hosts": ("a" * 64 + ".mesh",)}, (ERROR, "hosts[0]")),
        ({"hosts": (".".join(["a" * 50] * 5),)}, None),
        ({"hosts": (".".join(["a" * 51] * 5),)}, (ERROR, "hosts[0]")),
        ({"hosts": ("*.mesh",)}, None),
        ({"hosts": ("*x.mesh",)}, (WARNING, "hosts[0]")),
        ({"hosts": ("*-x.mesh",)}, (WARNING, "hosts[0]")),
        ({"hosts": ("x.*.mesh",)}, (ERROR, "hosts[0]")),
        ({"hosts": ("*.1",)}, (ERROR, "hosts[0]")),
        ({"hosts": ("*." + ".".join(["a" * 50] * 5),)}, (ERROR, "hosts[0]")),
        ({"hosts": tuple(f"h{n}.mesh" for n in range(256))}, None),
        ({"hosts": tuple(f"h{n}.mesh" for n in range(257))}, (ERROR, "hosts")),
        # addresses
        ({"addresses": ("240.0.0.1", "2001:db8::1", "10.0.0.0/8", "2001:db8::/32")}, None),
        ({"addresses": ("240.0.0.01",)}, (ERROR, "addresses[0]")),
        ({"addresses": ("orders.mesh",)}, (ERROR, "addresses[0]")),
        ({"addresses": ("10.0.0.0/33",)}, (ERROR, "addresses[0]")),
        ({"addresses": ("10.0.0.0/255.0.0.0",)}, (ERROR, "addresses[0]")),
        ({"addresses": ("10.0.0.0/8",), "resolution": DNS}, (ERROR, "addresses[0]")),
        ({"addresses": ("10.0.0.0",), "resolution": DNS}, None),
        ({"addresses": ("10.0.0.0/8",), "resolution": NONE, "endpoints": ()}, None),
        ({"addresses": ("x" * 65,)}, (ERROR, "addresses[0]")),
        ({"addresses": ("10.0.0.1",) * 256}, None),
        ({"addresses": ("10.0.0.1",) * 257}, (ERROR, "addresses")),
        # ports
        ({"ports": ()}, None),
        ({"ports": (HTTP, ServicePort(number=81, name="http", protocol="HTTP"))}, (ERROR, "ports")),
        ({"ports": (HTTP, ServicePort(number=80, name="web", protocol="HTTP"))}, (ERROR, "ports")),
        ({"ports": (ServicePort(number=65535, name="Web-1", protocol="grpc-WEB", target_port=65535),)}, None),
        ({"ports": (ServicePort(number=0, name="a"),)}, (ERROR, "ports[0].number")),
        ({"ports": (ServicePort(number=65536, name="a"),)}, (ERROR, "ports[0].number")),
        ({"ports": (ServicePort(number=1, name="a", target_port=65536),)}, (ERROR, "ports[0].targetPort")),
        ({"ports": (ServicePort(number=1, name="a_b"),)}, (ERROR, "ports[0].name")),
        ({"ports": (ServicePort(number=1, name=""),)}, (ERROR, "ports[0].name")),
        ({"ports": (ServicePort(number=1, name="a" * 63),)}, None),
        ({"ports": (ServicePort(number=1, name="a" * 64),)}, (ERROR, "ports[0].name")),
        ({"ports": (ServicePort(number=1, name="a", protocol="dubbo"),)}, (ERROR, "ports[0].protocol")),
        ({"ports": (ServicePort(number=1, name="a", protocol="Mongo"),)}, None),
        ({"ports": ports(256)}, None),
        ({"ports": ports(257)}, (ERROR, "ports")),
        ({"ports": (TCP,)}, None),
        ({"ports": (TCP,), "hosts": ("*.mesh",)}, (WARNING, "addresses")),
        ({"ports": (UNSET,), "resolution": NONE, "endpoints": ()}, (WARNING, "addresses")),
        ({"ports": (TCP,), "resolution": NONE, "endpoints": (), "addresses": ("10.0.0.1",)}, None),
        # several hosts
        ({"hosts": ("a.mesh", "b.mesh")}, None),
        ({"hosts": ("a.mesh", "b.mesh"), "ports": (TCP,)}, (ERROR, "ports[0].protocol")),
        (
            {"hosts": ("a.mesh", "b.mesh"), "ports": (ServicePort(number=1, name="a", protocol="TLS"),)},
            None,
        ),
        (
            {
                "hosts": ("a.mesh", "b.mesh"),
                "ports": (TCP,),
                "resolution": NONE,
                "endpoints": (),
                "addresses": ("240.0.0.1",),
            },
            None,
        ),
        (
            {"hosts": ("a.mesh", "b.mesh"), "ports": (TCP,), "resolution": DNS, "addresses": ("240.0.0.1",)},
            (WARNING, "hosts"),
        ),
        # the selector
        ({"endpoints": (), "workload_selector": WorkloadSelector({"app": "a"})}, None),
        ({"workload_selector": WorkloadSelector({"app": "a"})}, (ERROR, "workloadSelector")),
        ({"endpoints": (), "workload_selector": WorkloadSelector()}, (WARNING, "workloadSelector.labels")),
        (
            {"endpoints": (), "workload_selector": WorkloadSelector({"": "a"})},
            (ERROR, "workloadSelector.labels"),
        ),
        (
            {"endpoints": (), "workload_selector": WorkloadSelector({"a*": "a"})},
            (ERROR, "workloadSelector.labels"),
        ),
        (
            {"endpoints": (), "workload_selector": WorkloadSelector({"a": "*"})},
            (ERROR, "workloadSelector.labels"),
        ),
        (
            {"endpoints": (), "workload_selector": WorkloadSelector({"a": "a" * 64})},
            (ERROR, "workloadSelector.labels"),
        ),
        (
            {"endpoints": (), "workload_selector": WorkloadSelector({str(n): "" for n in range(257)})},
            (ERROR, "workloadSelector.labels"),
        ),
        # resolution NONE
        ({"resolution": NONE, "endpoints": ()}, None),
        ({"resolution": NONE}, (ERROR, "endpoints")),
        (
            {"resolution": NONE, "endpoints": (), "workload_selector": WorkloadSelector({"a": "b"})},
            (WARNING, "workloadSelector"),
        ),
        # resolution STATIC
        ({"endpoints": NAMED}, (ERROR, "endpoints[0].address")),
        ({"endpoints": UNIX}, None),
        ({"endpoints": UNIX, "ports": (HTTP, TCP)}, (ERROR, "endpoints[0].address")),
        ({"endpoints": ONE * 4096}, None),
        ({"endpoints": ONE * 4097}, (ERROR, "endpoints")),
        # resolution DNS and DNS_ROUND_ROBIN
        ({"resolution": DNS, "endpoints": ()}, None),
        ({"resolution": DNS, "endpoints": (), "hosts": ("*.mesh",)}, (ERROR, "hosts[0]")),
        ({"resolution": DNS, "endpoints": ONE + NAMED, "hosts": ("*.mesh",)}, None),
        ({"resolution": DNS, "endpoints": UNIX}, (ERROR, "endpoints[0].address")),
        ({"resolution": ROUND_ROBIN, "endpoints": NAMED}, None),
        ({"resolution": ROUND_ROBIN, "endpoints": NAMED * 2}, (ERROR, "endpoints")),
        # resolution DYNAMIC_DNS
        (DYNAMIC_ENTRY, None),
        (DYNAMIC_ENTRY | {"hosts": ("*x.mesh",)}, None),
        (DYNAMIC_ENTRY | {"hosts": ("a.mesh",)}, (ERROR, "hosts[0]")),
        (DYNAMIC_ENTRY | {"addresses": ("240.0.0.1",)}, (ERROR, "addresses")),
        (DYNAMIC_ENTRY | {"endpoints": ONE}, (ERROR, "endpoints")),
        (
            DYNAMIC_ENTRY | {"ports": (ServicePort(number=1, name="a", protocol="redis"),)},
            (ERROR, "ports[0].protocol"),
        ),
        # exportTo
        ({"export_to": (".", "other", "Third")}, None),
        ({"export_to": ("*",)}, None),
        ({"export_to": ("~",)}, None),
        ({"export_to": (".", "legacy")}, (ERROR, "exportTo")),
        ({"export_to": ("*", "other")}, (ERROR, "exportTo[0]")),
        ({"export_to": ("other", "~")}, (ERROR, "exportTo[1]")),
        ({"export_to": ("a.b",)}, (ERROR, "exportTo[0]")),
        # subjectAltNames
        ({"subject_alt_names": ("spiffe://cluster.local/ns/a/sa/b",)}, None),
        ({"subject_alt_names": ("",)}, (ERROR, "subjectAltNames[0]")),
        ({"subject_alt_names": ("a\n",)}, (ERROR, "subjectAltNames[0]")),
        # endpoints are judged with the ports and names of the entry
        ({"endpoints": (WorkloadEntry(address="10.0.0.1", ports={"http": 8080}),)}, None),
        (
            {"endpoints": (WorkloadEntry(address="10.0.0.1", ports={"web": 8080}),)},
            (ERROR, "endpoints[0].ports[web]"),
        ),
        (
            {
                "endpoints": (
                    *ONE,
                    WorkloadEntry(address="10.0.0.2", labels={"security.istio.io/tlsMode": "istio"}),
                )
            },
            (ERROR, "endpoints[1].labels[security.istio.io/tlsMode]"),
        ),
        (
            {
                "endpoints": (
                    WorkloadEntry(address="10.0.0.2", labels={"security.istio.io/tlsMode": "istio"}),
                ),
                "subject_alt_names": ("spiffe://cluster.local/ns/a/sa/b",),
            },
            None,
        ),
    ],
)
def test_service_entry(changes, expected) -> None:
    spec = msgspec.structs.replace(VALID, **changes)

    problems = found(spec)

    assert expected in problems if expected else problems == []


def test_switched_off_allocation_leaves_a_tcp_port_without_address() -> None:
    spec = msgspec.structs.replace(VALID, ports=(TCP,))

    problems = found(spec, {"networking.istio.io/enable-autoallocate-ip": "false"})

    assert problems == [(WARNING, "addresses")]


def test_waypoint_forbids_dynamic_dns_inside_the_mesh() -> None:
    spec = msgspec.structs.replace(VALID, **DYNAMIC_ENTRY)
    outside = msgspec.structs.replace(spec, location=Location.MESH_EXTERNAL)
    labels = {"istio.io/use-waypoint": "waypoint"}

    assert found(spec, labels) == [(ERROR, "location")]
    assert found(outside, labels) == []


@given(data=st.data())
def test_specs_made_to_be_valid_have_no_errors(data, spec_strategies) -> None:
    kind = data.draw(st.sampled_from(Kind))

    problems = validate(kind, "legacy", "orders", data.draw(spec_strategies.valid[kind]))

    assert not has_errors(problems)


@given(data=st.data())
def test_any_spec_can_be_judged(data, spec_strategies) -> None:
    kind = data.draw(st.sampled_from(Kind))

    problems = validate(kind, "legacy", "orders", data.draw(spec_strategies.any[kind]))

    assert all(problem.field and problem.text for problem in problems)
