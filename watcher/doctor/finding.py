"""What a check has found, or why it could not look; names and spans of time in it, so that it can be read."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from pymongo.errors import ConnectionFailure, OperationFailure, PyMongoError

from watcher.errors import UNAUTHORIZED, name_of, words_of

if TYPE_CHECKING:
    from collections.abc import Sequence

_MOST = 5
_MINUTE_S, _HOUR_S = 60, 3600


class Status(StrEnum):
    """How good it is. The last one is no finding at all."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"
    UNCHECKED = "unchecked"


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        check: what was looked at.
        status: how good it is, or that it is not known.
        said: what was found, or why nothing could be.
        remedy: what to type or to change next; empty where there is nothing to do.
        facts: the same for machines; BSON values.
    """

    check: str
    status: Status
    said: str
    remedy: str = ""
    facts: dict[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The finding as one document."""
        named = {"check": self.check, "status": str(self.status), "said": self.said}
        return {**named, **({"remedy": self.remedy} if self.remedy else {}), "facts": self.facts}


def ok(check: str, said: str, **facts: Any) -> Finding:
    """All is well."""
    return Finding(check, Status.OK, said, "", facts)


def warning(check: str, said: str, remedy: str, **facts: Any) -> Finding:
    """It works, but not as well as it could, or not for long."""
    return Finding(check, Status.WARNING, said, remedy, facts)


def problem(check: str, said: str, remedy: str, **facts: Any) -> Finding:
    """The daemon cannot do what the settings ask for."""
    return Finding(check, Status.PROBLEM, said, remedy, facts)


def unchecked(check: str, said: str, remedy: str = "", **facts: Any) -> Finding:
    """It is not known."""
    return Finding(check, Status.UNCHECKED, said, remedy, facts)


def could_not(check: str, error: Exception) -> Finding:
    """Why a check could not be done, as far as its error tells."""
    if isinstance(error, OperationFailure) and error.code in UNAUTHORIZED:
        return unchecked(check, f"not permitted: {name_of(error)}", "See the findings about privileges.")
    if isinstance(error, ConnectionFailure):
        return unchecked(check, f"the deployment stopped answering: {words_of(error)}")
    if isinstance(error, PyMongoError):
        return unchecked(check, f"the deployment refuses: {name_of(error)}")
    return unchecked(check, f"unexpected {type(error).__name__}: {error}", "Please report this.")


def listed(names: Sequence[str]) -> str:
    """The first few, and how many more there are; `facts` have them all."""
    more = len(names) - _MOST
    return ", ".join(names[:_MOST]) + (f" and {more} more" if more > 0 else "")


def many(count: int, what: str) -> str:
    """A number of things: `1 collection`, `2 collections`."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def span(seconds: float) -> str:
    """A span of time: `12 s`, `5 min`, `30.5 h`."""
    if seconds < _MINUTE_S:
        return f"{seconds:.0f} s"
    if seconds < _HOUR_S:
        return f"{seconds / _MINUTE_S:.0f} min"
    return f"{seconds / _HOUR_S:.1f} h"
