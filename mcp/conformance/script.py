"""Scripts read line by line: what to say, and whether what was heard is what must be. No I/O."""

from collections.abc import Mapping

from meshbridge.mcp.conformance.rules import TYPES, Rule
from meshbridge.mcp.conformance.tongues import Hearing, Saying

Survey = Mapping[str, str]
"""The ServiceEntries there are: versions by name."""

_MADE_UP = "1795527651743000000"


def lines(rule: Rule, survey: Survey) -> list[list[str]]:
    """Return the words of each line, with what is in the server filled in."""
    first = next(iter(survey), "")
    script = rule.script.replace("$first", first)
    return [line.split() for line in script.splitlines() if line.strip()]


def saying(protocol: str, words: list[str], last: Mapping[str, Hearing], survey: Survey) -> Saying:
    """Return what a line `> TYPE ...` says."""
    url = TYPES[protocol][words[0]]
    given = dict(word.split("=", 1) for word in words[1:] if "=" in word and word[0] not in "+-")
    has = given.get("have", "")
    initial = dict([has.rsplit("@", 1)]) if "@" in has else survey if has else {}
    nonce = given.get("nonce", "")
    heard = last.get(url)
    return Saying(
        type_url=url,
        nonce=heard.nonce if heard and nonce == "last" else nonce and _MADE_UP,
        version=given.get("version", ""),
        error=given.get("error", ""),
        subscribe=tuple(word[1:] for word in words if word[0] == "+"),
        unsubscribe=tuple(word[1:] for word in words if word[0] == "-"),
        initial=initial,
        incremental="inc" in words,
    )


def fault(heard: Hearing, words: list[str], before: Hearing | None, survey: Survey) -> str:
    """Return what is wrong with an answer to a line `< TYPE ...`, "" for nothing."""
    faults = list(heard.faults)
    for word in words[1:]:
        key, _, value = word.partition("=")
        faults += _broken(key, value, heard, before, survey)
    return faults[0] if faults else ""


def _broken(key: str, value: str, heard: Hearing, before: Hearing | None, survey: Survey) -> list[str]:
    names = heard.resources.keys()
    checks = {
        "all": (names >= survey.keys(), f"it lacks {_some(survey.keys() - names)}"),
        "none": (not names, f"it has {_some(set(names))}"),
        "some": (value in names, f"it lacks {value}"),
        "only": (len(names) == 1, f"it has {len(names)} resources"),
        "removed": (value in heard.removed, f"{value} is not listed as removed"),
        "gone": (
            value in heard.removed or (heard.is_whole and value not in names),
            f"{value} is neither listed as removed nor missing from a whole response",
        ),
        "nonce": (before is None or before.nonce != heard.nonce, "it has the nonce of the response before"),
        "whole": (heard.is_whole, "it is an increment"),
    }
    is_so, reason = checks[key]
    return [] if is_so else [reason]


def _some(names: set[str]) -> str:
    first = min(names, default="")
    return first if len(names) < 2 else f"{first} and {len(names) - 1} more"
