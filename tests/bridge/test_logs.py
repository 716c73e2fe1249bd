import json
from collections.abc import Iterator

import pytest
import structlog

from meshbridge.bridge import logs
from meshbridge.bridge.config.models import Log


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def test_json_lines_have_level_time_and_facts(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Log(format="json"))

    structlog.get_logger("x").warning("source_stale", source="vms")

    out, err = capsys.readouterr()
    line = json.loads(err)
    assert out == ""
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "source_stale", "level": "warning", "source": "vms"}


def test_what_is_less_severe_than_the_level_is_not_logged(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Log(level="warning"))

    structlog.get_logger("x").info("detail")
    structlog.get_logger("x").error("trouble")

    err = capsys.readouterr().err
    assert "detail" not in err
    assert "trouble" in err
    assert "\x1b" not in err, "no colours for a file"


def test_exceptions_are_one_json_line_with_their_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Log(format="json"))

    structlog.get_logger("x").error("adapter failed", exc_info=KeyError("weight"))

    [line] = capsys.readouterr().err.splitlines()
    assert "KeyError: 'weight'" in json.loads(line)["exception"]


def test_tracebacks_for_people_show_no_local_variables(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Log())

    try:
        _fail("s3same-open")
    except KeyError:
        structlog.get_logger("x").exception("adapter failed")

    err = capsys.readouterr().err
    assert "in _fail" in err
    assert "token = " not in err


def _fail(text: str) -> None:
    token = text.upper()
    raise KeyError(len(token))
