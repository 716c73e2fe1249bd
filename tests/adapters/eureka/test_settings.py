import pytest
from pydantic import ValidationError

from meshbridge.adapters import ADAPTERS
from meshbridge.adapters.eureka.settings import EurekaConfig


def config(**values: object) -> EurekaConfig:
    return EurekaConfig.model_validate({"name": "spring", **values})


def test_servers_of_our_zone_come_first_then_plain_ones_then_other_zones() -> None:
    found = config(
        urls=["http://u/eureka/"],
        zone="b",
        zones={"a": ["http://a/eureka"], "b": ["http://b1/eureka", "http://b2/eureka"]},
    )

    assert found.servers == {
        "http://b1/eureka": 0,
        "http://b2/eureka": 0,
        "http://u/eureka": 1,
        "http://a/eureka": 2,
    }


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({}, "at least one address"),
        ({"urls": ["http://user:secret@h/eureka"]}, "urls"),
        ({"urls": ["http://h/eureka?token=secret"]}, "urls"),
        ({"urls": ["h:8761"]}, "urls"),
        ({"urls": ["http://h"], "zone": "a"}, "no servers under zones"),
        ({"urls": ["http://h"], "username": "u", "token_file": "f"}, "exclude each other"),
        ({"urls": ["http://h"], "vip_hosts": "x.mesh"}, "{vip}"),
    ],
)
def test_mistakes_are_told_without_secrets(values: dict[str, object], text: str) -> None:
    with pytest.raises(ValidationError) as raised:
        config(**values)

    assert text in str(raised.value)
    assert "secret" not in str(raised.value)


def test_password_does_not_print() -> None:
    assert "s3cr3t" not in repr(config(urls=["http://h"], username="u", password="s3cr3t"))


def test_kind_is_registered() -> None:
    assert ADAPTERS["eureka"] is EurekaConfig
