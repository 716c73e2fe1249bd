"""istiod's debug interface, asked over HTTP (port 15014, as `kubectl port-forward` gives it)."""

import http.client
import json
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 20.0
MAX_BYTES = 512 << 20
"""istiod shows everything that it holds in one document."""

_RELEASE = re.compile(r"(\d+)\.(\d+)")


class IstiodUnreachableError(Exception):
    """The debug interface gives no usable answer; the text says why."""


class IstiodDebug:
    """The debug interface at a URL.

    Raises:
        ValueError: the URL is none.
    """

    def __init__(self, url: str) -> None:
        self.url = (url if "://" in url else f"http://{url}").rstrip("/")
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"{url} is not http(s)://HOST:PORT")

    def release(self) -> tuple[int, int] | None:
        """Return istiod's release as (major, minor), None when it doesn't say.

        Raises:
            IstiodUnreachableError: no usable answer.
        """
        return parse_release(self._get("/version").decode(errors="replace"))

    def objects(self) -> list[Mapping[str, Any]]:
        """Return the Kubernetes objects that istiod holds.

        Raises:
            IstiodUnreachableError: no usable answer.
        """
        try:
            found = json.loads(self._get("/debug/configz")) or []
        except ValueError as error:
            raise IstiodUnreachableError(f"{self.url}/debug/configz is not istiod's") from error
        return [item for item in found if isinstance(item, Mapping)] if isinstance(found, list) else []

    def _get(self, path: str) -> bytes:
        try:
            # The scheme is checked above: no file can be read by this.
            with urllib.request.urlopen(self.url + path, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310
                content: bytes = answer.read(MAX_BYTES)
                return content
        except urllib.error.HTTPError as error:
            raise IstiodUnreachableError(f"{self.url}{path} answers {error.code}") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
            raise IstiodUnreachableError(f"{self.url} doesn't answer: {reason}") from error


def parse_release(text: str) -> tuple[int, int] | None:
    """Return the first `MAJOR.MINOR` in the text, None when there is none."""
    found = _RELEASE.search(text)
    return (int(found[1]), int(found[2])) if found else None
