"""Who leads a stream: a lease in its checkpoint, by the clock of the server that keeps it.

Several daemons may be started on one stream. The one that holds the lease leads, and renews it well before it runs out;
the others look at it. Every time somebody takes the lead, the term goes up by one, and every write to the checkpoint
names the term it is made under: what a former leader writes late matches nothing. No clock but the server's decides.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

import pymongo
from bson import Int64
from pymongo import ReadPreference, ReturnDocument, WriteConcern
from pymongo.errors import DuplicateKeyError

from change_history.stored.names import CHECKPOINTS, TERMS

if TYPE_CHECKING:
    from pymongo.database import Database
    from pymongo.results import UpdateResult

TTL_S = 6.0
"""So long a lease lasts; a leader that is gone without a word is replaced that much later."""
RENEW_EVERY_S = 1.5
LOOK_EVERY_S = 0.25
ANSWER_S = 2.0
"""So long an answer about the lease is waited for. A later one would be worth nothing."""

_MAJORITY = WriteConcern("majority")
_MILLISECONDS = 1000
_LONGEST_MS = 600_000
"""No lease, of whatever version, lasts longer."""


class DeposedError(Exception):
    """Another daemon leads the stream now, or an operator has taken it: nothing more may be done under this term."""


class Term(NamedTuple):
    """One leadership of one daemon.

    Attributes:
        owner: random name of the daemon that leads.
        number: higher than that of every earlier term of the stream.
    """

    owner: str
    number: int

    def of(self, stream: str) -> dict[str, Any]:
        """The query that finds the stream's checkpoint as long as this term lasts."""
        return {"_id": stream, "lease.owner": self.owner, "lease.term": self.number}

    def require(self, result: UpdateResult) -> None:
        """See to it that an update has found its document.

        Raises:
            DeposedError: it has not; nothing was written.
        """
        if not result.matched_count:
            raise DeposedError(f"term {self.number} is over")


class Holder(NamedTuple):
    """Who leads a stream now.

    Attributes:
        owner: random name of the daemon.
        host: of the machine or container it runs on.
        pid: of its process.
        place: which processes that number is one of, as `whereabouts` names it; None: not known.
        left_s: seconds until its lease runs out if it is not renewed, by the server's clock.
    """

    owner: str
    host: str
    pid: int
    place: str | None
    term: int
    left_s: float

    def __str__(self) -> str:
        return f"{self.host} (pid {self.pid})"

    def is_dead(self) -> bool:
        """Whether its process is known to exist no more. Only a process of the same kernel can tell."""
        if self.place is None or self.place != whereabouts():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except OSError:
            return False
        return False


def whereabouts() -> str | None:
    """Within what a process id names a process: this start of the machine, and the pid namespace (Linux only)."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return None


def holder_of(lease: Mapping[str, Any] | None, left_ms: float | None) -> Holder | None:
    """Read a stored lease; None: nobody leads."""
    if not isinstance(lease, Mapping) or "owner" not in lease or "term" not in lease or left_ms is None or left_ms <= 0:
        return None
    return Holder(
        str(lease["owner"]),
        str(lease.get("host")),
        pid if isinstance(pid := lease.get("pid"), int) else 0,
        str(lease.get("place")) if "place" in lease else None,
        int(lease["term"]),
        left_ms / _MILLISECONDS,
    )


class Lease:
    """The lease of one stream, as one daemon sees it.

    Every answer comes from the primary, and every write is acknowledged by a majority, or it has not happened.

    Args:
        ttl_s: so long it lasts after it was taken or renewed.
    """

    def __init__(self, database: Database[Any], stream: str, ttl_s: float = TTL_S) -> None:
        options: dict[str, Any] = {"write_concern": _MAJORITY, "read_preference": ReadPreference.PRIMARY}
        self._checkpoints = database.get_collection(CHECKPOINTS, **options)
        self._terms = database.get_collection(TERMS, **options)
        self._stream = stream
        self._owner = uuid4().hex
        self.ttl_s = ttl_s

    def holder(self) -> Holder | None:
        """Who leads; None: nobody."""
        left = {"$subtract": ["$lease.expires_at", "$$NOW"]}
        wanted = {"lease": 1, "left": {"$cond": [self._sound(), left, None]}}
        with pymongo.timeout(ANSWER_S):
            for found in self._checkpoints.aggregate([{"$match": {"_id": self._stream}}, {"$project": wanted}]):
                return holder_of(found.get("lease"), found.get("left"))
        return None

    def acquire(self, *, dead: str | None = None, by_force: bool = False) -> Term | None:
        """Take the lead, if nobody has it.

        Args:
            dead: a daemon that is known to exist no more; its lease need not run out.
            by_force: take it from whoever has it.

        Returns:
            The new term; None: somebody else leads.

        Raises:
            pymongo.errors.PyMongoError: no answer; it may have been taken, and can be taken again.
        """
        free = {
            "$or": [
                by_force,
                {"$not": [self._sound()]},  # never taken, or released, or damaged
                {"$lte": ["$lease.expires_at", "$$NOW"]},
                {"$in": ["$lease.owner", [self._owner, *([dead] if dead else [])]]},
            ]
        }
        with pymongo.timeout(ANSWER_S):
            fenced = self._terms.find_one({"_id": self._stream}) or {}  # it outlives a checkpoint that is removed
            term = {"$cond": [{"$isNumber": "$lease.term"}, "$lease.term", 0]}
            last = {"$max": [term, Int64(fenced.get("term", 0))]}
            mine = {
                "owner": self._owner,
                "term": {"$add": [last, Int64(1)]},
                "expires_at": self._expiry(),
                "host": {"$literal": socket.gethostname()},
                "pid": os.getpid(),
                "place": {"$literal": whereabouts()},
            }
            try:
                found = self._checkpoints.find_one_and_update(
                    {"_id": self._stream},
                    [{"$set": {"lease": {"$cond": [free, mine, "$lease"]}}}],
                    {"lease": 1},
                    upsert=True,
                    return_document=ReturnDocument.AFTER,
                )
            except DuplicateKeyError:  # the checkpoint did not exist, and now does by somebody else's hand
                return None
        lease = (found or {})["lease"]
        return Term(self._owner, int(lease["term"])) if lease.get("owner") == self._owner else None

    def renew(self, term: Term) -> None:
        """Let the lease last for its whole time again, also if it has run out and nobody has taken it since.

        Raises:
            DeposedError: somebody has.
        """
        with pymongo.timeout(ANSWER_S):
            later = [{"$set": {"lease.expires_at": self._expiry()}}]
            term.require(self._checkpoints.update_one(term.of(self._stream), later))

    def release(self, term: Term) -> None:
        """Give the lease up, if it is still held; the number of the term stays.

        Raises:
            pymongo.errors.PyMongoError: no answer; it runs out by itself.
        """
        holder = dict.fromkeys((f"lease.{name}" for name in ("owner", "expires_at", "host", "pid", "place")), "")
        with pymongo.timeout(ANSWER_S):
            self._checkpoints.update_one(term.of(self._stream), {"$unset": holder})

    def _sound(self) -> dict[str, Any]:
        """Whether a lease can be what a daemon has written: its end is a date, and no further away than it can be.

        One of a clock that was wrong, or that somebody has made up, must not keep everybody waiting for ever.
        """
        latest = {"$add": ["$$NOW", _LONGEST_MS]}
        is_date = {"$eq": [{"$type": "$lease.expires_at"}, "date"]}
        return {"$and": [is_date, {"$isNumber": "$lease.term"}, {"$lt": ["$lease.expires_at", latest]}]}

    def _expiry(self) -> dict[str, Any]:
        return {"$add": ["$$NOW", int(self.ttl_s * _MILLISECONDS)]}
