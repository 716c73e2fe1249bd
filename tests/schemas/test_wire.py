import subprocess
import sys

import msgspec
import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from meshbridge.schemas import protobuf, wire
from meshbridge.schemas.errors import PayloadError
from meshbridge.schemas.istio import (
    Location,
    Resolution,
    ServiceEntry,
    ServicePort,
    WorkloadEntry,
    WorkloadGroup,
)
from meshbridge.schemas.proto import meshbridge_networking_pb2 as pb
from meshbridge.schemas.registry import labels
from meshbridge.schemas.resource import Kind, ResourceKey, resource

MESSAGES = {
    Kind.SERVICE_ENTRY: pb.ServiceEntry,
    Kind.WORKLOAD_ENTRY: pb.WorkloadEntry,
    Kind.WORKLOAD_GROUP: pb.WorkloadGroup,
}
GOLDEN_BODY = (
    "0a126f72646572732e6c65676163792e6d65736812093234302e312e322e331a0f08903f1204485454501a0468747470"
    "2001280132480a0831302e302e302e31120a0a046874747010a08d011a0d0a0361707012066f72646572731a0d0a0776"
    "657273696f6e120276312a0765752f65752d3130c8013a066f7264657273"
)
GOLDEN_VERSION = "46baa350f9bedc7ac59dfc29bca11967"
kinds = pytest.mark.parametrize("kind", Kind)


def message_of(kind, spec):
    return json_format.ParseDict(msgspec.to_builtins(spec), MESSAGES[kind]())


@kinds
@given(data=st.data())
def test_encoded_specs_are_read_by_protobuf_and_decode_to_the_same(kind, data, spec_strategies) -> None:
    spec = data.draw(spec_strategies.any[kind])

    body = wire.encode(spec)

    assert MESSAGES[kind].FromString(body) == message_of(kind, spec)
    assert wire.decode(kind, body) == spec


@kinds
@given(data=st.data())
def test_encoding_is_protobufs_deterministic_one(kind, data, spec_strategies) -> None:
    # Where one key of a map begins another, Python's protobuf puts the longer one first; C++ and Go don't,
    # and neither do we. So such keys are left out here.
    spec = data.draw(spec_strategies.prefix_free[kind])

    body = wire.encode(spec)

    assert body == message_of(kind, spec).SerializeToString(deterministic=True)


def test_key_that_begins_another_comes_first() -> None:
    assert (
        wire.encode(WorkloadEntry(labels={"ab": "", "a": ""}))
        == b"\x1a\x05\n\x01a\x12\x00\x1a\x06\n\x02ab\x12\x00"
    )


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (WorkloadGroup(template=WorkloadEntry()), pb.WorkloadGroup(template=pb.WorkloadEntry())),
        (WorkloadEntry(ports={"b": 0, "a": 1}), pb.WorkloadEntry(ports={"a": 1, "b": 0})),
        (WorkloadEntry(labels={"b": "", "a": "1"}), pb.WorkloadEntry(labels={"a": "1", "b": ""})),
    ],
)
def test_defaults_inside_messages_and_maps_are_as_protobuf_writes_them(spec, message) -> None:
    assert wire.encode(spec) == message.SerializeToString(deterministic=True)


def test_bytes_and_version_of_a_service_entry_are_pinned() -> None:
    # A change here changes every version in every mesh at the next upgrade: it needs a reason.
    spec = ServiceEntry(
        hosts=("orders.legacy.mesh",),
        addresses=("240.1.2.3",),
        ports=(ServicePort(number=8080, name="http", protocol="HTTP"),),
        location=Location.MESH_INTERNAL,
        resolution=Resolution.STATIC,
        endpoints=(
            WorkloadEntry(
                address="10.0.0.1",
                ports={"http": 18080},
                labels={"version": "v1", "app": "orders"},
                locality="eu/eu-1",
                weight=200,
                service_account="orders",
            ),
        ),
    )
    key = ResourceKey(Kind.SERVICE_ENTRY, "legacy", "orders")

    body = wire.encode(spec)
    found = resource(key, body, labels({"app": "orders"}), labels({"meshbridge.io/source": "vms"}))

    assert body.hex() == GOLDEN_BODY
    assert found.version == GOLDEN_VERSION


def test_labels_in_another_order_give_the_same_bytes() -> None:
    left = WorkloadEntry(address="10.0.0.1", labels={"a": "1", "b": "2"}, ports={"x": 1, "y": 2})
    right = WorkloadEntry(address="10.0.0.1", labels={"b": "2", "a": "1"}, ports={"y": 2, "x": 1})

    assert wire.encode(left) == wire.encode(right)


def test_decoded_maps_are_sorted() -> None:
    body = wire.encode(WorkloadEntry(labels={str(n): "" for n in range(20)}))

    decoded = wire.decode(Kind.WORKLOAD_ENTRY, body)

    assert list(decoded.labels) == sorted(decoded.labels)


@kinds
@pytest.mark.parametrize("body", [b"\x0a\xff", b"\xff", b"\x0a\x02\xc3\x28"])
def test_bytes_that_are_no_such_message_are_a_payload_error(kind, body) -> None:
    with pytest.raises(PayloadError, match=f"not the protobuf of a {kind}"):
        wire.decode(kind, body)


@pytest.mark.parametrize("field", [4, 5])
@pytest.mark.parametrize("number", [9, -1])
def test_unknown_enum_number_is_a_payload_error(field, number) -> None:
    with pytest.raises(PayloadError):
        wire.decode(Kind.SERVICE_ENTRY, protobuf.int32(field, number))


@given(data=st.data())
def test_endpoints_encoded_before_give_the_same_bytes(data, spec_strategies) -> None:
    spec = data.draw(spec_strategies.any[Kind.SERVICE_ENTRY])
    bare = msgspec.structs.replace(spec, endpoints=())

    found = wire.encode_service(
        bare, [wire.encode_endpoint(one.address, wire.encode_rest(one)) for one in spec.endpoints]
    )

    assert found == wire.encode(spec)


@pytest.mark.parametrize("weight", [-1, 1 << 32])
def test_number_that_does_not_fit_is_refused(weight) -> None:
    with pytest.raises(ValueError, match="not a uint32"):
        wire.encode(WorkloadEntry(weight=weight))


def test_importing_the_encoder_does_not_import_protobuf() -> None:
    program = "import sys, meshbridge.schemas.wire; sys.exit('google.protobuf' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
