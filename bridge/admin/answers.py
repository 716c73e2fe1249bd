"""The documents of the admin interface as HTTP responses."""

import asyncio
from collections.abc import Mapping, Sequence

import msgspec
from aiohttp import web

_SLICE = 200
"""Items encoded in one go, a few milliseconds."""

_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

encoder = msgspec.json.Encoder()


class Problem(Exception):  # noqa: N818 - it is an answer, not a fault of ours
    """A request that gets an error document."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


def document(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return a JSON document."""
    return _json(encoder.encode(body), status, headers)


def error(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return `{"error": {"code", "message"}}`."""
    return document({"error": {"code": code, "message": message}}, status, headers)


async def items(found: Sequence[object], generation: int) -> web.Response:
    """Return `{"items": [...], "generation": n}`, encoded in slices so that nothing else waits long."""
    parts = []
    for start in range(0, len(found), _SLICE):
        # An encoded list without its brackets; a slice is never empty.
        parts.append(encoder.encode(found[start : start + _SLICE])[1:-1])
        await asyncio.sleep(0)
    return _json(b'{"items":[%b],"generation":%d}' % (b",".join(parts), generation))


def _json(body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(
        body=body,
        status=status,
        content_type="application/json",
        charset="utf-8",
        headers={**_HEADERS, **(headers or {})},
    )
