"""One check over the network: TCP connect, HTTP GET, gRPC health v1 (grpc.health.v1, `Health/Check`).

Each check opens a connection of its own, so that it also sees whether new ones are accepted.
"""

import asyncio
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from types import TracebackType

import aiohttp
import grpc.aio
import yarl
from google.protobuf.wrappers_pb2 import Int32Value, StringValue

from meshbridge.adapters.probing.plan import is_ip
from meshbridge.adapters.probing.settings import GrpcProbe, HttpProbe, ProbeSettings, TcpProbe
from meshbridge.schemas.errors import ConfigError
from meshbridge.schemas.settings import ClientTls

Check = Callable[[str, int, ProbeSettings], Awaitable[str]]
"""Checks an address and port; "" when it passes, else why not. The caller limits its time."""

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with no time to linger: closing resets, and no socket waits for a minute in TIME_WAIT."""
_MAX_BODY = 64 * 1024
_SERVING = 1
_GRPC_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
    ("grpc.max_receive_message_length", 4096),
    ("grpc.use_local_subchannel_pool", 1),  # Else a closed channel's connection could serve the next check.
)


class Checks:
    """The checks of one source, with what they share; an async context manager that gives the Check.

    Raises:
        ConfigError: a TLS file can't be used.
    """

    def __init__(self, settings: ProbeSettings) -> None:
        self._contexts: dict[tuple[ClientTls | None, bool], ssl.SSLContext] = {}
        self._credentials: dict[ClientTls, grpc.ChannelCredentials] = {}
        self._session: aiohttp.ClientSession | None = None
        try:
            if isinstance(settings.action, HttpProbe) and settings.action.scheme == "https":
                self._context(settings.action)
            if isinstance(settings.action, GrpcProbe) and settings.action.tls:
                self._channel_credentials(settings.action.tls)
        except OSError as error:  # Which ssl.SSLError is, too.
            raise ConfigError([f"probe.tls: a file can't be used ({_files(settings)}): {error}"]) from error

    async def __aenter__(self) -> Check:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None),  # The caller's time-out is the only one.
        )
        return self.run

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session:
            await self._session.close()

    async def run(self, address: str, port: int, probe: ProbeSettings) -> str:
        """Return "" if the check passes, else why it failed."""
        try:
            match probe.action:
                case TcpProbe():
                    return await check_tcp(address, port)
                case HttpProbe() as http:
                    return await self._check_http(address, port, http)
                case GrpcProbe() as rpc:
                    credentials = self._channel_credentials(rpc.tls) if rpc.tls else None
                    return await check_grpc(address, port, rpc, credentials)
        except UnicodeError:  # From the IDNA codec.
            return "not a host name"

    async def _check_http(self, address: str, port: int, http: HttpProbe) -> str:
        assert self._session, "checks run while the context is entered"  # noqa: S101 - a wiring mistake
        context = self._context(http) if http.scheme == "https" else True
        return await check_http(self._session, address, port, http, context)

    def _context(self, http: HttpProbe) -> ssl.SSLContext:
        key = (http.tls, http.insecure_skip_verify)
        if key not in self._contexts:
            self._contexts[key] = _ssl_context(*key)
        return self._contexts[key]

    def _channel_credentials(self, tls: ClientTls) -> grpc.ChannelCredentials:
        if tls not in self._credentials:
            self._credentials[tls] = grpc.ssl_channel_credentials(
                _read(tls.ca_file), _read(tls.key_file), _read(tls.cert_file)
            )
        return self._credentials[tls]


def _files(settings: ProbeSettings) -> str:
    tls = getattr(settings.action, "tls", None) or ClientTls()
    return ", ".join(file for file in (tls.ca_file, tls.cert_file, tls.key_file) if file)


async def check_tcp(address: str, port: int) -> str:
    """Return "" if a connection is accepted. A host name's addresses are tried in turn."""
    try:
        candidates = await _resolve(address, port)
    except OSError as error:
        return f"name not resolved: {_because(error)}"
    failure = "name has no address"
    for family, resolved in candidates:
        failure = await _connect(family, resolved, port)
        if not failure:
            break
    return failure


async def _resolve(address: str, port: int) -> list[tuple[socket.AddressFamily, str]]:
    if is_ip(address):
        return [(socket.AF_INET6 if ":" in address else socket.AF_INET, address)]
    found = await asyncio.get_running_loop().getaddrinfo(address, port, type=socket.SOCK_STREAM)
    return [(family, str(peer[0])) for family, _, _, _, peer in found]


async def _connect(family: socket.AddressFamily, address: str, port: int) -> str:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as connection:
            connection.setblocking(False)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            await asyncio.get_running_loop().sock_connect(connection, (address, port))
    except OSError as error:
        return _because(error)
    return ""


async def check_http(
    session: aiohttp.ClientSession, address: str, port: int, http: HttpProbe, context: ssl.SSLContext | bool
) -> str:
    """Return "" if a GET gives an expected status; at most 64 KiB of the body are read."""
    host = f"[{address}]" if ":" in address else address
    headers = {name: value.get_secret_value() for name, value in http.headers.items()}
    if http.host:
        headers.setdefault("Host", http.host)
    try:
        async with session.get(
            yarl.URL(f"{http.scheme}://{host}:{port}{http.path}", encoded=True),
            headers=headers,
            allow_redirects=False,
            ssl=context,
            server_hostname=(http.tls.server_name or None) if http.tls else None,
        ) as response:
            await response.content.read(_MAX_BODY)
            return "" if http.expects(response.status) else f"status {response.status}"
    except aiohttp.ClientSSLError:
        return "TLS handshake failed"
    except aiohttp.ClientConnectorError as error:
        return _because(error.os_error)
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return f"no HTTP answer: {type(error).__name__}"


async def check_grpc(
    address: str, port: int, rpc: GrpcProbe, credentials: grpc.ChannelCredentials | None = None
) -> str:
    """Return "" if the health service says SERVING."""
    options: list[tuple[str, int | str]] = [*_GRPC_OPTIONS]
    if rpc.tls and rpc.tls.server_name:
        options.append(("grpc.ssl_target_name_override", rpc.tls.server_name))
    target = _grpc_target(address, port)
    if credentials:
        channel = grpc.aio.secure_channel(target, credentials, options)
    else:
        channel = grpc.aio.insecure_channel(target, options)
    async with channel:
        # HealthCheckRequest and -Response have one field each, with the number and type of these wrappers.
        health = channel.unary_unary(
            "/grpc.health.v1.Health/Check", StringValue.SerializeToString, Int32Value.FromString
        )
        try:
            answer = await health(StringValue(value=rpc.service))
        except grpc.aio.AioRpcError as error:
            return f"gRPC status {error.code().name}"
    return "" if answer.value == _SERVING else f"gRPC health is {answer.value}, not SERVING"


def _grpc_target(address: str, port: int) -> str:
    if ":" in address:
        return f"ipv6:[{address}]:{port}"
    return f"ipv4:{address}:{port}" if is_ip(address) else f"dns:///{address}:{port}"


def _because(error: OSError) -> str:
    """Return the system's words for what went wrong."""
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    return (error.strerror or type(error).__name__).lower()


def _ssl_context(tls: ClientTls | None, insecure: bool) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=(tls.ca_file or None) if tls else None)
    if tls and tls.cert_file:
        context.load_cert_chain(tls.cert_file, tls.key_file or None)
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _read(path: str) -> bytes | None:
    if not path:
        return None
    with open(path, "rb") as file:
        return file.read()
