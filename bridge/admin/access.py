"""Who may ask the admin interface for what. Pure: it sees a request's facts, not the request.

The unix socket's file mode says who may open it, so everything is allowed there. Over TCP a token,
where one is configured, is needed for everything but the health paths and the status page's own text;
without one, a loopback listener answers reads. Such a listener also looks at the Host header: a web page
that resolves its own name to 127.0.0.1 (DNS rebinding) would otherwise read the mesh through a browser.
"""

import hmac
import ipaddress

import msgspec

HEALTH_PATHS = frozenset({"/healthz", "/readyz"})
_OPEN_PATHS = HEALTH_PATHS | {"/"}
"""The page is the same for everyone: what it shows it asks for, with the token that it is given."""
_READS = frozenset({"GET", "HEAD"})
_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


class Policy(msgspec.Struct, frozen=True):
    """What the listener is like."""

    host: str
    """The host part of the address to listen on, without brackets."""
    has_token: bool
    has_tls: bool
    is_loopback: bool


class Asked(msgspec.Struct, frozen=True):
    """What access depends on."""

    method: str
    path: str
    host: str
    """The Host header."""
    authorization: str
    """The Authorization header."""
    is_local_socket: bool


class Refusal(msgspec.Struct, frozen=True):
    """Why a request is not answered."""

    status: int
    code: str
    message: str


_NO_TOKEN = Refusal(401, "unauthorized", "this needs the bearer token that admin.token_file holds")
_WRONG_TOKEN = Refusal(401, "unauthorized", "the bearer token is not the one that admin.token_file holds")
_OPEN_TO_ALL = Refusal(
    403, "forbidden", "this listener is reachable from elsewhere; set admin.token_file or admin.tls"
)
_READ_ONLY = Refusal(403, "forbidden", "changes need admin.token_file to be set, or come over admin.socket")


def refuse(policy: Policy, token: str, asked: Asked) -> Refusal | None:
    """Return why the request must not be answered, or None. `token` is the one in force."""
    if asked.is_local_socket or asked.path in _OPEN_PATHS:
        return None
    if policy.has_token:
        return _refuse_without_token(token, asked.authorization)
    if not policy.has_tls:
        if not policy.is_loopback:
            return _OPEN_TO_ALL
        if not _is_ours(policy.host, asked.host):
            return Refusal(403, "forbidden", f"this listener is not known as {asked.host!r}")
    return None if asked.method in _READS else _READ_ONLY


def _refuse_without_token(token: str, authorization: str) -> Refusal | None:
    scheme, _, given = authorization.partition(" ")
    if scheme.lower() != "bearer":
        return _NO_TOKEN
    matches = hmac.compare_digest(given.strip().encode(errors="replace"), token.encode(errors="replace"))
    return None if token and matches else _WRONG_TOKEN


def _is_ours(listen_host: str, header: str) -> bool:
    host = _without_port(header).lower()
    return host in _LOCAL_NAMES or host == listen_host.lower() or _is_loopback_address(host)


def _without_port(header: str) -> str:
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0]


def _is_loopback_address(host: str) -> bool:
    # An address can't be rebound, so all of 127.0.0.0/8 is as good as 127.0.0.1.
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
