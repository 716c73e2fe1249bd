"""The sink's contract, on the fake API server."""

import sys

import pytest

pytest.importorskip("kubernetes")

globals().update(sys.modules["sink_contract"].TESTS)
