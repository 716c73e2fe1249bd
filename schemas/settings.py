"""Types of configuration values that several models share. The one module of schemas/ that uses pydantic."""

import re
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, WithJsonSchema

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def parse_duration(value: object) -> float:
    """Return the seconds that a text such as `30s`, `1m30s` or `250ms` means.

    Raises:
        ValueError: anything else, bare numbers included (their unit would be a guess).
    """
    if isinstance(value, float):  # Already parsed: a model's default, or a copy of a model.
        return value
    if not isinstance(value, str) or not re.fullmatch(f"(?:{_DURATION.pattern})+", value):
        raise ValueError(f"{value!r} is not a duration; write a number and a unit: 250ms, 30s, 5m, 24h, 1d")
    return sum(float(number) * _UNITS[unit] for number, unit in _DURATION.findall(value))


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    WithJsonSchema({"type": "string", "pattern": "^([0-9]+(\\.[0-9]+)?(ms|s|m|h|d))+$", "examples": ["30s"]}),
]
"""Seconds, written as `250ms`, `30s`, `1m30s`, `24h`."""

Secret = SecretStr
"""A text that never prints."""


class StrictModel(BaseModel):
    """Base of every configuration model: unknown keys are errors, docstrings become descriptions."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True
    )


class ClientTls(StrictModel):
    """TLS towards a server we read from."""

    ca_file: str = ""
    """PEM file with the authorities to trust. Default: the system's."""
    cert_file: str = ""
    """PEM file with our certificate, for servers that ask for one (mutual TLS)."""
    key_file: str = ""
    """PEM file with the key of our certificate."""
    server_name: str = ""
    """Name to expect in the server's certificate. Default: the host of the address."""


class ServerTls(StrictModel):
    """TLS of a listener of ours."""

    cert_file: str
    """PEM file with the certificate chain."""
    key_file: str
    """PEM file with the key."""
    client_ca_file: str = ""
    """PEM file with the authorities of client certificates; set, it makes client certificates required."""


Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
"""A DNS label: lower-case letters, digits, inner hyphens, at most 63 characters."""
