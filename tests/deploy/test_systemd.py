"""The unit for hosts without containers."""

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).parent.parent.parent / "deploy" / "systemd" / "meshbridge.service"
MOST_EXPOSED = 2.0
"""systemd calls up to 2 of 10 good, 10 is a unit without any protection."""


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("not tested, as there is no systemd-analyze here")
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False, timeout=60)


def test_systemd_understands_every_line(tmp_path: Path) -> None:
    # The program need not be installed here: only its being there is looked at.
    made = tmp_path / UNIT.name
    made.write_text(UNIT.read_text().replace("/opt/meshbridge/bin/meshbridge", "/bin/true"))

    done = analyze("verify", "--man=no", str(made))

    assert UNIT.name not in done.stderr
    assert done.returncode == 0


def test_a_taken_over_process_could_do_little() -> None:
    done = analyze("security", "--offline=true", f"--threshold={MOST_EXPOSED * 10:g}", str(UNIT))

    assert done.returncode == 0, done.stdout[-600:]


def test_state_socket_and_configuration_are_where_the_documents_say() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(UNIT.read_text())
    service = unit["Service"]

    assert service["StateDirectory"] == service["RuntimeDirectory"] == "meshbridge"
    assert "/etc/meshbridge/meshbridge.yaml" in service["ExecStart"]
    assert service["Restart"] == "always"
