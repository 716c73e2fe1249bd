import pytest
from pydantic import TypeAdapter, ValidationError

from meshbridge.schemas.settings import (
    ClientTls,
    Duration,
    Name,
    Secret,
    ServerTls,
    StrictModel,
    parse_duration,
)


class Model(StrictModel):
    interval: Duration = 1.5
    """How often."""
    token: Secret = Secret("")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("30s", 30.0),
        ("1m30s", 90.0),
        ("24h", 86400.0),
        ("1d", 86400.0),
        ("0.5s", 0.5),
        ("0s", 0.0),
    ],
)
def test_duration_is_read_as_seconds(text, seconds) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "value", ["", "30", "s", "30 s", "-1s", "1.s", "1w", "30S", "s30", 31, None, True, ["30s"]]
)
def test_anything_else_is_no_duration(value) -> None:
    with pytest.raises(ValueError, match="write a number and a unit"):
        parse_duration(value)


def test_parsed_durations_pass_again() -> None:
    model = Model(interval="2s")

    assert Model(**model.model_dump()) == model
    assert Model().interval == 1.5


def test_duration_is_a_text_in_the_json_schema() -> None:
    schema = Model.model_json_schema()["properties"]["interval"]

    assert schema["type"] == "string"
    assert schema["description"] == "How often."


def test_unknown_keys_are_refused_and_values_not_repeated() -> None:
    with pytest.raises(ValidationError) as refused:
        Model(intervall="hunter2")

    assert "intervall" in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_models_are_frozen_and_secrets_do_not_print() -> None:
    model = Model(token="hunter2")

    with pytest.raises(ValidationError):
        model.interval = 3.0
    assert "hunter2" not in repr(model)


def test_tls_of_a_client_needs_nothing_and_of_a_server_its_certificate() -> None:
    assert ClientTls() == ClientTls(ca_file="", cert_file="", key_file="", server_name="")
    with pytest.raises(ValidationError, match="cert_file"):
        ServerTls(key_file="key.pem")


@pytest.mark.parametrize(
    ("text", "legal"),
    [("vms-1", True), ("a" * 63, True), ("a" * 64, False), ("-a", False), ("A", False), ("a\n", False)],
)
def test_name_is_a_dns_label(text, legal) -> None:
    names = TypeAdapter(Name)

    if legal:
        assert names.validate_python(text) == text
    else:
        with pytest.raises(ValidationError):
            names.validate_python(text)
