"""How commands end: the exit codes that scripts rely on."""

from enum import IntEnum


class ExitCode(IntEnum):
    """What an exit code means."""

    OK = 0
    FAILED = 1
    """It did not work, or what was asked for is not there, or differs."""
    USAGE = 2
    """The command line or the configuration is wrong."""
    UNREACHABLE = 3
    """No running bridge answers."""
    INTERRUPTED = 130
    BROKEN_PIPE = 141
    """The reader went away, as for any program of a pipeline."""


class CommandError(Exception):
    """Ends a command with a message for people and an exit code for scripts."""

    def __init__(self, message: str, code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.code = code
