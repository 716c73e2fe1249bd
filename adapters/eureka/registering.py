"""Keeps an instance registered at a Eureka server, as its clients do: for trying things out.

py-eureka-client's calls do the talking. Its own client is not used: after a fail-over its thread waits for
itself for ever.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Literal
from urllib.error import HTTPError, URLError
from urllib.parse import quote

import msgspec
from typing_extensions import override

from meshbridge.schemas.errors import RegistryDenied, RegistryError, RegistryUnavailable

Status = Literal["UP", "DOWN", "STARTING", "OUT_OF_SERVICE"]

_TIMEOUT = 10.0
"""Seconds that a call may take."""
_LEASE = 3
"""A lease lasts for so many heartbeats."""


class Registration(msgspec.Struct, frozen=True):
    """The instance to register."""

    app: str
    address: str
    port: int
    secure_port: int = 0
    """0: none."""
    host: str = ""
    """Host name. Default: the address."""
    vip: str = ""
    """VIP names, separated by commas. Default: the application's name."""
    status: Status = "UP"
    metadata: Mapping[str, str] = {}
    heartbeat: float = 30.0
    """Seconds between two heartbeats."""

    @property
    def id(self) -> str:
        """The instance's id, made as Spring Cloud makes it."""
        return f"{self.address}:{self.app.lower()}:{self.port}"


class Server(msgspec.Struct, frozen=True):
    """A Eureka server, and who we are to it."""

    url: str
    username: str = ""
    password: str = ""

    @override
    def __repr__(self) -> str:
        return f"Server({self.url!r})"

    @property
    def address(self) -> str:
        """The address with user and password, as the library wants it: never to be shown."""
        if not self.username:
            return self.url
        scheme, _, rest = self.url.partition("://")
        return f"{scheme}://{quote(self.username, safe='')}:{quote(self.password, safe='')}@{rest}"


async def keep_registered(
    server: Server, instance: Registration, stop: asyncio.Event, tell: Callable[[str], None]
) -> None:
    """Register an instance, send heartbeats until `stop` is set, and take it out again.

    Trouble after the first registration is told, and ends by itself.

    Raises:
        RegistryError: the server does not take the instance at first.
    """
    dirty = await _register(server, instance)
    tell(f"registered {instance.id} at {server.url}, heartbeat each {instance.heartbeat:g}s")
    trouble = ""
    try:
        while not await _is_set(stop, instance.heartbeat):
            try:
                if not await _is_renewed(server, instance, dirty):
                    dirty = await _register(server, instance)
                    tell("the server had lost it: registered again")
                elif trouble:
                    tell("heartbeats arrive again")
                trouble = ""
            except RegistryError as error:
                if error.reason != trouble:
                    tell(f"no heartbeat: {error.reason}")
                trouble = error.reason
    finally:
        await _call(
            server, _library().cancel(server.address, instance.app.upper(), instance.id), "deregister"
        )
        tell(f"deregistered {instance.id}")


async def _is_set(stop: asyncio.Event, within: float) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(within):
            await stop.wait()
    return stop.is_set()


async def _register(server: Server, instance: Registration) -> int:
    """Register an instance and return its new "dirty" time, in milliseconds."""
    library = _library()
    dirty = int(time.time() * 1000)
    lease = library.LeaseInfo(
        renewalIntervalInSecs=max(1, round(instance.heartbeat)),
        durationInSecs=max(_LEASE, round(_LEASE * instance.heartbeat)),
    )
    found = library.Instance(
        instanceId=instance.id,
        app=instance.app.upper(),
        ipAddr=instance.address,
        hostName=instance.host or instance.address,
        status=instance.status,
        port=library.PortWrapper(port=instance.port, enabled=True),
        securePort=library.PortWrapper(port=instance.secure_port or 443, enabled=bool(instance.secure_port)),
        vipAddress=instance.vip or instance.app.lower(),
        secureVipAddress=instance.vip or instance.app.lower(),
        leaseInfo=lease,
        metadata=dict(instance.metadata),
        lastUpdatedTimestamp=dirty,
        lastDirtyTimestamp=dirty,
    )
    if await _call(server, library.register(server.address, found), "register") == 404:
        hint = "HTTP status 404: the address has to end with the path, mostly /eureka"
        raise RegistryUnavailable(server.url, "register", hint)
    return dirty


async def _is_renewed(server: Server, instance: Registration, dirty: int) -> bool:
    """Send a heartbeat and return whether the server knows the instance."""
    beat = _library().send_heartbeat(
        server.address, instance.app.upper(), instance.id, dirty, status=instance.status
    )
    return await _call(server, beat, "heartbeat") != 404


async def _call(server: Server, call: Awaitable[None], operation: str) -> int:
    """Await a call and return its status: 200, or 404.

    Raises:
        RegistryError: it failed otherwise. The library's own errors hold the password.
    """
    try:
        async with asyncio.timeout(_TIMEOUT):
            await call
    except HTTPError as error:
        error.close()
        if error.code == 404:
            return 404
        denied = RegistryDenied if error.code in (401, 403) else RegistryUnavailable
        raise denied(server.url, operation, f"HTTP status {error.code}") from None
    except TimeoutError:
        raise RegistryUnavailable(server.url, operation, "no answer in time") from None
    except (URLError, OSError, ValueError) as error:
        raise RegistryUnavailable(server.url, operation, f"no answer ({type(error).__name__})") from None
    return 200


def _library() -> Any:
    from py_eureka_client import eureka_basic

    return eureka_basic
