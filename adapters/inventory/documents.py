"""What the ways of reading a document have in common."""

from typing import Protocol

from typing_extensions import override


class Failure(Exception):  # noqa: N818 - what happened to a document, also kept as a value
    """A document can't be read now. It never carries a secret."""

    def __init__(self, reason: str, text: str, *, is_denied: bool = False) -> None:
        super().__init__(text)
        self.reason = reason
        """One of a few fixed words, for metrics."""
        self.text = text
        self.is_denied = is_denied

    @override
    def __repr__(self) -> str:
        return f"Failure({self.reason!r}, {self.text!r})"


class Remote(Protocol):
    """A document that is read again and again: a URL, or the output of a command."""

    @property
    def name(self) -> str:
        """How messages call it, without secrets."""

    async def read(self) -> bytes | None:
        """Return its content, or None when it is known not to have changed.

        Raises:
            Failure: it can't be read.
        """
