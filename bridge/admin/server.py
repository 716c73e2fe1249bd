"""The admin HTTP server: listeners, access, and error documents around the paths of api.py."""

import os
import socket

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler
from prometheus_client import CollectorRegistry

from meshbridge.bridge.admin import access, answers, unix_socket
from meshbridge.bridge.admin.access import Asked, Policy
from meshbridge.bridge.admin.answers import Problem
from meshbridge.bridge.admin.api import COLLECTIONS, Api
from meshbridge.bridge.admin.tls import server_context
from meshbridge.bridge.admin.token import TokenFile
from meshbridge.bridge.admin.view import BridgeView
from meshbridge.bridge.config.fields import is_loopback, split_listen
from meshbridge.bridge.config.models import Admin
from meshbridge.bridge.wording import did_you_mean, listing
from meshbridge.schemas.errors import SinkError

SHUTDOWN_SECONDS = 1.0
"""How long `stop()` lets answers that are under way finish."""

_CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}
_PREFIX = "/api/v1/"

log = structlog.get_logger(__name__)


class AdminServer:
    """Serves the admin interface of a running bridge."""

    def __init__(self, view: BridgeView, settings: Admin, registry: CollectorRegistry) -> None:
        self._settings = settings
        self._api = Api(view, registry)
        self._token = TokenFile(settings.token_file)
        self._policy = Policy(
            host=split_listen(settings.listen)[0],
            has_token=bool(settings.token_file),
            has_tls=settings.tls is not None,
            is_loopback=is_loopback(settings.listen),
        )
        self._runner: web.AppRunner | None = None
        self._socket_inode: tuple[int, int] | None = None

    async def start(self) -> str:
        """Listen, and return the bound address, `host:port`.

        Raises:
            SinkError: an address to listen on can't be had.
            ConfigError: the certificate or token can't be used.
        """
        self._token.load()
        app = web.Application(middlewares=[self._answer])
        app.add_routes(self._api.routes())
        # A client that hangs up ends its long poll.
        self._runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=SHUTDOWN_SECONDS
        )
        await self._runner.setup()
        try:
            address = await self._listen(self._runner)
        except BaseException:
            await self.stop()
            raise
        log.info("admin interface listens", address=address, socket=self._settings.socket)
        return address

    async def stop(self) -> None:
        """Stop listening; long polls are answered at once."""
        self._api.close()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        unix_socket.remove(self._settings.socket, self._socket_inode)
        self._socket_inode = None

    async def _listen(self, runner: web.AppRunner) -> str:
        settings = self._settings
        host, port = split_listen(settings.listen)
        context = server_context(settings.tls) if settings.tls else None
        site = web.TCPSite(runner, host or None, port, ssl_context=context)
        try:
            await site.start()
        except OSError as error:
            reason = f"can't listen on {settings.listen}: {_reason(error)}"
            raise SinkError("admin", reason, retryable=False) from error
        address = _text(runner.addresses[0])
        if settings.socket:
            bound = unix_socket.bind(settings.socket)
            self._socket_inode = unix_socket.inode(settings.socket)
            await web.SockSite(runner, bound).start()
        return address

    @web.middleware
    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            if refusal := access.refuse(self._policy, self._token.current(), _asked(request)):
                headers = {"WWW-Authenticate": "Bearer"} if refusal.status == 401 else None
                return answers.error(refusal.status, refusal.code, refusal.message, headers)
            return await handler(request)
        except Problem as problem:
            return answers.error(problem.status, problem.code, problem.message)
        except web.HTTPException as error:
            return _http_error(request, error)
        except Exception:
            log.exception("admin request failed", path=request.path)
            return answers.error(500, "internal", "the bridge failed to answer; its log says why")


def _reason(error: OSError) -> str:
    # asyncio wraps the system's words into a sentence with the address; gaierror has negative numbers.
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or str(error)


def _asked(request: web.Request) -> Asked:
    connection = request.get_extra_info("socket")
    return Asked(
        method=request.method,
        path=request.path,
        host=request.headers.get("Host", ""),
        authorization=request.headers.get("Authorization", ""),
        is_local_socket=connection is not None and connection.family == socket.AF_UNIX,
    )


def _http_error(request: web.Request, error: web.HTTPException) -> web.Response:
    code = _CODES.get(error.status, "bad_request")
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = listing(error.allowed_methods)
        return answers.error(
            405, code, f"{request.path} takes {allowed}, not {request.method}", {"Allow": allowed}
        )
    if error.status == 404:
        return answers.error(404, code, _nothing_at(request.path))
    return answers.error(error.status, code, error.reason)


def _nothing_at(path: str) -> str:
    asked = path.removeprefix(_PREFIX)
    known = (*COLLECTIONS, "explain", "release", "state")
    return f"there is nothing at {path[:200]}{did_you_mean(asked, known)}; {_PREFIX} has {listing(known)}"


def _text(address: tuple[object, ...]) -> str:
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
