"""Words for people: what they probably meant, what they may write."""

import difflib
from collections.abc import Iterable


def did_you_mean(word: str, allowed: Iterable[str]) -> str:
    """Return `; did you mean "x"?` for the closest allowed word, or "" when nothing is close."""
    by_lower = {candidate.lower(): candidate for candidate in allowed}
    close = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return f'; did you mean "{by_lower[close[0]]}"?' if close else ""


def listing(words: Iterable[str]) -> str:
    """Return the words sorted, with commas."""
    return ", ".join(sorted(words))
