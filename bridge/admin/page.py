"""The status page: one file without anything from elsewhere, which asks the paths of api.py."""

import base64
import functools
import hashlib
import re
from importlib import resources

from aiohttp import web

_INLINE = re.compile(r"<(style|script)>(.*?)</\1>", re.DOTALL)


@functools.cache
def text() -> str:
    """Return the page."""
    return resources.files(__package__).joinpath("page.html").read_text(encoding="utf-8")


def policy(html: str) -> str:
    """Return the Content-Security-Policy that lets a page run what stands in it, and nothing else.

    Registries hold what anybody wrote into them. The page makes text of it, never markup; should that
    fail, what got in neither runs nor reaches anywhere else.
    """
    hashes = {
        kind: f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
        for kind, content in _INLINE.findall(html)
    }
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {hashes['script']}",
            f"style-src {hashes['style']}",
            "img-src data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )


async def answer(_request: web.Request) -> web.Response:
    """Answer with the page."""
    html = text()
    headers = {
        "Cache-Control": "no-store",
        "Content-Security-Policy": policy(html),
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
    }
    return web.Response(text=html, content_type="text/html", charset="utf-8", headers=headers)
