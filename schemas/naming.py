"""Legal names from free text: DNS labels, hosts, object names, label keys and values.

Every function returns a legal text unchanged, and anything else as a legal one that depends on the text
alone, so applying it twice is applying it once. Other characters become hyphens (accents are taken off
first), so two texts can get the same name: who makes objects of them has to look for that. What is too long
is cut and ends in a hash of the whole, which keeps two long texts apart. A text of which nothing is left
becomes `unnamed-` and a hash of it; a label value becomes "", which is legal there.
"""

import hashlib
import re
import unicodedata

MAX_LABEL = 63
"""Characters of a DNS label, and of a label's value or name."""
MAX_NAME = 253
"""Characters of a host, an object's name, or a label key's prefix."""
HOST_SUFFIX = "mesh"
"""What a host gets whose last label would be a number: such a name could be an IP address."""

_DNS_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(rf"{_DNS_LABEL.pattern}(?:\.{_DNS_LABEL.pattern})*")
_LABEL_TEXT = re.compile(r"[A-Za-z0-9](?:[-_.A-Za-z0-9]*[A-Za-z0-9])?")
_NOT_DNS = re.compile(r"[^a-z0-9]+")
_NOT_LABEL_TEXT = re.compile(r"[^-_.A-Za-z0-9]+")


def is_dns_label(text: str) -> bool:
    """Whether the text is a lower-case DNS label (RFC 1123), as a namespace has to be."""
    return len(text) <= MAX_LABEL and _DNS_LABEL.fullmatch(text) is not None


def is_subdomain(text: str) -> bool:
    """Whether the text is a lower-case DNS subdomain (RFC 1123), as an object's name has to be."""
    return len(text) <= MAX_NAME and _SUBDOMAIN.fullmatch(text) is not None


def is_label_key(text: str) -> bool:
    """Whether the text is a label key: a name, or a DNS subdomain, a slash and a name."""
    prefix, slash, name = text.rpartition("/")
    return (not slash or is_subdomain(prefix)) and name != "" and is_label_value(name)


def is_label_value(text: str) -> bool:
    """Whether the text is the value of a label; "" is."""
    return text == "" or (len(text) <= MAX_LABEL and _LABEL_TEXT.fullmatch(text) is not None)


def dns_label(text: str) -> str:
    """Return a lower-case DNS label."""
    return text if is_dns_label(text) else _cut(_clean_dns(text), MAX_LABEL)


def host(text: str) -> str:
    """Return a host as istiod takes it: lower-case labels, the last of them no number, no final dot.

    The first label of a host that is too long ends in the hash, the labels after it go first.
    """
    labels = [dns_label(label) for label in text.split(".") if label] or [_unnamed(text)]
    if labels[-1].isdigit():
        labels.append(HOST_SUFFIX)
    whole = ".".join(labels)
    if len(whole) <= MAX_NAME:
        return whole
    tail = whole[-(MAX_NAME - MAX_LABEL - 1) :].partition(".")[2]
    return f"{_with_hash(labels[0], MAX_LABEL, whole)}.{tail}"


def resource_name(text: str) -> str:
    """Return the name of an object (a lower-case DNS subdomain) for a host or any other text."""
    if is_subdomain(text):
        return text
    labels = [_clean_dns(label) for label in text.split(".") if label] or [_unnamed(text)]
    return _cut(".".join(labels), MAX_NAME)


def label_key(text: str) -> str:
    """Return a label key; what stands before the first slash is its prefix."""
    if is_label_key(text):
        return text
    prefix, slash, name = text.partition("/")
    if not slash:
        prefix, name = "", text
    name = _cut(_clean_label_text(name) or _unnamed(name), MAX_LABEL)
    return f"{resource_name(prefix)}/{name}" if prefix else name


def label_value(text: str) -> str:
    """Return the value of a label, "" when nothing of the text can be kept."""
    return text if is_label_value(text) else _cut(_clean_label_text(text), MAX_LABEL)


def _clean_dns(label: str) -> str:
    return _NOT_DNS.sub("-", _plain(label).lower()).strip("-") or _unnamed(label)


def _clean_label_text(text: str) -> str:
    return _NOT_LABEL_TEXT.sub("-", _plain(text)).strip("-_.")


def _plain(text: str) -> str:
    """Return the text without accents, compatibility forms (full-width letters) replaced."""
    if text.isascii():
        return text
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else _with_hash(text, limit, text)


def _with_hash(text: str, limit: int, hashed: str) -> str:
    return f"{text[: limit - 9].rstrip('-_.')}-{_hash(hashed)}"


def _unnamed(text: str) -> str:
    return f"unnamed-{_hash(text)}"


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=4).hexdigest()
