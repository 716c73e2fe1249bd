"""What the tests of the adapters share."""

import pytest

collect_ignore = ["toy/tests"]  # They are of a registry that is none here: test_adding_one.py runs them.


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write expected files anew: read the diff")


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """Whether expected files are to be written instead of compared."""
    return bool(request.config.getoption("--update-golden", default=False))
