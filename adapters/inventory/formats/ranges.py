"""Ansible's host ranges: `pg[01:03]`, `db-[a:c].example.com`, `n[0:10:5]`."""

import itertools
import re
import string

from meshbridge.adapters.inventory.formats.checks import Reason, Refused

_RANGE = re.compile(r"\[([0-9]{1,9}|[A-Za-z]):([0-9]{1,9}|[A-Za-z])(?::([0-9]{1,9}))?\]")


def expand(pattern: str, limit: int) -> list[str]:
    """Return the names a pattern stands for, itself when it has no range.

    Raises:
        Refused: a range can't be counted, or there are more than `limit` names.
    """
    pieces: list[list[str]] = []
    end = 0
    total = 1
    for found in _RANGE.finditer(pattern):
        steps = _steps(found, limit)
        total *= len(steps)
        if total > limit:
            raise Refused(Reason.FIELD, f"{pattern!r} stands for more than {limit} hosts")
        pieces += [[pattern[end : found.start()]], steps]
        end = found.end()
    pieces.append([pattern[end:]])
    return ["".join(parts) for parts in itertools.product(*pieces)]


def _steps(found: re.Match[str], limit: int) -> list[str]:
    first, last, step = found[1], found[2], int(found[3] or 1)
    if step == 0 or first.isdigit() != last.isdigit():
        raise Refused(Reason.FIELD, f"the range {found[0]} can't be counted")
    if first.isdigit():
        # A leading zero means a fixed width, as in 01:10.
        width = len(first) if first.startswith("0") and len(first) > 1 else 0
        numbers = range(int(first), int(last) + 1, step)[: limit + 1]
        steps = [str(number).zfill(width) for number in numbers]
    else:
        letters = string.ascii_letters
        steps = list(letters[letters.index(first) : letters.index(last) + 1 : step])
    if not steps:
        raise Refused(Reason.FIELD, f"the range {found[0]} is empty")
    return steps
