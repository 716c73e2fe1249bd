"""Requests to the API server: credentials by the `kubernetes` package, transport by aiohttp.

The package's generated calls cost three times the time per object, so its client is only asked for what it
knows of the server: address, certificates, tokens and how they are renewed.
"""

import asyncio
import importlib.util
import io
import time
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import structlog

from meshbridge.bridge.config.kubernetes import KubernetesOutput
from meshbridge.bridge.kubernetes.answers import Outcome, Result, judge
from meshbridge.schemas.errors import SinkError

log = structlog.get_logger(__name__)

APPLY = "application/apply-patch+yaml"
JSON = "application/json"

_POD = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_RELOAD = 10.0
"""Least seconds between two looks for newer credentials."""
_LARGE = 1 << 20
"""Bytes of a body from which on aiohttp wants a stream."""
_MAX_LINE = 8 << 20
"""Bytes of one watch event: etcd takes objects of 1.5 MB."""


def require_package() -> None:
    """Return if the package `kubernetes` is there.

    Raises:
        SinkError: it is not, or is one without the asyncio client.
    """
    if importlib.util.find_spec("kubernetes") is None or importlib.util.find_spec("kubernetes.aio") is None:
        raise SinkError(
            "kubernetes",
            "the package kubernetes (37 or newer) is missing; pip install 'meshbridge[kubernetes]'",
            retryable=False,
        )


class ApiServer:
    """One API server, for as long as `async with` lasts."""

    def __init__(self, settings: KubernetesOutput) -> None:
        from kubernetes.aio import client

        self._settings = settings
        self._configuration = client.Configuration()
        self._session: aiohttp.ClientSession | None = None
        self._proxy = ""
        self._loaded = -_RELOAD
        self.namespace = "default"
        """The namespace that the credentials are for."""

    async def __aenter__(self) -> Self:
        """Raises: SinkError: the credentials can't be read."""
        await self._load()
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = JSON,
        within: float | None = None,
    ) -> Outcome:
        """Send one request and return how it ended; never raises for what a server or network may do."""
        seconds = within or self._settings.request_timeout
        try:
            async with (
                asyncio.timeout(seconds),
                self._open().request(
                    method,
                    self._configuration.host + path,
                    params=query,
                    data=io.BytesIO(body) if body and len(body) > _LARGE else body,
                    headers={**await self._credentials(), "Content-Type": content_type},
                    **self._tls(),
                ) as response,
            ):
                found = await response.read()
                if response.status == 401:
                    await self._renew()
                return judge(response.status, found, _retry_after(response))
        except TimeoutError:
            return Outcome(Result.UNAVAILABLE, f"no answer within {seconds:g} s")
        except (aiohttp.ClientError, OSError) as error:
            return Outcome(Result.UNAVAILABLE, f"{type(error).__name__}: {error}")

    @asynccontextmanager
    async def stream(
        self, path: str, query: Mapping[str, str], within: float
    ) -> AsyncIterator[AsyncIterator[bytes] | Outcome]:
        """Give the lines of a watch, or how it failed to begin.

        Raises:
            aiohttp.ClientError: the connection broke.
            TimeoutError: it did not begin in time, or lasts longer than `within` seconds.
        """
        async with asyncio.timeout(self._settings.request_timeout) as limit:
            async with self._open().get(
                self._configuration.host + path,
                params=query,
                headers=await self._credentials(),
                **self._tls(),
            ) as response:
                limit.reschedule(asyncio.get_running_loop().time() + within)
                if response.status == 200:
                    yield _lines(response.content)
                    return
                if response.status == 401:
                    await self._renew()
                yield judge(response.status, await response.read(), _retry_after(response))

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("used outside `async with`")
        return self._session

    async def _credentials(self) -> dict[str, str]:
        # The configuration's own hook reads a pod's token again before it expires.
        token = await self._configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
        return {"Authorization": token} if token else {}

    def _tls(self) -> dict[str, Any]:
        options: dict[str, Any] = {}
        if name := getattr(self._configuration, "tls_server_name", None):
            options["server_hostname"] = name
        if self._proxy:
            options["proxy"] = self._proxy
        return options

    async def _renew(self) -> None:
        """Read the credentials again, which may have been replaced; not too often."""
        if time.monotonic() - self._loaded > _RELOAD:
            try:
                await self._load()
            except SinkError as error:
                log.warning("credentials not read", error=str(error))

    async def _load(self) -> None:
        from kubernetes.aio import client
        from kubernetes.aio.client.rest import RESTClientObject

        self._loaded = time.monotonic()
        configuration = client.Configuration()
        try:
            self.namespace = await _configure(configuration, self._settings)
            context = RESTClientObject(configuration).ssl_context
        except Exception as error:  # The package raises what it likes, KeyError among it.
            raise SinkError("kubernetes", f"can't use its credentials: {error}", retryable=True) from error
        # aiohttp would look into the environment, and for a .netrc in a thread, with each request.
        self._proxy = configuration.proxy or _environment_proxy(configuration.host)
        old, self._configuration = self._session, configuration
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=context), read_bufsize=1 << 20
        )
        if old is not None:
            await old.close()


async def _configure(configuration: Any, settings: KubernetesOutput) -> str:
    """Fill in the package's configuration and return the namespace that goes with it."""
    from kubernetes.aio import config

    if not settings.kubeconfig:
        config.load_incluster_config(client_configuration=configuration)
        return (_POD / "namespace").read_text().strip()
    loader = await config.load_kube_config(
        config_file=settings.kubeconfig,
        context=settings.context or None,
        client_configuration=configuration,
        persist_config=False,
    )
    context: Mapping[str, Any] = loader.current_context["context"]
    return str(context.get("namespace", "default"))


def _environment_proxy(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    proxies = urllib.request.getproxies_environment()
    if urllib.request.proxy_bypass(parts.netloc):
        return ""
    return proxies.get(parts.scheme, "")


def _retry_after(response: aiohttp.ClientResponse) -> float:
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) < 5 else 0.0


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Yield the lines; one may be longer than the reader's own limit for lines."""
    rest = bytearray()
    async for chunk in content.iter_any():
        start = len(rest)
        rest += chunk
        if (end := rest.rfind(b"\n", start)) >= 0:
            for line in bytes(rest[:end]).split(b"\n"):
                yield line
            del rest[: end + 1]
        if len(rest) > _MAX_LINE:
            raise aiohttp.ClientPayloadError(f"an event of more than {_MAX_LINE} bytes")
