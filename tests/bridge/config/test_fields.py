from typing import get_args

import pytest

from meshbridge.bridge.config.fields import Protocol, is_loopback, split_listen
from meshbridge.bridge.pipeline.protocols import istio_protocol


@pytest.mark.parametrize(
    ("listen", "expected", "loopback"),
    [
        ("127.0.0.1:16010", ("127.0.0.1", 16010), True),
        ("127.1.2.3:0", ("127.1.2.3", 0), True),
        ("localhost:80", ("localhost", 80), True),
        ("[::1]:80", ("::1", 80), True),
        ("[::]:80", ("::", 80), False),
        ("0.0.0.0:80", ("0.0.0.0", 80), False),
        (":80", ("", 80), False),
        ("bridge.example:80", ("bridge.example", 80), False),
    ],
)
def test_address_to_listen_on(listen: str, expected: tuple[str, int], loopback: bool) -> None:
    assert split_listen(listen) == expected
    assert is_loopback(listen) is loopback


@pytest.mark.parametrize(
    "listen", ["", "localhost", "80", "a:70000", "a:x", "a:-1", "a:²", "::1:80", "[x]:80"]
)
def test_what_is_no_address_to_listen_on(listen: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        split_listen(listen)


def test_every_protocol_of_the_configuration_is_one_of_istio() -> None:
    assert [word for word in get_args(Protocol) if istio_protocol(word) is None] == ["auto"]
