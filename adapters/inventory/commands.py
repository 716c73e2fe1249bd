"""Documents that a command prints: no shell, bounded in time and output, never left running."""

import asyncio
import contextlib
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Sequence

from meshbridge.adapters.inventory.documents import Failure

_CHUNK = 64 * 1024
_KEPT_OF_STDERR = 200
"""Characters of the last line a failed command wrote to its error output."""


class CommandDocument:
    """One command."""

    def __init__(self, argv: Sequence[str], name: str, *, max_size: int, timeout: float) -> None:
        self.name = name
        self._argv = tuple(argv)
        self._max_size = max_size
        self._timeout = timeout

    async def read(self) -> bytes:
        """Return what the command prints.

        Raises:
            Failure: it can't be started, fails, prints too much, or takes too long.
        """
        try:
            async with asyncio.timeout(self._timeout):
                return await self._run()
        except TimeoutError as error:
            raise Failure("timeout", f"it did not end within {self._timeout:g} seconds") from error

    async def _run(self) -> bytes:
        try:
            # A session of its own, so that the children of the command can be ended with it.
            process = await asyncio.create_subprocess_exec(
                *self._argv, stdin=DEVNULL, stdout=PIPE, stderr=PIPE, start_new_session=True
            )
        except OSError as error:
            raise Failure("command", f"it can't be started: {error.strerror}") from error
        try:
            return await self._output(process)
        finally:
            await _end(process)

    async def _output(self, process: Process) -> bytes:
        if process.stdout is None or process.stderr is None:
            raise AssertionError("both are pipes")
        async with asyncio.TaskGroup() as tasks:
            output = tasks.create_task(
                _bounded(process.stdout, self._max_size + 1), name=f"stdout of {self.name}"
            )
            errors = tasks.create_task(_last(process.stderr), name=f"stderr of {self.name}")
        if len(output.result()) > self._max_size:
            raise Failure("too_large", f"it prints more than max_size ({self._max_size} bytes)")
        status = await process.wait()
        if status != 0:
            said = f": {errors.result()}" if errors.result() else ""
            raise Failure("command", f"exit status {status}{said}")
        return output.result()


async def _bounded(stream: asyncio.StreamReader, limit: int) -> bytes:
    """Return at most `limit` bytes of a stream; what comes after is read and forgotten."""
    kept = bytearray()
    while chunk := await stream.read(_CHUNK):
        kept += chunk[: limit - len(kept)]
    return bytes(kept)


async def _last(stream: asyncio.StreamReader) -> str:
    """Return the last line of a stream, shortened."""
    kept = b""
    while chunk := await stream.read(_CHUNK):
        kept = (kept + chunk)[-4096:]
    lines = kept.decode("utf-8", "replace").split("\n")
    line = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return "".join(c for c in line if c.isprintable())[:_KEPT_OF_STDERR]


async def _end(process: Process) -> None:
    """Kill whatever of the command still runs, its children included, and wait for it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
