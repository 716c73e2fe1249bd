"""`meshbridge record` and `meshbridge replay`."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from meshbridge.bridge.cli import output
from meshbridge.bridge.cli.exits import CommandError, ExitCode
from meshbridge.bridge.cli.options import ConfigFile
from meshbridge.bridge.cli.output import talk

if TYPE_CHECKING:
    from meshbridge.adapters.base import AdapterConfig

MEGABYTE = 1_000_000

Recorded = Annotated[Path, typer.Argument(help="The recording.", metavar="RECORDING")]
SourceName = Annotated[str, typer.Option("--source", "-s", metavar="SOURCE", help="Name of the source.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(
        epilog="\b\nExample:\n"
        "  meshbridge record vms.jsonl -c meshbridge.yaml --source vms --seconds 60\n"
        "\nThe file holds addresses and metadata of the registry, and no secrets. "
        "adapters/recording.py documents its format."
    )(record)
    app.command(
        epilog="\b\nExample:\n"
        "  meshbridge replay vms.jsonl -c meshbridge.yaml --source vms --speed 10\n"
        "\nRuns like `meshbridge run`, with the recording in the place of that source."
    )(replay)


def record(
    file: Recorded,
    config: ConfigFile,
    source: SourceName,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.1, metavar="SECONDS", help="How long to record.")
    ] = 60.0,
    max_megabytes: Annotated[
        int, typer.Option("--max-megabytes", min=1, metavar="MB", help="Greatest size of the file.")
    ] = 100,
) -> None:
    """Write down what one source says.

    For bug reports and benchmarks. Watches the registry beside a running bridge and serves nothing.
    """
    import asyncio

    output.log_to_stderr("warning")
    found = _source(config, source)
    try:
        lines = asyncio.run(_record(found, file, seconds, max_megabytes * MEGABYTE))
    except OSError as error:
        raise CommandError(f"{file}: {error.strerror or error}") from error
    talk(f"{file}: {lines} events of {source}")


async def _record(config: "AdapterConfig", path: Path, seconds: float, max_bytes: int) -> int:
    import asyncio
    import contextlib

    from meshbridge.adapters.base import AdapterContext
    from meshbridge.adapters.recording import Recording
    from meshbridge.bridge.supervise import Supervised
    from meshbridge.schemas.registry import SourceEvent

    count = 0

    async def emit(_event: SourceEvent) -> None:
        nonlocal count
        count += 1

    with path.open("wb") as file:
        adapter = Recording(Supervised(config.build(AdapterContext(config.name))), file, max_bytes)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await adapter.run(emit)
    return count


def replay(
    file: Recorded,
    config: ConfigFile,
    source: SourceName,
    speed: Annotated[
        float,
        typer.Option("--speed", min=0.0, metavar="TIMES", help="How many times faster; 0: at once."),
    ] = 1.0,
) -> None:
    """Serve what a recording holds.

    It stands in the place of a source of the configuration.

    Ends when interrupted.
    """
    import asyncio

    from meshbridge.adapters.recording import ReplayConfig, read
    from meshbridge.bridge.app import serve

    try:
        next(iter(read(file)), None)
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise CommandError(f"{file}: {reason}", ExitCode.USAGE) from error
    replaced = _source(config, source)
    said = ReplayConfig(name=source, required=replaced.required, file=str(file), speed=speed)
    asyncio.run(serve(config, replays={source: said}))


def _source(path: Path, name: str) -> "AdapterConfig":
    """Return the part of the configuration that describes a source, or one part of what it is split into."""
    from meshbridge.bridge.config.loading import load
    from meshbridge.bridge.watching import expanded

    configured = load(path, os.environ).sources
    parts = {part.name: part for part in expanded(configured)}
    if name not in parts:
        from meshbridge.bridge.wording import did_you_mean

        guess = did_you_mean(name, parts)
        raise CommandError(
            f'there is no source "{name}"{guess}; known are {", ".join(parts)}', ExitCode.USAGE
        )
    return parts[name]
