"""The finding of a check, or why it could not be run; and helpers to write names and durations readably."""

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
    """The status of a check. The last one means that it could not be run."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"
    UNCHECKED = "unchecked"


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        check: name of the check.
        status: its status.
        said: what was found, or why nothing could be, as text.
        remedy: what to type or to change next; empty: nothing.
        facts: the finding for machines; BSON values.
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
    """The finding for a check that failed with an error."""
    if isinstance(error, OperationFailure) and error.code in UNAUTHORIZED:
        return unchecked(check, f"not permitted: {name_of(error)}", "See the findings about privileges.")
    if isinstance(error, ConnectionFailure):
        return unchecked(check, f"the deployment stopped answering: {words_of(error)}")
    if isinstance(error, PyMongoError):
        return unchecked(check, f"the deployment refuses: {name_of(error)}")
    return unchecked(check, f"unexpected {type(error).__name__}: {error}", "Please report this.")


def listed(names: Sequence[str]) -> str:
    """The first few names, and the number of the others; `facts` has all of them."""
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
