"""What tests of every part may need."""

import asyncio
import json
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

import jsonschema
import pytest
import trustme
from hypothesis import settings

# A busy machine must not fail a test, and the suite has to stay quick.
settings.register_profile("meshbridge", deadline=None, max_examples=50)
settings.load_profile("meshbridge")

T = TypeVar("T")

CRDS = Path(__file__).parent / "schemas" / "istio-crds.json"
POLL = 0.005


def pytest_configure() -> None:
    """Give every run the same surroundings, however it was started."""
    # looptime's plugin makes a default loop at the first sync test otherwise, which nobody closes.
    asyncio.set_event_loop(None)
    # A job in the background ignores SIGINT, and so would the programs that tests start and interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)


class Eventually(Protocol):
    """Waits until a condition holds and returns its value."""

    async def __call__(self, condition: Callable[[], T], *, within: float = 15.0) -> T: ...


@pytest.fixture
def eventually() -> Eventually:
    """`await eventually(lambda: len(seen) == 3, within=15.0)`: polls, and fails when time (seconds) is up."""

    async def wait(condition: Callable[[], T], *, within: float = 15.0) -> T:
        loop = asyncio.get_running_loop()
        end = loop.time() + within
        while not (value := condition()):
            if loop.time() >= end:
                code = getattr(condition, "__code__", None)
                where = f"{code.co_filename}:{code.co_firstlineno}" if code else repr(condition)
                pytest.fail(f"not true within {within} s (last value {value!r}): the condition at {where}")
            await asyncio.sleep(POLL)
        return value

    return wait


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """An authority that issues certificates for the tests of this run."""
    return trustme.CA()


@pytest.fixture(scope="session")
def validate_crd() -> Callable[[Mapping[str, Any]], None]:
    """Checks a Kubernetes object against the schema of Istio's CRD for its kind.

    Only what JSON Schema can say is checked; the rules in x-kubernetes-validations are not.
    """
    schemas = {
        kind: jsonschema.Draft202012Validator(schema) for kind, schema in json.loads(CRDS.read_text()).items()
    }

    def check(found: Mapping[str, Any]) -> None:
        errors = list(schemas[found["kind"]].iter_errors(found))
        if errors:
            pytest.fail("; ".join(f"{error.json_path}: {error.message}" for error in errors))

    return check
