"""Until when a certificate is valid.

The standard library tells this of certificates of authorities only. What is needed here is the
third to fifth field of a certificate: RFC 5280, 4.1, in the encoding of X.690.
"""

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

_END = "-----END CERTIFICATE-----"
_MAX_BYTES = 1024 * 1024
_SEQUENCE, _VERSION, _UTC_TIME, _GENERALIZED_TIME = 0x30, 0xA0, 0x17, 0x18


def of_file(path: str) -> float:
    """Return until when a listener's certificate is valid, in Unix seconds; 0 when it can't be read."""
    try:
        with Path(path).open("rb") as file:
            return not_after(file.read(_MAX_BYTES).decode("ascii", errors="replace"))
    except (OSError, ValueError):
        return 0.0


def not_after(pem: str) -> float:
    """Return until when the first certificate of a PEM text is valid, in Unix seconds.

    Raises:
        ValueError: it holds no certificate.
    """
    begin, end = pem.find("-----BEGIN CERTIFICATE-----"), pem.find(_END)
    if not 0 <= begin < end:
        raise ValueError("there is no certificate")
    certificate = _first(ssl.PEM_cert_to_DER_cert(pem[begin : end + len(_END)]))
    fields = [found for found in _fields(_first(certificate)) if found[0] != _VERSION]
    # Serial number, algorithm, issuer, validity: not before, not after.
    if len(fields) < 4 or fields[3][0] != _SEQUENCE:
        raise ValueError("this is no certificate")
    validity = list(_fields(fields[3][1]))
    if len(validity) != 2:
        raise ValueError("this is no certificate")
    return _time(*validity[1])


def _first(content: bytes) -> bytes:
    """Return the content of the first element, b"" when there is none."""
    return next((inner for _, inner in _fields(content)), b"")


def _fields(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Return tag and content of each element."""
    while content:
        if len(content) < 2:
            raise ValueError("an element is cut off")
        tag, length, start = content[0], content[1], 2
        if length & 0x80:
            start += length & 0x7F
            length = int.from_bytes(content[2:start], "big")
        if start + length > len(content):
            raise ValueError("an element is cut off")
        yield tag, content[start : start + length]
        content = content[start + length :]


def _time(tag: int, content: bytes) -> float:
    text = content.decode("ascii", errors="replace")
    if tag == _UTC_TIME:  # Two digits of the year: from 50 on it is 19xx (RFC 5280, 4.1.2.5.1).
        text = ("19" if text[:2] >= "50" else "20") + text
    elif tag != _GENERALIZED_TIME:
        raise ValueError("this is no time")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()
