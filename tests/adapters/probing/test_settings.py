"""Tests of the `probe` part of the configuration."""

from typing import Any

import pytest
from pydantic import ValidationError

from meshbridge.adapters.probing.settings import GrpcProbe, HttpProbe, ProbeSettings, TcpProbe


def parse(**probe: Any) -> ProbeSettings:
    return ProbeSettings.model_validate(probe)


def test_shortest_form_has_the_documented_defaults() -> None:
    settings = parse(tcp={}, interval="10s")

    assert settings == ProbeSettings(tcp=TcpProbe())
    assert (settings.timeout, settings.rise, settings.fall, settings.panic_min) == (1.0, 1, 3, 3)


def test_every_field_can_be_set() -> None:
    http = {
        "path": "/ready?deep=1",
        "port": "admin",
        "scheme": "https",
        "host": "pay.example",
        "headers": {"Authorization": "Bearer hush"},
        "statuses": [204, "300-399"],
        "tls": {"ca_file": "/ca.pem", "server_name": "pay.example"},
    }

    settings = parse(http=http, interval="30s", timeout="5s", initial_delay="1m", rise=2, fall=5, jitter=0.2)

    action = settings.action
    assert isinstance(action, HttpProbe)
    assert action.statuses == ((204, 204), (300, 399))
    assert [status for status in (200, 204, 299, 301, 400) if action.expects(status)] == [204, 301]


def test_header_values_never_print() -> None:
    settings = parse(http={"headers": {"Authorization": "Bearer hush"}})

    assert "hush" not in repr(settings)


def test_default_timeout_gives_way_to_a_short_interval() -> None:
    assert parse(tcp={}, interval="500ms").time_limit == 0.5


def test_a_copied_model_is_valid() -> None:
    settings = parse(http={"statuses": ["200-299"]})

    assert ProbeSettings.model_validate(settings.model_dump()) == settings


def test_schema_can_be_generated() -> None:
    schema = ProbeSettings.model_json_schema()

    assert schema["properties"]["interval"]["type"] == "string"
    assert all("description" in field for field in schema["properties"].values())


@pytest.mark.parametrize(
    ("probe", "words"),
    [
        ({}, "exactly one of"),
        ({"tcp": {}, "http": {}}, "exactly one of"),
        ({"tcp": {}, "timeout": "11s"}, "timeout must not be longer"),
        ({"tcp": {}, "interval": "0s"}, "above 0s"),
        ({"tcp": {}, "interval": 10}, "not a duration"),
        ({"tcp": {"port": 70000}}, "less than or equal to 65535"),
        ({"tcp": {"port": ""}}, "should match pattern"),
        ({"tcp": {}, "fall": 0}, "greater than or equal to 1"),
        ({"tcp": {}, "fal": 1}, "Extra inputs"),
        ({"http": {"path": "ready"}}, "should match pattern"),
        ({"http": {"statuses": ["ok"]}}, "neither a status"),
        ({"http": {"statuses": ["399-200"]}}, "ends before it begins"),
        ({"http": {"statuses": []}}, "at least 1 item"),
        ({"http": {"tls": {}}}, "need scheme: https"),
        ({"http": {"insecure_skip_verify": True}}, "need scheme: https"),
        (
            {"http": {"scheme": "https", "insecure_skip_verify": True, "tls": {"ca_file": "/ca.pem"}}},
            "useless",
        ),
    ],
)
def test_mistakes_are_named(probe: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        parse(**probe)


def test_actions_are_told_apart() -> None:
    assert parse(grpc={"service": "pay"}).action == GrpcProbe(service="pay")
