"""The errors meshbridge raises on purpose.

MeshbridgeError
├── ConfigError            the configuration is wrong: every problem at once, exit code 2, no traceback
├── RegistryError          a source can't be read; the client library's error is its cause
│   ├── RegistryUnavailable    retry with back-off: timeout, refused, 5xx, an unreadable file
│   └── RegistryDenied         retry slowly and say it loudly: 401, 403, permissions
├── PayloadError           one record is malformed: counted, its last good reading kept
├── ConversionError        one mesh service can't be expressed: quarantined, its last valid resource kept
└── SinkError              a sink did not take a publication
"""

from collections.abc import Sequence


class MeshbridgeError(Exception):
    """Base of everything meshbridge raises on purpose."""


class ConfigError(MeshbridgeError):
    """The configuration can't be used; `problems` has one complete sentence for each mistake."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class RegistryError(MeshbridgeError):
    """A source can't be read now; what is known of it stays in force."""

    def __init__(self, source: str, operation: str, reason: str) -> None:
        super().__init__(f"{source}: {operation}: {reason}")
        self.source = source
        self.operation = operation
        self.reason = reason


class RegistryUnavailable(RegistryError):  # noqa: N818 - the field's word, as in gRPC's UNAVAILABLE
    """The registry doesn't answer, or not in a usable way; trying again helps."""


class RegistryDenied(RegistryError):  # noqa: N818 - the field's word
    """The registry refuses us; only an operator can help."""


class PayloadError(MeshbridgeError):
    """One record of a registry is malformed; its neighbours are fine."""

    def __init__(self, record: str, reason: str) -> None:
        super().__init__(f"{record}: {reason}")
        self.record = record
        self.reason = reason


class ConversionError(MeshbridgeError):
    """One mesh service can't be expressed as Istio resources."""


class SinkError(MeshbridgeError):
    """A sink did not take a publication."""

    def __init__(self, sink: str, reason: str, *, retryable: bool) -> None:
        super().__init__(f"{sink}: {reason}")
        self.sink = sink
        self.retryable = retryable
