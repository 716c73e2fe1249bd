"""What the API server's answer to a write means. Formats: `Status` of the Kubernetes API. Pure."""

from enum import StrEnum

import msgspec


class Result(StrEnum):
    """How a write ended."""

    DONE = "done"
    STALE = "stale"
    """The object is not the one that was meant, or no longer: look again."""
    CONFLICT = "conflict"
    """Somebody else keeps fields that we want."""
    DENIED = "denied"
    NO_NAMESPACE = "no-namespace"
    NO_KIND = "no-kind"
    """The API server does not know the kind: the CRDs are missing, or too old."""
    REFUSED = "refused"
    """The object is not valid there."""
    TOO_LARGE = "too-large"
    BUSY = "busy"
    """It wants to be asked later."""
    UNAVAILABLE = "unavailable"


RETRY_SOON = frozenset({Result.STALE, Result.BUSY, Result.UNAVAILABLE})
"""Results that pass by themselves, within seconds."""


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """How a request ended."""

    result: Result
    text: str = ""
    retry_after: float = 0.0
    """Seconds that the server asks us to wait."""
    body: bytes = b""
    is_created: bool = False
    """Whether there was no such object before."""


class _Cause(msgspec.Struct):
    reason: str = ""
    message: str = ""
    field: str = ""


class _Details(msgspec.Struct, rename="camel"):
    kind: str = ""
    causes: list[_Cause] = []
    retry_after_seconds: float = 0.0


class _Status(msgspec.Struct):
    message: str = ""
    reason: str = ""
    details: _Details | None = None


_MAX_TEXT = 300
_TOO_LARGE = ("request is too large", "larger than max", "Request entity too large")
_FULL = "database space exceeded"
_UNKNOWN_FIELD = "field not declared in schema"
"""In the answer to an apply with a field that the CRD lacks: code 500, but it does not pass by itself."""


def judge(  # noqa: PLR0911 - one for each meaning
    status: int, body: bytes, retry_after: float = 0.0
) -> Outcome:
    """Return what an answer means."""
    if status in {200, 201, 202}:
        return Outcome(Result.DONE, body=body, is_created=status == 201)
    found = _read(body)
    details = found.details or _Details()
    text = found.message[:_MAX_TEXT] or f"HTTP {status}"
    wait = retry_after or details.retry_after_seconds
    if status == 413 or any(sign in found.message for sign in _TOO_LARGE):
        return Outcome(Result.TOO_LARGE, text)
    if _UNKNOWN_FIELD in found.message:
        return Outcome(Result.REFUSED, f"the CRD there is older than what is written: {text}")
    if status == 409:
        return _conflict(details, text)
    if status == 404:
        return _missing(found, details, text)
    if status == 429:
        return Outcome(Result.BUSY, text, wait or 1.0)
    if status in {400, 405, 415, 422}:
        is_other = any(cause.field == "metadata.uid" for cause in details.causes)
        return Outcome(Result.STALE if is_other else Result.REFUSED, text)
    if status in {401, 403}:
        return Outcome(Result.DENIED, text)
    return Outcome(Result.UNAVAILABLE, "etcd is full: " + text if _FULL in text else text, wait)


def _read(body: bytes) -> _Status:
    try:
        return msgspec.json.decode(body, type=_Status)
    except msgspec.MsgspecError:  # Overload and proxies answer in plain text.
        return _Status(message=body[:_MAX_TEXT].decode(errors="replace").strip())


def _conflict(details: _Details, text: str) -> Outcome:
    causes = [cause for cause in details.causes if cause.reason == "FieldManagerConflict"]
    if not causes:
        return Outcome(Result.STALE, text)
    fields = ", ".join(f"{cause.field} ({cause.message})" for cause in causes[:3])
    return Outcome(Result.CONFLICT, f"others keep fields of it: {fields}"[:_MAX_TEXT])


def _missing(found: _Status, details: _Details, text: str) -> Outcome:
    if details.kind == "namespaces":
        return Outcome(Result.NO_NAMESPACE, text)
    if found.reason == "NotFound" and details.kind and not _is_unknown_path(found.message):
        return Outcome(Result.STALE, text)  # The object itself is gone.
    return Outcome(Result.NO_KIND, "the API server does not know this kind: are Istio's CRDs installed?")


def _is_unknown_path(message: str) -> bool:
    return "could not find the requested resource" in message or "page not found" in message
