import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from meshbridge.schemas import manifest, wire
from meshbridge.schemas.errors import PayloadError
from meshbridge.schemas.istio import Location, Resolution, ServiceEntry, ServicePort, WorkloadEntry
from meshbridge.schemas.registry import labels
from meshbridge.schemas.resource import Kind, ResourceKey, resource

KEY = ResourceKey(Kind.SERVICE_ENTRY, "legacy", "orders")
ENTRY = ServiceEntry(
    hosts=("orders.mesh",),
    location=Location.MESH_INTERNAL,
    resolution=Resolution.STATIC,
    ports=(ServicePort(number=80, name="http", protocol="HTTP"),),
    endpoints=(
        WorkloadEntry(address="10.0.0.1", labels={"version": "1e3", "app": "y"}, service_account="orders"),
        WorkloadEntry(address="10.0.0.2", labels={"version": "1e3", "app": "y"}, service_account="orders"),
    ),
)
kinds = pytest.mark.parametrize("kind", Kind)


def made(spec, kind=Kind.SERVICE_ENTRY, object_labels=(), annotations=()):
    key = ResourceKey(kind, "legacy", "orders")
    return resource(key, wire.encode(spec), labels(object_labels), labels(annotations))


def test_yaml_is_what_kubectl_takes() -> None:
    found = made(ENTRY, object_labels={"app": "orders"}, annotations={"meshbridge.io/note": "a: 1\nb"})

    assert manifest.to_yaml([found]) == (
        "---\n"
        "apiVersion: networking.istio.io/v1\n"
        "kind: ServiceEntry\n"
        "metadata:\n"
        "  name: orders\n"
        "  namespace: legacy\n"
        "  labels:\n"
        "    app: orders\n"
        "  annotations:\n"
        '    meshbridge.io/note: "a: 1\\nb"\n'
        "spec:\n"
        "  hosts:\n"
        "  - orders.mesh\n"
        "  location: MESH_INTERNAL\n"
        "  resolution: STATIC\n"
        "  ports:\n"
        "  - number: 80\n"
        "    name: http\n"
        "    protocol: HTTP\n"
        "  endpoints:\n"
        '  - address: "10.0.0.1"\n'
        "    labels:\n"
        '      app: "y"\n'
        '      version: "1e3"\n'
        "    serviceAccount: orders\n"
        '  - address: "10.0.0.2"\n'
        "    labels:\n"
        '      app: "y"\n'
        '      version: "1e3"\n'
        "    serviceAccount: orders\n"
    )


@kinds
@given(data=st.data())
def test_objects_of_valid_specs_pass_istios_crd_and_read_back_the_same(
    kind, data, spec_strategies, validate_crd
) -> None:
    spec = data.draw(spec_strategies.valid[kind])
    found = made(spec, kind, {"app": "a"}, {"x": "y"})

    (read,) = yaml.safe_load_all(manifest.to_yaml([found]))

    validate_crd(read)
    assert read == manifest.to_object(found)
    assert manifest.from_object(read) == (found.key, found.labels, found.annotations, spec)


def test_crd_schema_refuses_what_it_should(validate_crd) -> None:
    found = manifest.to_object(made(ENTRY))
    found["spec"]["ports"][0]["number"] = -1

    with pytest.raises(
        pytest.fail.Exception, match=r"\$.spec.ports\[0\].number: -1 is less than the minimum"
    ):
        validate_crd(found)


@given(text=st.text(st.characters(codec="utf-8")))
@example(text="---\n...")
@example(text="\u2028\x85\ufeff\U0001f600")
def test_any_text_comes_back_from_yaml(text) -> None:
    found = made(ENTRY, annotations={"a": text, "b": text})

    (read,) = yaml.safe_load_all(manifest.to_yaml([found]))

    assert read["metadata"]["annotations"] == {"a": text, "b": text}


@pytest.mark.parametrize(
    "text",
    ["y", "No", "ON", "null", "1e3", "0x1F", "1_000", "0o7", ".5", "~", "", "1:30", "2026-01-01", "NaN"],
)
def test_texts_that_some_reader_takes_for_something_else_are_quoted(text) -> None:
    assert f'a: "{text}"\n' in manifest.to_yaml([made(ENTRY, annotations={"a": text})])


def test_several_resources_are_several_documents_without_aliases() -> None:
    text = manifest.to_yaml([made(ENTRY), made(ENTRY.endpoints[0], Kind.WORKLOAD_ENTRY)])

    assert [found["kind"] for found in yaml.safe_load_all(text)] == ["ServiceEntry", "WorkloadEntry"]
    assert "&" not in text
    assert manifest.to_yaml([]) == ""


def test_object_has_plain_values_and_no_empty_maps() -> None:
    found = manifest.to_object(made(ENTRY))

    assert found["metadata"] == {"name": "orders", "namespace": "legacy"}
    assert {type(found["kind"]), type(found["spec"]["location"])} == {str}


def test_foreign_object_may_lack_istios_defaults_and_have_more() -> None:
    foreign = {
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "ServiceEntry",
        "metadata": {"name": "orders", "namespace": "legacy", "uid": "1"},
        "spec": {"hosts": ["orders.mesh"], "new": True},
        "status": {},
    }

    _, object_labels, annotations, spec = manifest.from_object(foreign)

    assert spec == ServiceEntry(("orders.mesh",), Location.MESH_EXTERNAL, Resolution.NONE)
    assert object_labels == annotations == ()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"apiVersion": "v1"}, "ServiceEntry legacy/orders: apiVersion is 'v1'"),
        ({"kind": "Pod"}, r"object: .* `\$.kind`"),
        ({"metadata": {"name": "a"}}, r"object: .*`namespace`.* `\$.metadata`"),
        ({"metadata": {"name": "a", "namespace": "b", "labels": {"x": 1}}}, r"`\$.metadata.labels\[...\]`"),
        ({"spec": None}, r"ServiceEntry legacy/orders: Expected `object`, got `null` - at `\$.spec`"),
        ({"spec": {"hosts": "a"}}, r"Expected `array`, got `str` - at `\$.spec.hosts`"),
        (
            {"spec": {"hosts": ["a"], "endpoints": [{}, {"weight": "1"}]}},
            r"Expected `int`, got `str` - at `\$.spec.endpoints\[1\].weight`",
        ),
        ({"spec": {"hosts": ["a"], "resolution": "static"}}, r"`\$.spec.resolution`"),
    ],
)
def test_malformed_object_is_a_payload_error_with_its_place(change, reason) -> None:
    with pytest.raises(PayloadError, match=reason):
        manifest.from_object(manifest.to_object(made(ENTRY)) | change)


def test_what_is_no_object_is_a_payload_error() -> None:
    with pytest.raises(PayloadError, match="object: Expected `object`, got `array`"):
        manifest.from_object([])
