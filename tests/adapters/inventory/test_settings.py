"""The configuration of an inventory source."""

import pytest
from pydantic import ValidationError

from meshbridge.adapters import ADAPTERS
from meshbridge.adapters.base import AdapterContext
from meshbridge.adapters.inventory.settings import InventoryConfig


def test_a_configuration_that_sets_everything_builds_its_adapter() -> None:
    config = ADAPTERS["inventory"].model_validate(
        {
            "name": "vms",
            "kind": "inventory",
            "required": False,
            "files": ["/etc/vms/*.yaml"],
            "urls": ["https://inventory.example.com/vms"],
            "commands": [["ansible-inventory", "--list"]],
            "format": "ansible",
            "tls": {"ca_file": "/etc/ca.pem"},
            "token_file": "/etc/token",
            "refresh": "30s",
            "timeout": "5s",
            "max_size": 1000,
            "allow_empty": True,
            "settle": "2s",
            "rescan": "1m",
            "labels_map": {"service": "job"},
            "ansible": {"groups": {"web": "shop"}, "port_var": "port"},
        }
    )

    assert config.build(AdapterContext("vms")).name == "vms"
    assert config.expand() == [config]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "at least one of files, urls and commands"),
        ({"urls": ["ftp://x"]}, "urls"),
        ({"urls": ["http://user:secret@x"]}, "urls"),
        ({"commands": [[]]}, "commands"),
        ({"commands": ["ls -l"]}, "commands"),
        ({"files": ["a"], "format": "ini"}, "format"),
        ({"files": ["a"], "max_size": 0}, "max_size"),
        ({"files": ["a"], "refresh": 5}, "refresh"),
        ({"files": ["a"], "file": "b"}, "file"),
    ],
)
def test_a_configuration_that_is_refused(settings, message) -> None:
    with pytest.raises(ValidationError, match=message) as raised:
        InventoryConfig.model_validate({"name": "vms", **settings})

    assert "secret" not in str(raised.value)


def test_every_field_says_what_it_is() -> None:
    assert [name for name, field in InventoryConfig.model_fields.items() if not field.description] == []
