"""What a check found: verdicts that say what to do. Pure."""

from enum import StrEnum

import msgspec


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


class Finding(msgspec.Struct, frozen=True, gc=False):
    """One thing that was looked at."""

    level: Level
    subject: str
    """What was looked at: `config sources`, `TLS`, ..."""
    text: str
    """What was found, and what to do about it."""


def ok(subject: str, text: str) -> Finding:
    """Return a finding that all is well."""
    return Finding(Level.OK, subject, text)


def warning(subject: str, text: str) -> Finding:
    """Return a finding that something may be wrong, or could not be looked at."""
    return Finding(Level.WARNING, subject, text)


def failed(subject: str, text: str) -> Finding:
    """Return a finding that something doesn't work like this."""
    return Finding(Level.FAILED, subject, text)
