import pytest

from meshbridge.schemas import errors


def test_config_error_has_one_line_for_each_problem() -> None:
    error = errors.ConfigError(["a is wrong.", "b is missing."])

    assert error.problems == ("a is wrong.", "b is missing.")
    assert str(error) == "a is wrong.\nb is missing."


def test_registry_error_says_where_what_and_why() -> None:
    error = errors.RegistryUnavailable("vms", "read /etc/vms.yaml", "no such file")

    assert (error.source, error.operation, error.reason) == ("vms", "read /etc/vms.yaml", "no such file")
    assert str(error) == "vms: read /etc/vms.yaml: no such file"


def test_payload_error_names_the_record() -> None:
    error = errors.PayloadError("hosts[3]", "no address")

    assert (error.record, error.reason, str(error)) == ("hosts[3]", "no address", "hosts[3]: no address")


def test_sink_error_says_whether_trying_again_helps() -> None:
    error = errors.SinkError("kubernetes", "503", retryable=True)

    assert (error.sink, error.retryable, str(error)) == ("kubernetes", True, "kubernetes: 503")


@pytest.mark.parametrize(
    ("error", "bases"),
    [
        (errors.ConfigError, [errors.MeshbridgeError]),
        (errors.RegistryUnavailable, [errors.RegistryError, errors.MeshbridgeError]),
        (errors.RegistryDenied, [errors.RegistryError, errors.MeshbridgeError]),
        (errors.PayloadError, [errors.MeshbridgeError]),
        (errors.ConversionError, [errors.MeshbridgeError]),
        (errors.SinkError, [errors.MeshbridgeError]),
    ],
)
def test_errors_form_the_tree_of_the_docstring(error, bases) -> None:
    assert [base for base in error.__mro__[1:] if issubclass(base, errors.MeshbridgeError)] == bases
    assert error.__name__ in errors.__doc__
