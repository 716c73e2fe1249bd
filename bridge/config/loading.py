"""Reading the configuration file: a `Config`, or everything that is wrong with it at once."""

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import ValidationError

from meshbridge.bridge.config.document import MAX_BYTES, Node, Problem, parse
from meshbridge.bridge.config.models import Config, duplicate_source, repeated
from meshbridge.bridge.config.problems import render, translate
from meshbridge.schemas.errors import ConfigError


def load(path: Path, environ: Mapping[str, str] = os.environ) -> Config:
    """Return the configuration that the file holds.

    Raises:
        ConfigError: the file can't be read or used; it has a line for every mistake.
    """
    return loads(read(path), str(path), environ)


def read(path: Path) -> bytes:
    """Return the content of the file.

    Raises:
        ConfigError: it can't be read, is no regular file, or is too large.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # Opening a pipe would wait for a writer.
            raise ConfigError([f"{path}: is not a regular file"])
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError([f"{path}: can't be read: {error.strerror or error}"]) from error
    if len(content) > MAX_BYTES:
        raise ConfigError([f"{path}: is larger than {MAX_BYTES // 1024**2} MiB"])
    return content


def loads(content: bytes, file: str, environ: Mapping[str, str]) -> Config:
    """Return the configuration that the content of a file means; `file` is its name in messages.

    Raises:
        ConfigError: the content can't be used; it has a line for every mistake.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError([f"{file}:{line}: is not UTF-8 text"]) from None
    root, problems = parse(text, environ)
    if root is None:
        raise ConfigError([render(problem, file) for problem in problems])
    config, wrong = _validate(root)
    known = {problem.path for problem in problems}
    problems += [problem for problem in wrong if problem.path not in known]
    if config is None or problems:
        ordered = sorted(problems, key=lambda problem: problem.line)
        raise ConfigError(list(dict.fromkeys(render(problem, file) for problem in ordered)))
    return config


def _validate(root: Node) -> tuple[Config | None, list[Problem]]:
    problems = list(_duplicate_sources(root))
    try:
        return Config.model_validate(root.value), problems
    except ValidationError as error:
        return None, problems + translate(error, root)


def _duplicate_sources(root: Node) -> Iterator[Problem]:
    """Give the repeated names, also when other mistakes keep the model from looking."""
    sources = root.children["sources"].children if "sources" in root.children else {}
    named = [
        (index, source.children["name"])
        for index, source in enumerate(sources.values())
        if "name" in source.children
    ]
    for position, earlier in repeated([str(name.value) for _, name in named]).items():
        index, name = named[position]
        error = duplicate_source(str(name.value), index, named[earlier][0])
        yield Problem(name.line, ("sources", index, "name"), error.message())
