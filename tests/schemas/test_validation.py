import pytest

from meshbridge.schemas.istio import WorkloadEntry
from meshbridge.schemas.problems import shown
from meshbridge.schemas.registry import labels
from meshbridge.schemas.resource import Kind
from meshbridge.schemas.validation import Severity, has_errors, validate

ERROR, WARNING = Severity.ERROR, Severity.WARNING
SPEC = WorkloadEntry(address="10.0.0.1")
VALID = {"namespace": "legacy", "name": "vm-1.eu", "labels": labels({"app": "a"}), "annotations": ()}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, None),
        ({"namespace": "a" * 63}, None),
        ({"namespace": "a" * 64}, (ERROR, "metadata.namespace")),
        ({"namespace": "Legacy"}, (ERROR, "metadata.namespace")),
        ({"namespace": "a.b"}, (ERROR, "metadata.namespace")),
        ({"namespace": ""}, (ERROR, "metadata.namespace")),
        ({"name": "a" * 253}, None),
        ({"name": "a" * 254}, (ERROR, "metadata.name")),
        ({"name": "a/b"}, (ERROR, "metadata.name")),
        ({"name": "a_b"}, (ERROR, "metadata.name")),
        ({"name": ""}, (ERROR, "metadata.name")),
        ({"labels": {"app": "b c"}}, (ERROR, "metadata.labels[app]")),
        ({"labels": {"b c": ""}}, (ERROR, "metadata.labels")),
        ({"annotations": {"acme.io/note": "any \n text é"}}, None),
        ({"annotations": {"a b": ""}}, (ERROR, "metadata.annotations")),
        ({"annotations": {"a": "x" * (1 << 18)}}, (ERROR, "metadata.annotations")),
        ({"annotations": {"a": "x" * ((1 << 18) - 1)}}, None),
        ({"annotations": {"a": "\ud800"}}, (ERROR, "metadata.annotations[a]")),
        (
            {"annotations": {"proxy.istio.io/health-checks-enabled": "true"}},
            (WARNING, "metadata.annotations"),
        ),
        ({"annotations": {"proxy.istio.io/health-checks-enabled": "false"}}, None),
    ],
)
def test_metadata(changes, expected) -> None:
    case = VALID | changes

    problems = validate(kind=Kind.WORKLOAD_ENTRY, spec=SPEC, **case)

    assert [(problem.severity, problem.field) for problem in problems] == ([expected] if expected else [])


def test_spec_of_another_kind_is_refused() -> None:
    problems = validate(Kind.SERVICE_ENTRY, "legacy", "a", SPEC)

    assert [(problem.severity, problem.field) for problem in problems] == [(ERROR, "spec")]


def test_text_names_the_value_and_what_is_allowed_and_whose_rule_it_is() -> None:
    spec = WorkloadEntry(address="127.0.0.01", service_account="a b")

    texts = {problem.field: problem.text for problem in validate(Kind.WORKLOAD_ENTRY, "legacy", "a", spec)}

    assert "'127.0.0.01'" in texts["address"]
    assert "no brackets, zone or leading zeros" in texts["address"]
    assert "'a b'" in texts["serviceAccount"]
    assert "meshbridge's rule" in texts["serviceAccount"]
    assert "meshbridge's rule" not in texts["address"]


def test_long_value_is_shown_in_part() -> None:
    assert shown("a" * 100) == "'" + "a" * 79 + "..."
    assert shown("a" * 78) == "'" + "a" * 78 + "'"


def test_only_errors_forbid_publishing() -> None:
    warnings = validate(Kind.WORKLOAD_ENTRY, "legacy", "a", WorkloadEntry(network="eu"))
    errors = validate(Kind.WORKLOAD_ENTRY, "legacy", "a", WorkloadEntry())

    assert warnings
    assert not has_errors(warnings)
    assert has_errors(errors)
