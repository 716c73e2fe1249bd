from collections.abc import Mapping

import pytest

from meshbridge.bridge.pipeline.ports import named_ports, port_metadata
from meshbridge.schemas.registry import Port, labels


def protocols(
    *ports: Port,
    metadata: Mapping[str, str] | None = None,
    chosen: str | Mapping[str, str] | None = None,
    of_service: str = "",
) -> dict[str, str]:
    found = named_ports(ports, port_metadata(labels(metadata or {})), chosen, (of_service, "tcp"))
    return {f"{port.number}/{port.name}": port.protocol for port in found}


@pytest.mark.parametrize(
    ("port", "metadata", "of_service", "seen"),
    [
        (Port("", 80), {}, "", {"80/TCP": "TCP"}),
        (Port("", 80, "http"), {}, "", {"80/HTTP": "HTTP"}),
        (Port("", 80, "http"), {"protocol": "grpc"}, "", {"80/GRPC": "GRPC"}),
        (Port("web", 80, "http"), {"protocol.web": "http2"}, "", {"80/web": "HTTP2"}),
        (Port("web", 80), {"protocol-web": "http", "protocol": "mongo"}, "", {"80/web": "HTTP"}),
        (Port("web", 80), {}, "http", {"80/web": "HTTP"}),
        (Port("grpc-orders", 80), {}, "", {"80/grpc-orders": "GRPC"}),
        (Port("grpc-web-orders", 80), {}, "", {"80/grpc-web-orders": "GRPC-WEB"}),
        (Port("grpc-orders", 80), {}, "http", {"80/grpc-orders": "HTTP"}),
        (Port("HTTP", 80), {}, "", {"80/http": "HTTP"}),
        (Port("httpx", 80), {}, "", {"80/httpx": "TCP"}),
        (Port("", 80, "hessian"), {}, "", {"80/TCP": "TCP"}),
        (Port("", 80), {"protocol": "dubbo"}, "", {"80/TCP": "TCP"}),
        (Port("", 80), {"protocols": "http", "protocolx": "http"}, "", {"80/TCP": "TCP"}),
    ],
)
def test_protocol_is_what_the_first_that_knows_says(
    port: Port, metadata: dict[str, str], of_service: str, seen: dict[str, str]
) -> None:
    found = protocols(port, metadata=metadata, of_service=of_service)

    assert {where.lower(): word for where, word in found.items()} == {
        where.lower(): word for where, word in seen.items()
    }


def test_rule_s_protocol_goes_before_all_else_for_all_ports_or_by_name() -> None:
    ports = (Port("web", 80, "http"), Port("raw", 90))

    assert protocols(*ports, chosen="mongo") == {"80/web": "MONGO", "90/raw": "MONGO"}
    assert protocols(*ports, chosen={"raw": "redis"}) == {"80/web": "HTTP", "90/raw": "REDIS"}
    assert protocols(*ports, chosen="auto") == {"80/web": "", "90/raw": ""}


def test_general_word_of_the_metadata_is_for_ports_without_a_word_of_their_own() -> None:
    ports = (Port("a", 80, "dubbo"), Port("b", 90))

    assert protocols(*ports, metadata={"protocol": "grpc"}) == {"80/a": "TCP", "90/b": "GRPC"}


@pytest.mark.parametrize("key", ["gRPC_port", "gRPC.port", "grpc.port", "grpc-port"])
def test_second_port_that_the_metadata_announces_is_a_port_too(key: str) -> None:
    found = protocols(Port("http", 8080, "http"), metadata={key: "9090", "grpc_port": "9090"})

    assert found == {"8080/http": "HTTP", "9090/grpc": "GRPC"}


@pytest.mark.parametrize("text", ["", "0", "65536", "8080", "-1", "9090x", "٩"])
def test_announced_port_that_is_none_or_known_adds_nothing(text: str) -> None:
    found = protocols(Port("http", 8080, "http"), metadata={"grpc.port": text})

    assert found == {"8080/http": "HTTP"}
