"""Rules for single texts and maps of a spec: hosts, addresses, port names and numbers, labels.

istiod's rules: istio/istio `pkg/config/validation/agent/validation.go` and `pkg/config/labels/instance.go`.
"""

import ipaddress
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache

from meshbridge.schemas.naming import is_label_key, is_label_value
from meshbridge.schemas.problems import Problem, error, own_error, shown

MAX_ITEMS = 256
"""The CRDs' limit for most lists and maps."""
PORTS = range(1, 65536)

_LABEL = r"[A-Za-z0-9](?:[-A-Za-z0-9]{0,61}[A-Za-z0-9])?"
_DNS_LABEL = re.compile(_LABEL)
_FQDN = re.compile(rf"(?!(?:.*\.)?[0-9]+\Z)(?:{_LABEL}\.)*(?:{_LABEL}\.?)")
_WILDCARD = re.compile(rf"(?:\*|\*-?{_LABEL})\.(?P<rest>.*)", re.DOTALL)
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = re.compile(rf"(?:{_OCTET}\.){{3}}{_OCTET}")
_is_label_key = lru_cache(maxsize=1024)(is_label_key)
_is_label_value = lru_cache(maxsize=1024)(is_label_value)
_PREFIX_LENGTH = re.compile(r"0|[1-9][0-9]{0,2}")


def is_any_case_label(text: str) -> bool:
    """Whether the text is a DNS label in either case: port names and namespaces in exportTo."""
    return _DNS_LABEL.fullmatch(text) is not None


def is_fqdn(text: str) -> bool:
    """Whether the text is a host without wildcard: no underscore, no number at the end, so no IP address."""
    return len(text) <= 255 and _FQDN.fullmatch(text) is not None


def is_wildcard(host: str) -> bool:
    """Whether the host's first label is a wildcard."""
    return host.startswith("*")


def is_host(text: str) -> bool:
    """Whether the text may be a host of a ServiceEntry."""
    if not is_wildcard(text):
        return is_fqdn(text)
    found = _WILDCARD.fullmatch(text)
    return found is not None and len(text) <= 255 and is_fqdn(found["rest"])


def is_ip(text: str) -> bool:
    """Whether the text is an IP address in plain form: no brackets, no zone, no leading zeros."""
    if ":" not in text:
        return _IPV4.fullmatch(text) is not None
    try:
        return ipaddress.IPv6Address(text).scope_id is None
    except ValueError:
        return False


def is_cidr(text: str) -> bool:
    """Whether the text is an IP address with a prefix length."""
    address, _, length = text.partition("/")
    longest = 128 if ":" in address else 32
    return is_ip(address) and _PREFIX_LENGTH.fullmatch(length) is not None and int(length) <= longest


def is_unix(address: str) -> bool:
    """Whether an endpoint's address means a unix socket, legal or not."""
    return address.startswith("unix://")


def check_unix(address: str) -> Iterator[Problem]:
    """Check a unix address: an absolute path or an abstract name, not a directory."""
    path = address.removeprefix("unix://")
    if path[:1] not in ("/", "@") or path.endswith("/"):
        yield error(
            "address",
            f"{shown(address)} is not a unix socket; allowed are unix:///path/of/socket and unix://@name",
        )


def check_port(field: str, number: int) -> Iterator[Problem]:
    """Check a port number."""
    if number not in PORTS:
        yield error(field, f"{shown(number)} is not a port number; allowed is 1 to 65535")


def check_size(field: str, size: int, limit: int = MAX_ITEMS) -> Iterator[Problem]:
    """Check the number of items, or of characters, that the CRDs limit."""
    if size > limit:
        yield error(field, f"has {size} items or characters; at most {limit} are allowed")


def check_printable(field: str, text: str) -> Iterator[Problem]:
    """Check that a text has no control characters or broken Unicode, which would not get through."""
    if not text.isprintable():
        yield own_error(field, f"{shown(text)} has characters that can't be printed")


def check_labels(field: str, labels: Mapping[str, str]) -> tuple[Problem, ...]:
    """Check the labels of a workload or an object."""
    return _check_labels(field, tuple(labels.items())) if labels else ()


@lru_cache(maxsize=256)  # The endpoints of a service share few label sets.
def _check_labels(field: str, labels: tuple[tuple[str, str], ...]) -> tuple[Problem, ...]:
    problems = list(check_size(field, len(labels)))
    for key, value in labels:
        if not _is_label_key(key):
            problems.append(
                error(
                    field,
                    f"key {shown(key)}; allowed are at most 63 letters, digits, '-', '_' and '.', a letter or"
                    " digit at both ends, optionally after a lower-case DNS name and '/'",
                )
            )
        if not _is_label_value(value):
            # istiod has no limit of length here; Kubernetes has.
            problems.append(
                error(
                    f"{field}[{key[:MAX_ITEMS]}]",
                    f"value {shown(value)}; allowed are at most 63 letters, digits, '-', '_' and '.',"
                    " a letter or digit at both ends",
                )
            )
    return tuple(problems)


def check_annotations(field: str, annotations: Mapping[str, str]) -> Iterator[Problem]:
    """Check annotations: keys as those of labels, values free."""
    yield from check_size(field, len(annotations))
    for key, value in annotations.items():
        if not is_label_key(key.lower()):
            yield own_error(field, f"key {shown(key)}; allowed is what a label's key may be")
        if not is_unicode(value):
            yield own_error(f"{field}[{key[:MAX_ITEMS]}]", f"value {shown(value)} is broken Unicode")


def is_unicode(text: str) -> bool:
    """Whether the text can be sent: it has no lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
