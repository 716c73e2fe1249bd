"""Reads a Eureka server over HTTP: bounded, in slices, without secrets in anything that shows."""

import asyncio
import base64
import contextlib
import email.utils
import hashlib
import ssl
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from meshbridge.adapters.eureka.settings import EurekaConfig
from meshbridge.schemas.settings import ClientTls

_GZIP = zlib.MAX_WBITS | 16
_CHUNK = 64 * 1024
_STEP = 512 * 1024
"""Bytes unpacked in one go: a millisecond or two."""


class Failure(Exception):  # noqa: N818 - what happened to a read, also kept as a value
    """A server gives no usable answer now. It never carries a secret."""

    def __init__(self, reason: str, text: str, *, is_denied: bool = False, status: int = 0) -> None:
        super().__init__(text)
        self.reason = reason
        """One of a few fixed words, for metrics."""
        self.text = text
        self.is_denied = is_denied
        self.status = status


@dataclass(frozen=True)
class Answer:
    """An answer's body, b"" if it is the same as the one whose digest was given."""

    body: bytes
    digest: bytes
    server_time: int
    """The server's clock in milliseconds, 0 if it did not say."""
    is_same: bool = False


class Client:
    """Reads servers with one session. Make it with `open_client`."""

    def __init__(self, session: aiohttp.ClientSession, config: EurekaConfig) -> None:
        self._session = session
        self._config = config
        self._query = {"regions": ",".join(config.regions)} if config.regions else {}

    async def get(self, server: str, path: str, known: bytes = b"") -> Answer:
        """Return a server's answer; one with the digest `known` comes without its body, never unpacked.

        Raises:
            Failure: there is no usable answer.
        """
        headers = {"Accept": "application/json", "Accept-Encoding": "gzip", **self._authorization()}
        name = self._config.tls.server_name or None
        try:
            # A redirect could carry the password elsewhere, so it is an error.
            async with self._session.get(
                server + path,
                params=self._query,
                headers=headers,
                allow_redirects=False,
                server_hostname=name,
            ) as response:
                _check(response.status)
                packed, digest = await self._receive(response)
                time = _milliseconds(response.headers.get("Date", ""))
                if digest == known:
                    return Answer(b"", digest, time, is_same=True)
                encoding = response.headers.get("Content-Encoding", "identity").lower()
            body = await self._unpack(packed, encoding)
            await asyncio.sleep(0)  # Joining the parts was work enough for one turn.
            return Answer(body, digest, time)
        except TimeoutError as error:
            raise Failure("timeout", "no complete answer in time") from error
        except zlib.error as error:
            raise Failure("encoding", "the compressed answer is damaged") from error
        except aiohttp.ClientError as error:
            raise Failure("connection", f"{type(error).__name__}: {str(error)[:200]}") from error

    async def _receive(self, response: aiohttp.ClientResponse) -> tuple[list[bytes], bytes]:
        """Return the body as sent, in parts, and its digest."""
        limit = self._config.max_size
        if (response.content_length or 0) > limit:
            raise Failure("too_large", f"{response.content_length} bytes are more than max_size ({limit})")
        digest = hashlib.blake2b(digest_size=16)
        parts = []
        size = 0
        async for part in response.content.iter_chunked(_CHUNK):
            parts.append(part)
            digest.update(part)
            size += len(part)
            if size > limit:
                raise Failure("too_large", f"more than max_size ({limit} bytes)")
        return parts, digest.digest()

    async def _unpack(self, packed: list[bytes], encoding: str) -> bytes:
        if encoding == "identity":
            return b"".join(packed)
        if encoding != "gzip":
            raise Failure("encoding", f"the answer is encoded as {encoding[:40]!r}")
        unpacker = zlib.decompressobj(_GZIP)
        limit = self._config.max_size
        parts = []
        size = 0
        for part in packed:
            rest = part
            while rest and not unpacker.eof:
                parts.append(unpacker.decompress(rest, _STEP))
                size += len(parts[-1])
                if size > limit:
                    raise Failure("too_large", f"more than max_size ({limit} bytes, unpacked)")
                rest = unpacker.unconsumed_tail
                await asyncio.sleep(0)
        if not unpacker.eof:
            raise Failure("encoding", "the compressed answer ends early")
        return b"".join(parts)

    def _authorization(self) -> dict[str, str]:
        config = self._config
        if config.token_file:
            return {"Authorization": f"Bearer {_secret(config.token_file, 'token_file')}"}
        if not config.username:
            return {}
        password = config.password.get_secret_value()
        if config.password_file:
            password = _secret(config.password_file, "password_file")
        pair = base64.b64encode(f"{config.username}:{password}".encode()).decode()
        return {"Authorization": f"Basic {pair}"}


@contextlib.asynccontextmanager
async def open_client(config: EurekaConfig) -> AsyncIterator[Client]:
    """Give a client; its connections end with the context.

    Raises:
        Failure: the TLS files can't be used.
    """
    is_secure = any(server.startswith("https:") for server in config.servers)
    # Loading the system's authorities takes 20 ms.
    context = await asyncio.to_thread(_ssl_context, config.tls) if is_secure else True
    session = aiohttp.ClientSession(
        auto_decompress=False,  # Bodies arrive as sent, so that unpacking is bounded here.
        connector=aiohttp.TCPConnector(ssl=context),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=config.timeout),
    )
    async with session:
        yield Client(session, config)


def _ssl_context(tls: ClientTls) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=tls.ca_file or None)
        if tls.cert_file:
            context.load_cert_chain(tls.cert_file, tls.key_file or None)
    except OSError as error:  # An ssl.SSLError is one too.
        raise Failure("tls", f"the files under `tls` can't be used: {error}") from error
    return context


def _check(status: int) -> None:
    if status == 200:
        return
    if status == 401:
        raise Failure("denied", "HTTP status 401: it refuses us", is_denied=True, status=status)
    if status == 403:
        # Servers say this while they start, and where deltas are turned off.
        raise Failure("denied", "HTTP status 403: it is starting, or refuses us", status=status)
    raise Failure("http", f"HTTP status {status}", status=status)


def _secret(file: str, setting: str) -> str:
    try:
        text = Path(file).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Failure("token", f"{setting} {file} can't be read", is_denied=True) from error
    if not text.isascii() or not text.isprintable():
        raise Failure("token", f"{setting} {file} holds no usable text", is_denied=True)
    return text


def _milliseconds(date: str) -> int:
    try:
        return int(email.utils.parsedate_to_datetime(date).timestamp() * 1000)
    except (ValueError, TypeError, OverflowError):
        return 0
