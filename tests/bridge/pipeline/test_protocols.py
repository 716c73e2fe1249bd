import pytest

from meshbridge.bridge.pipeline.protocols import istio_protocol
from meshbridge.schemas.validation import PROTOCOLS


@pytest.mark.parametrize(
    ("word", "plain", "encrypted"),
    [
        ("http", "HTTP", "HTTPS"),
        (" HTTP ", "HTTP", "HTTPS"),
        ("http/1.1", "HTTP", "HTTPS"),
        ("h2c", "HTTP2", "HTTPS"),
        ("https", "HTTPS", "HTTPS"),
        ("wss", "HTTPS", "HTTPS"),
        ("grpc", "GRPC", "TLS"),
        ("grpc-web", "GRPC-WEB", "TLS"),
        ("tri", "GRPC", "TLS"),
        ("grpcs", "TLS", "TLS"),
        ("dubbo", "TCP", "TLS"),
        ("tcp", "TCP", "TLS"),
        ("mongodb", "MONGO", "TLS"),
        ("ssl", "TLS", "TLS"),
    ],
)
def test_word_of_a_registry_becomes_istios(word: str, plain: str, encrypted: str) -> None:
    assert istio_protocol(word) == plain
    assert istio_protocol(word, tls=True) == encrypted
    assert plain.lower() in PROTOCOLS


@pytest.mark.parametrize("word", ["", "rmi", "hessian", "auto", "http3"])
def test_unknown_word_means_nothing(word: str) -> None:
    assert istio_protocol(word) is None
    assert istio_protocol(word, tls=True) is None
