"""The admin interface of a running bridge, from outside. Standard library only: it starts fast."""

import http.client
import json
import socket
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import SplitResult, quote, urlencode, urlsplit

from typing_extensions import override

from meshbridge.bridge.cli.exits import CommandError, ExitCode

TIMEOUT_SECONDS = 10.0
"""How long an answer may take beyond what a long poll asked for."""

Document = dict[str, Any]
"""A JSON document of the admin interface."""


class Remote:
    """A running bridge. Each question is one connection.

    Raises:
        CommandError: the URL is none.
    """

    def __init__(self, url: str, token: str = "", ca_file: str = "") -> None:
        self.url = url if "://" in url else f"http://{url}"
        self._parts = _split(self.url)
        self._base = "" if self._parts.scheme == "unix" else self._parts.path.rstrip("/")
        self._token = token
        self._ca_file = ca_file

    def items(self, collection: str, query: Mapping[str, str | int | float], wait: float = 0.0) -> Document:
        """Return a list, `{"items": [...], "generation": n}`.

        Raises:
            CommandError: the bridge doesn't answer, or answers with an error.
        """
        asked = {key: value for key, value in query.items() if value != ""}
        path = f"/api/v1/{collection}"
        return self._ask("GET", f"{path}?{urlencode(asked)}" if asked else path, wait)

    def readiness(self) -> Document:
        """Return `{"ready", "waitingFor", "reloadError"}`.

        Raises:
            CommandError: the bridge doesn't answer, or answers with an error.
        """
        return self._ask("GET", "/readyz", unready_is_fine=True)

    def metrics(self) -> str:
        """Return the metrics as Prometheus text.

        Raises:
            CommandError: the bridge doesn't answer, or refuses.
        """
        status, body = self._exchange("GET", "/metrics", TIMEOUT_SECONDS)
        if status != HTTPStatus.OK:
            raise CommandError(f"the bridge refuses: status {status}")
        return body.decode(errors="replace")

    def release(self, source: str) -> Document:
        """Free what the guard holds, and return `{"source", "released", "peers"}`.

        Raises:
            CommandError: the bridge doesn't answer, or refuses.
        """
        return self._ask("POST", f"/api/v1/release/{quote(source)}")

    def _ask(self, method: str, path: str, wait: float = 0.0, *, unready_is_fine: bool = False) -> Document:
        status, body = self._exchange(method, path, TIMEOUT_SECONDS + wait)
        try:
            found = json.loads(body)
        except ValueError as error:
            raise self._unreachable(f"what answers there (status {status}) is not meshbridge") from error
        if not isinstance(found, dict):
            raise self._unreachable("what answers there is not meshbridge")
        if status == 200 or (unready_is_fine and status == 503):
            return found
        raise _refused(status, found)

    def _exchange(self, method: str, path: str, timeout: float) -> tuple[int, bytes]:
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        try:
            connection = self._connection(timeout)
            try:
                connection.request(method, self._base + path, headers=headers)
                answer = connection.getresponse()
                return answer.status, answer.read()
            finally:
                connection.close()
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise self._unreachable(_reason(error)) from error

    def _connection(self, timeout: float) -> http.client.HTTPConnection:
        if self._parts.scheme == "unix":
            return UnixConnection(self._parts.path, timeout)
        host, port = self._parts.hostname or "localhost", self._parts.port
        if self._parts.scheme == "https":
            import ssl

            context = ssl.create_default_context(cafile=self._ca_file or None)
            return http.client.HTTPSConnection(host, port, timeout=timeout, context=context)
        return http.client.HTTPConnection(host, port, timeout=timeout)

    def _unreachable(self, reason: str) -> CommandError:
        return CommandError(
            f"no bridge answers at {self.url}: {reason}\n"
            "Is `meshbridge run` running? Its log names the address of its admin interface; "
            "say it with --admin URL, MESHBRIDGE_ADMIN, or -c FILE.",
            ExitCode.UNREACHABLE,
        )


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    @override
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        if _is_usable(parts):
            return parts
    except ValueError:
        pass  # A bad port, or an IPv6 address without its brackets.
    raise CommandError(f"{url} is not http(s)://HOST:PORT or unix:///PATH", ExitCode.USAGE)


def _is_usable(parts: SplitResult) -> bool:
    if parts.scheme == "unix":
        return bool(parts.path) and not parts.netloc
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0


def _refused(status: int, answer: Document) -> CommandError:
    error = answer.get("error")
    message = error.get("message", "") if isinstance(error, dict) else ""
    text = f"the bridge refuses: {message or f'status {status}'}"
    if status in {401, 403}:
        text += (
            "\nGive the token with --token-file, or use the bridge's unix socket with --admin unix:///PATH."
        )
    return CommandError(text, ExitCode.USAGE if status == 400 else ExitCode.FAILED)


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, http.client.BadStatusLine):
        return "what answers there does not speak HTTP"  # Its text is whatever the other side sent.
    return str(error) or type(error).__name__
