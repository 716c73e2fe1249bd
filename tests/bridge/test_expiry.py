from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from meshbridge.bridge import expiry

Certificates = Callable[[str], tuple[Path, Path, Path]]


@pytest.mark.parametrize(
    "end",
    [datetime(2030, 5, 6, 7, 8, 9, tzinfo=UTC), datetime(2055, 1, 2, tzinfo=UTC)],
    ids=["utc", "generalized"],
)
def test_it_is_the_end_that_the_certificate_names(end: datetime) -> None:
    issued = trustme.CA().issue_cert("bridge.test", not_after=end, not_before=end - timedelta(days=9))

    found = expiry.not_after(issued.cert_chain_pems[0].bytes().decode())

    assert found == end.timestamp()


def test_of_a_chain_the_first_counts() -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("bridge.test", not_after=datetime(2031, 1, 1, tzinfo=UTC))
    chain = issued.cert_chain_pems[0].bytes() + authority.cert_pem.bytes()

    assert expiry.not_after(chain.decode()) == datetime(2031, 1, 1, tzinfo=UTC).timestamp()


def test_a_file_is_read_with_what_surrounds_the_certificate(
    tmp_path: Path, certificates: Certificates
) -> None:
    _, file, _ = certificates("bridge")
    text = file.read_text()
    file.write_text(f"subject=bridge\n{text}\n")

    end = x509.load_pem_x509_certificate(text.encode()).not_valid_after_utc

    assert expiry.of_file(str(file)) == end.timestamp()


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----"]
)
def test_a_file_without_a_certificate_has_expired(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "cert.pem"
    file.write_bytes(content)

    assert expiry.of_file(str(file)) == 0
    assert expiry.of_file(str(tmp_path / "missing")) == 0


@given(st.data())
def test_a_damaged_certificate_is_an_error_or_a_time_and_nothing_else(data: st.DataObject) -> None:
    import ssl

    damaged = bytearray(DER)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, 200))] = data.draw(st.integers(0, 255))
    pem = ssl.DER_cert_to_PEM_cert(bytes(damaged[: data.draw(st.integers(1, len(DER)))]))

    try:
        found = expiry.not_after(pem)
    except ValueError:
        return
    assert isinstance(found, float)


DER = x509.load_pem_x509_certificate(
    trustme.CA().issue_cert("bridge.test").cert_chain_pems[0].bytes()
).public_bytes(Encoding.DER)
