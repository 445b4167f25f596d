"""Ages: how long history is kept, as `30d` or `2y`, and the rules that assign them to namespaces. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

from change_history import globs

_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400, "mo": 30 * 86_400, "y": 365 * 86_400}
_AGE = re.compile(r"([0-9]{1,9})(s|min|mo|m|h|d|w|y)", re.ASCII)
FOREVER = "forever"
_LONGEST_S = 1000 * 365 * 86_400


class Rule(NamedTuple):
    """How long the history of some namespaces is kept.

    Attributes:
        age: the age as written: `30d`, or `forever`.
    """

    glob: str
    age: str

    @property
    def seconds(self) -> int | None:
        """The age in seconds; None: for ever."""
        return None if self.age == FOREVER else seconds(self.age)

    def __str__(self) -> str:
        return f"{self.glob}={self.age}"


def seconds(age: str) -> int:
    """Read an age.

    Raises:
        ValueError: the text is no age.
    """
    found = _AGE.fullmatch(age.strip().lower())
    if found is None or not int(found[1]):
        raise ValueError("an age is a whole number and s, min, h, d, w, mo or y, for example 30d")
    if found[2] == "m":
        raise ValueError(f"m may mean minutes or months; write {found[1]}min or {found[1]}mo")
    length = int(found[1]) * _SECONDS[found[2]]
    if length > _LONGEST_S:
        raise ValueError(f"that is longer than 1000 years; write {FOREVER}")
    return length


def rule_for(rules: tuple[Rule, ...], namespace: str) -> Rule | None:
    """The first rule that matches a namespace; None: its history is kept for ever."""
    database, collection = globs.split(namespace)
    return next((rule for rule in rules if globs.fits((rule.glob,), database, collection)), None)
