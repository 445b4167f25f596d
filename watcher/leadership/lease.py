"""The lease that decides which daemon leads a stream. It is stored in the checkpoint; only the server's clock counts.

Several daemons may run for one stream. The one that holds the lease leads, and renews it well before it expires; the
others watch it. Whenever a daemon takes the lead, the term is incremented, and every write to the checkpoint names its
term: a late write of a former leader matches no document.
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
"""Duration of a lease in seconds; it is also the time until a killed leader is replaced."""
RENEW_EVERY_S = 1.5
LOOK_EVERY_S = 0.25
ANSWER_S = 2.0
"""Timeout in seconds for operations on the lease. A later reply would be useless."""

_MAJORITY = WriteConcern("majority")
_MILLISECONDS = 1000
_LONGEST_MS = 600_000
"""Upper limit of a lease's duration, in milliseconds, for every version of the program."""


class DeposedError(Exception):
    """Another daemon or an operator has taken the lead: nothing more may be written under this term."""


class Term(NamedTuple):
    """One leadership of one daemon.

    Attributes:
        owner: random name of the daemon that leads.
        number: number of the term, higher than those of all earlier terms of the stream.
    """

    owner: str
    number: int

    def of(self, stream: str) -> dict[str, Any]:
        """A query that matches the stream's checkpoint only while this term lasts."""
        return {"_id": stream, "lease.owner": self.owner, "lease.term": self.number}

    def require(self, result: UpdateResult) -> None:
        """Check that an update has matched its document.

        Raises:
            DeposedError: it matched none; nothing was written.
        """
        if not result.matched_count:
            raise DeposedError(f"term {self.number} is over")


class Holder(NamedTuple):
    """The present leader of a stream.

    Attributes:
        owner: random name of the daemon.
        host: name of the machine or container that it runs on.
        pid: its process id.
        place: the pid namespace of `pid`, as `whereabouts` returns it; None: unknown.
        left_s: seconds until its lease expires if it is not renewed, by the server's clock.
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
        """Whether its process is known to have ended. This can be known only in the same pid namespace."""
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
    """The scope in which process ids are unique: boot id and pid namespace (Linux only); None: unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return None


def holder_of(lease: Mapping[str, Any] | None, left_ms: float | None) -> Holder | None:
    """Read a stored lease; None: no daemon leads."""
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
    """The lease of one stream.

    Every read goes to the primary, and every write is acknowledged by a majority.

    Args:
        ttl_s: seconds that the lease lasts after it was taken or renewed.
    """

    def __init__(self, database: Database[Any], stream: str, ttl_s: float = TTL_S) -> None:
        options: dict[str, Any] = {"write_concern": _MAJORITY, "read_preference": ReadPreference.PRIMARY}
        self._checkpoints = database.get_collection(CHECKPOINTS, **options)
        self._terms = database.get_collection(TERMS, **options)
        self._stream = stream
        self._owner = uuid4().hex
        self.ttl_s = ttl_s

    def holder(self) -> Holder | None:
        """The present leader; None: there is none."""
        left = {"$subtract": ["$lease.expires_at", "$$NOW"]}
        wanted = {"lease": 1, "left": {"$cond": [self._sound(), left, None]}}
        with pymongo.timeout(ANSWER_S):
            for found in self._checkpoints.aggregate([{"$match": {"_id": self._stream}}, {"$project": wanted}]):
                return holder_of(found.get("lease"), found.get("left"))
        return None

    def acquire(self, *, dead: str | None = None, by_force: bool = False) -> Term | None:
        """Take the lease, if it is free.

        Args:
            dead: owner that is known to have ended; its lease does not have to expire. None: there is none.
            by_force: take the lease from any holder.

        Returns:
            The new term; None: another daemon leads.

        Raises:
            pymongo.errors.PyMongoError: no reply; the lease may have been taken, and can be taken again.
        """
        free = {
            "$or": [
                by_force,
                {"$not": [self._sound()]},  # never taken, released, or damaged
                {"$lte": ["$lease.expires_at", "$$NOW"]},
                {"$in": ["$lease.owner", [self._owner, *([dead] if dead else [])]]},
            ]
        }
        with pymongo.timeout(ANSWER_S):
            fenced = self._terms.find_one({"_id": self._stream}) or {}  # it outlives a deleted checkpoint
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
            except DuplicateKeyError:  # another daemon has just created the checkpoint
                return None
        lease = (found or {})["lease"]
        return Term(self._owner, int(lease["term"])) if lease.get("owner") == self._owner else None

    def renew(self, term: Term) -> None:
        """Extend the lease to its full duration, even if it has expired, unless it was taken since.

        Raises:
            DeposedError: another daemon has taken it.
        """
        with pymongo.timeout(ANSWER_S):
            later = [{"$set": {"lease.expires_at": self._expiry()}}]
            term.require(self._checkpoints.update_one(term.of(self._stream), later))

    def release(self, term: Term) -> None:
        """Release the lease if it is still held; the number of the term stays.

        Raises:
            pymongo.errors.PyMongoError: no reply; the lease expires by itself.
        """
        holder = dict.fromkeys((f"lease.{name}" for name in ("owner", "expires_at", "host", "pid", "place")), "")
        with pymongo.timeout(ANSWER_S):
            self._checkpoints.update_one(term.of(self._stream), {"$unset": holder})

    def _sound(self) -> dict[str, Any]:
        """An expression: whether the stored lease is valid, with an end that is a date within the longest duration.

        A lease made by a wrong clock, or by hand, must not block all daemons for ever.
        """
        latest = {"$add": ["$$NOW", _LONGEST_MS]}
        is_date = {"$eq": [{"$type": "$lease.expires_at"}, "date"]}
        return {"$and": [is_date, {"$isNumber": "$lease.term"}, {"$lt": ["$lease.expires_at", latest]}]}

    def _expiry(self) -> dict[str, Any]:
        return {"$add": ["$$NOW", int(self.ttl_s * _MILLISECONDS)]}
