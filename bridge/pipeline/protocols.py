"""Protocol names: from what registries write to what Istio's validation accepts."""

_ISTIO = frozenset(
    "tcp udp grpc grpc-web http http_proxy http2 https tls mongo redis mysql".split()  # noqa: SIM905 - a word list
)

_ALIASES = {
    "dubbo": "tcp",
    "thrift": "tcp",
    "tri": "grpc",
    "triple": "grpc",
    "grpcs": "tls",
    "h2": "http2",
    "h2c": "http2",
    "rest": "http",
    "http1": "http",
    "http/1.1": "http",
    "ws": "http",
    "wss": "https",
    "ssl": "tls",
    "mongodb": "mongo",
}

_ENCRYPTED = {"http": "HTTPS", "http2": "HTTPS", "https": "HTTPS"}


def istio_protocol(word: str, *, tls: bool = False) -> str | None:
    """Return Istio's name for a registry's protocol word, None for a word that means nothing to Istio.

    A port that is encrypted by the instance itself is opaque to proxies: HTTPS or TLS.
    """
    lowered = word.strip().lower()
    known = _ALIASES.get(lowered, lowered)
    if known not in _ISTIO:
        return None
    return _ENCRYPTED.get(known, "TLS") if tls else known.upper()
