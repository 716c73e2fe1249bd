"""The content of a support bundle: what somebody needs to find out what is wrong, and no secret."""

import importlib.metadata
import json
import os
import platform
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import yaml
from pydantic import BaseModel, SecretStr

from meshbridge.bridge.config import loading
from meshbridge.bridge.config.models import Config
from meshbridge.bridge.operate.masking import mask, named_secrets, scrub
from meshbridge.schemas.errors import ConfigError
from meshbridge.schemas.yaml_text import dump

_SECRET_FILE = re.compile(r"(token|password|passphrase|secret|credential)\w*_file$|^file$|^key_file$")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_MAX_SECRET = 65536

Ask = Callable[[], object]
"""Asks the bridge for a document.

Raises whatever says that it gives none; the bundle then holds the error's text."""


def members(
    config: Path | None, questions: Mapping[str, Ask], environ: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """Return the texts of the bundle by their file names."""
    found = {"about.json": _json(_about())}
    secrets: list[str] = []
    if config is not None:
        found["config.yaml"], problems, secrets = _config(config, environ)
        if problems:
            found["config-problems.txt"] = "\n".join(problems) + "\n"
    found |= {name: _answer(ask) for name, ask in questions.items()}
    return {name: scrub(text, secrets) for name, text in found.items()}


def _about() -> dict[str, object]:
    packages = {found.metadata["Name"]: found.version for found in importlib.metadata.distributions()}
    return {
        "meshbridge": importlib.metadata.version("meshbridge"),
        "python": sys.version,
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "packages": dict(sorted(packages.items(), key=lambda item: item[0].lower())),
    }


def _answer(ask: Ask) -> str:
    try:
        found = ask()
    except Exception as error:  # noqa: BLE001 - a bundle of what can be had is better than none
        return f"not to be had: {error}\n"
    return found if isinstance(found, str) else _json(mask(found))


def _json(document: object) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _config(path: Path, environ: Mapping[str, str]) -> tuple[str, list[str], list[str]]:
    """Return the configuration without secrets, what is wrong with it, and the secrets it names."""
    content = loading.read(path)
    text = content.decode("utf-8-sig", errors="replace")
    secrets = [environ[name] for name in _VARIABLE.findall(text) if environ.get(name)]
    problems: list[str] = []
    try:
        secrets += secrets_of(loading.loads(content, path.name, environ))
    except ConfigError as error:
        problems = list(error.problems)
    try:
        documents = list(yaml.safe_load_all(text))
    except yaml.YAMLError:
        return "is not YAML\n", problems, secrets  # As text it could not be told what of it is secret.
    return dump(map(mask, documents)), problems, [*secrets, *named_secrets(documents)]


def secrets_of(config: Config) -> list[str]:
    """Return every secret of a configuration, those in its files included."""
    return [secret for secret in _secrets(config) if secret]


def _secrets(value: object, key: str = "") -> Iterator[str]:
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _secrets(getattr(value, name), name)
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _secrets(inner, str(name))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _secrets(inner, key)
    elif isinstance(value, str) and value and _SECRET_FILE.search(key):
        yield from _in_file(Path(value))


def _in_file(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_MAX_SECRET)
    except (OSError, UnicodeDecodeError):
        return
    for line in text.splitlines():
        yield line.strip()
        yield line.strip().partition(":")[2]  # A line `user:password`.
