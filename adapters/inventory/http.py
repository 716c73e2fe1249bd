"""Documents at HTTP(S) addresses: conditional requests, bounded answers, tokens that rotate."""

import ssl
import zlib
from pathlib import Path

import aiohttp

from meshbridge.adapters.inventory.documents import Failure
from meshbridge.adapters.inventory.settings import InventoryConfig
from meshbridge.schemas.settings import ClientTls

_CHUNK = 64 * 1024
_GZIP = zlib.MAX_WBITS | 16


def url_name(url: str) -> str:
    """Return an address without its query, where tokens may stand."""
    return url.partition("?")[0].partition("#")[0]


def ssl_context(tls: ClientTls) -> ssl.SSLContext:
    """Return the TLS settings for a session; the files are read now.

    Raises:
        Failure: a file can't be used.
    """
    try:
        context = ssl.create_default_context(cafile=tls.ca_file or None)
        if tls.cert_file:
            context.load_cert_chain(tls.cert_file, tls.key_file or None)
    except OSError as error:  # An ssl.SSLError is one too.
        raise Failure("tls", f"the files under `tls` can't be used: {error}") from error
    return context


class UrlDocument:
    """One address. `read()` remembers the validators of the newest answer that was taken."""

    def __init__(self, url: str, name: str, session: aiohttp.ClientSession, config: InventoryConfig) -> None:
        self.name = name
        self._url = url
        self._session = session
        self._max_size = config.max_size
        self._token_file = config.token_file
        self._server_name = config.tls.server_name or None
        self._validators: dict[str, str] = {}

    async def read(self) -> bytes | None:
        """Return the document, or None when the server says that it has not changed.

        Raises:
            Failure: there is no usable answer.
        """
        headers = {"Accept-Encoding": "gzip", **self._validators, **self._authorization()}
        try:
            # A redirect could carry the token elsewhere, so it is an error that names where it leads.
            async with self._session.get(
                self._url, headers=headers, allow_redirects=False, server_hostname=self._server_name
            ) as answer:
                if answer.status == 304:
                    return None
                _check_status(answer)
                content = await self._body(answer)
                self._remember(answer)
        except TimeoutError as error:
            raise Failure("timeout", "no complete answer in time") from error
        except zlib.error as error:
            raise Failure("encoding", "the compressed answer is damaged") from error
        except aiohttp.ClientError as error:
            raise Failure("connection", f"{type(error).__name__}: {str(error)[:200]}") from error
        return content

    def _authorization(self) -> dict[str, str]:
        if not self._token_file:
            return {}
        try:
            token = Path(self._token_file).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise Failure("token", f"token_file {self._token_file} can't be read", is_denied=True) from error
        if not token.isascii() or not token.isprintable():
            raise Failure("token", f"token_file {self._token_file} holds no token", is_denied=True)
        return {"Authorization": f"Bearer {token}"}

    def _remember(self, answer: aiohttp.ClientResponse) -> None:
        pairs = (("ETag", "If-None-Match"), ("Last-Modified", "If-Modified-Since"))
        self._validators = {sent: answer.headers[got] for got, sent in pairs if got in answer.headers}

    async def _body(self, answer: aiohttp.ClientResponse) -> bytes:
        if (answer.content_length or 0) > self._max_size:
            raise Failure(
                "too_large", f"{answer.content_length} bytes are more than max_size ({self._max_size})"
            )
        encoding = answer.headers.get("Content-Encoding", "identity").lower()
        if encoding not in ("identity", "gzip"):
            raise Failure("encoding", f"the answer is encoded as {encoding!r}")
        unpack = zlib.decompressobj(_GZIP) if encoding == "gzip" else None
        body = bytearray()
        async for chunk in answer.content.iter_chunked(_CHUNK):
            body += unpack.decompress(chunk, self._max_size + 1 - len(body)) if unpack else chunk
            if len(body) > self._max_size:
                raise Failure("too_large", f"more than max_size ({self._max_size} bytes, unpacked)")
        if unpack and not unpack.eof:
            raise Failure("encoding", "the compressed answer ends early")
        return bytes(body)


def session(tls: ClientTls, timeout: float) -> aiohttp.ClientSession:
    """Return a session; the caller closes it. Bodies arrive as sent, so that unpacking is bounded here.

    Raises:
        Failure: the TLS files can't be used.
    """
    return aiohttp.ClientSession(
        auto_decompress=False,
        connector=aiohttp.TCPConnector(ssl=ssl_context(tls)),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=timeout),
    )


def _check_status(answer: aiohttp.ClientResponse) -> None:
    if answer.status in (401, 403):
        raise Failure("denied", f"HTTP status {answer.status}", is_denied=True)
    if 300 <= answer.status < 400:
        target = url_name(answer.headers.get("Location", "nowhere"))
        raise Failure("http", f"HTTP status {answer.status}, a redirect to {target}, which is not followed")
    if answer.status != 200:
        raise Failure("http", f"HTTP status {answer.status}")
