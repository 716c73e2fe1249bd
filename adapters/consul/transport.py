"""python-consul2's client over an aiohttp transport of our own.

The library's own asyncio client opens a session for each request and drops client certificates, so only
its classes are used: `Transport` is its plug point for HTTP, and makes its methods awaitable. Written
against what python-consul2 and py-consul have in common.
"""

import asyncio
import ssl
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import aiohttp
from consul import base
from typing_extensions import override
from yarl import URL

from meshbridge.adapters.consul.settings import ConsulConfig
from meshbridge.schemas.settings import ClientTls

T = TypeVar("T")

_CHUNK = 64 * 1024
_MAX_TEXT = 200
_OVERLOADED = (429, 503)
_DENIED = (401, 403)


class Failure(Exception):  # noqa: N818 - the adapter's word for a read that gave nothing
    """A read gave nothing usable. It never carries a secret."""

    def __init__(self, reason: str, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.reason = reason
        """One of a few fixed words, for counters."""
        self.text = text
        self.status = status
        """The HTTP status, 0 when there was no answer."""

    @property
    def is_denied(self) -> bool:
        """Whether only an operator can help."""
        return self.reason in ("denied", "token")


@dataclass(frozen=True)
class Answer:
    """A whole answer with status 200."""

    headers: Mapping[str, str]
    body: bytes


class Transport(base.HTTPClient):  # type: ignore[misc]  # the library has no types
    """Sends requests to the agent in use; when it fails, the next one is asked and stays in use."""

    def __init__(self, config: ConsulConfig) -> None:
        """Prepare the sessions, inside a running loop; `close()` ends them.

        Raises:
            Failure: the TLS files can't be used.
        """
        self._config = config
        self._current = 0
        context = ssl_context(config.tls) if any(a.startswith("https") for a in config.agents) else None
        self._agents = [(_base(address), _session(address, context, config)) for address in config.agents]

    @property
    def agent(self) -> str:
        """The address of the agent in use."""
        return self._config.agents[self._current]

    async def close(self) -> None:
        """Close every connection, also when the caller is cancelled meanwhile."""
        await asyncio.shield(asyncio.ensure_future(self._close()))

    async def _close(self) -> None:
        for _, session in self._agents:
            await session.close()

    @override
    async def get(  # type: ignore[explicit-override, unused-ignore]
        self,
        callback: Callable[[Any], T],
        path: str,
        params: Iterable[tuple[str, object]] | Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 0.0,
        **_options: object,
    ) -> T:
        """Return what the library's callback makes of the answer. `timeout` in seconds; 0: the configured."""
        limit = timeout or self._config.timeout
        return callback(await self.request("GET", path, params, headers, within=limit))

    @override
    async def put(self, callback, path, params=None, data="", headers=None):  # type: ignore[no-untyped-def]
        """Return what the library's callback makes of the answer."""
        return callback(await self.request("PUT", path, params, headers, data, self._config.timeout))

    @override
    async def delete(self, callback, path, params=None, data="", headers=None):  # type: ignore[no-untyped-def]
        """Return what the library's callback makes of the answer."""
        return callback(await self.request("DELETE", path, params, headers, data, self._config.timeout))

    @override
    async def post(self, callback, path, params=None, data="", headers=None):  # type: ignore[no-untyped-def]
        """Return what the library's callback makes of the answer."""
        return callback(await self.request("POST", path, params, headers, data, self._config.timeout))

    async def request(
        self,
        method: str,
        path: str,
        params: Iterable[tuple[str, object]] | Mapping[str, object] | None,
        headers: Mapping[str, str] | None,
        data: str | bytes = "",
        within: float = 10.0,
    ) -> Any:
        """Return an answer of a status below 500 as the library's Response, from the first such agent.

        Raises:
            Failure: no agent gives one.
        """
        query = urlencode(list(params.items() if isinstance(params, Mapping) else params or ()))
        target = quote(path, safe="/:") + (f"?{query}" if query else "")
        failure = Failure("connection", "no agent is configured")
        for _ in self._agents:
            used = self._current
            try:
                code, found, body = await self._send(method, target, headers or {}, data, within)
            except Failure as error:
                if error.is_denied:
                    raise
                failure = error
            else:
                if code < 500 and code not in _OVERLOADED:
                    return _response(code, found, body)
                failure = status_failure(code, body)
            if self._current == used:  # Else another request has moved on already.
                self._current = (used + 1) % len(self._agents)
        raise failure

    async def _send(
        self, method: str, target: str, headers: Mapping[str, str], data: str | bytes, within: float
    ) -> tuple[int, Mapping[str, str], bytes]:
        token = self._authorization()
        found = await self._send_with(token, method, target, headers, data, within)
        if found[0] in _DENIED and (newer := self._authorization()) != token:
            # The token was rotated while the request was waiting for its answer.
            found = await self._send_with(newer, method, target, headers, data, within)
        return found

    async def _send_with(
        self,
        token: Mapping[str, str],
        method: str,
        target: str,
        headers: Mapping[str, str],
        data: str | bytes,
        within: float,
    ) -> tuple[int, Mapping[str, str], bytes]:
        root, session = self._agents[self._current]
        headers = {**headers, "Accept-Encoding": "identity", **token}
        server_name = self._config.tls.server_name or None
        try:
            async with (
                asyncio.timeout(within),
                session.request(
                    method,
                    URL(root + target, encoded=True),
                    headers=headers,
                    data=data or None,
                    # A redirect could carry the token elsewhere.
                    allow_redirects=False,
                    server_hostname=server_name,
                ) as answer,
            ):
                body = await self._body(answer)
                if answer.status != 200:  # It will be shown, and whoever is in between may echo requests.
                    for secret in token.values():
                        body = body.replace(secret.encode(), b"***")
                return answer.status, answer.headers, body
        except TimeoutError as error:
            raise Failure("timeout", "no complete answer in time") from error
        except aiohttp.ClientError as error:
            text = f"{type(error).__name__}: {str(error)[:_MAX_TEXT]}"
            raise Failure("connection", text) from error

    def _authorization(self) -> dict[str, str]:
        path = self._config.token_file
        if not path:
            return {}
        try:
            token = Path(path).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise Failure("token", f"token_file {path} can't be read") from error
        if not token.isascii() or not token.isprintable():
            raise Failure("token", f"token_file {path} holds no token")
        return {"X-Consul-Token": token} if token else {}

    async def _body(self, answer: aiohttp.ClientResponse) -> bytes:
        limit = self._config.max_size
        if (answer.content_length or 0) > limit:
            raise Failure("too_large", f"{answer.content_length} bytes are more than max_size ({limit})")
        if answer.headers.get("Content-Encoding", "identity") != "identity":
            raise Failure("encoding", "the answer is compressed although that was not asked for")
        body = bytearray()
        async for chunk in answer.content.iter_chunked(_CHUNK):
            body += chunk
            if len(body) > limit:
                raise Failure("too_large", f"more than max_size ({limit} bytes)")
        return bytes(body)


class Consul(base.Consul):  # type: ignore[misc]  # the library has no types
    """The library's client; its methods are awaitable."""

    def __init__(self, transport: Transport) -> None:
        """Make a client.

        Raises:
            Failure: CONSUL_HTTP_ADDR, which the library reads and we don't, has a form that it refuses.
        """
        self._transport = transport
        try:
            with warnings.catch_warnings():  # Of endpoints that are not used here.
                warnings.simplefilter("ignore", DeprecationWarning)
                super().__init__()
        except (base.ConsulException, TypeError, ValueError) as error:  # The latter two: py-consul.
            raise Failure("environment", "the client library refuses CONSUL_HTTP_ADDR: unset it") from error
        # The library takes a token from the environment; ours comes from the file alone.
        self.token = None

    @override
    def http_connect(self, *_args: object, **_kwargs: object) -> Transport:
        """Return our transport. Addresses are not taken from here: the environment may have changed them."""
        return self._transport


def taken(response: Any) -> Answer:
    """Return the answer if its status is 200: a callback for the library.

    Raises:
        Failure: it is another.
    """
    if response.code != 200:
        raise status_failure(response.code, response.body)
    return Answer(response.headers, response.body)


def status_failure(status: int, body: bytes) -> Failure:
    """Return what an HTTP status other than 200 means."""
    words = {**dict.fromkeys(_DENIED, "denied"), 429: "limited"}
    # Consul's errors are one line of text. What a proxy in between says is not worth showing.
    line = body[:_MAX_TEXT].decode("utf-8", "replace").strip().partition("\n")[0]
    said = f": {line}" if line.isprintable() and not line.startswith("<") else ""
    word = words.get(status, "http" if status >= 500 else "refused")
    return Failure(word, f"HTTP status {status}{said}", status)


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


def _base(address: str) -> str:
    return "http://localhost" if address.startswith("unix:") else address


def _session(address: str, context: ssl.SSLContext | None, config: ConsulConfig) -> aiohttp.ClientSession:
    connector: aiohttp.BaseConnector
    if address.startswith("unix:"):
        connector = aiohttp.UnixConnector(address.removeprefix("unix://"), limit=config.connections)
    else:
        # Without `ssl=True` for plain addresses too, aiohttp would warn of a missing context.
        connector = aiohttp.TCPConnector(limit=config.connections, ssl=context or True)
    return aiohttp.ClientSession(
        connector=connector,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=config.timeout),
        read_bufsize=_CHUNK,
    )


def _response(code: int, headers: Mapping[str, str], body: bytes) -> Any:
    """Return the library's Response: it has four fields in python-consul2, three in py-consul."""
    values = {"code": code, "headers": headers, "body": body, "content": body}
    return base.Response(**{name: values[name] for name in base.Response._fields})
