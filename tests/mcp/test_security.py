import os
import shutil
from pathlib import Path

import pytest

from meshbridge.mcp.security import Certificates
from meshbridge.schemas.settings import ServerTls


@pytest.fixture
def tls(tmp_path: Path, certs: Path) -> ServerTls:
    for kind in ("pem", "key"):
        shutil.copy(certs / f"first.{kind}", tmp_path / f"tls.{kind}")
    return ServerTls(
        cert_file=str(tmp_path / "tls.pem"),
        key_file=str(tmp_path / "tls.key"),
        client_ca_file=str(certs / "ca.pem"),
    )


def renew(tls: ServerTls) -> None:
    shutil.copy(Path(tls.client_ca_file).parent / "second.pem", f"{tls.cert_file}.new")
    os.replace(f"{tls.cert_file}.new", tls.cert_file)


def test_unchanged_files_are_not_read_again(tls: ServerTls) -> None:
    certificates = Certificates(tls)

    assert certificates.refresh() is certificates.refresh()


def test_changed_files_are_read_once(tls: ServerTls) -> None:
    certificates = Certificates(tls)
    old = certificates.refresh()
    renew(tls)

    new = certificates.refresh()

    assert new is not old
    assert certificates.refresh() is new


def test_unreadable_files_leave_the_old_in_force_until_they_are_back(tls: ServerTls) -> None:
    certificates = Certificates(tls)
    old = certificates.refresh()
    Path(tls.cert_file).unlink()

    kept = [certificates.refresh(), certificates.refresh()]
    renew(tls)

    assert kept == [old, old]
    assert certificates.refresh() is not old
