"""Terms, and what only a leader writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import bson

from watcher.events import baseline
from watcher.gaps.own_entries import OwnEntries
from watcher.leadership.fence import Fence
from watcher.leadership.lease import Lease, Term
from watcher.stream.batch import Position
from watcher.stream.writer import Writer
from watcher.targets.scope import Scope

if TYPE_CHECKING:
    from pymongo.database import Database

SCOPE = Scope(("shop.*",), (), "history")


def position(number: int) -> Position:
    """A position."""
    return Position(bson.encode({"_data": f"82{number:08X}"}), (1).to_bytes(4, "little") + number.to_bytes(4, "little"))


def entry(number: int) -> bytes:
    """What a survey says of a document."""
    document = bson.encode({"_id": number, "n": number})
    return baseline.baseline(b"shop.a", document, baseline.Snapshot((7).to_bytes(8, "little"), bytes(8)))


def term(database: Database[Any]) -> Term:
    """A term that has begun, and ended every earlier one."""
    taken = Lease(database, "default").acquire(by_force=True)
    assert taken is not None
    return taken


def fence(database: Database[Any]) -> Fence:
    """Writes under a term that has just begun."""
    return Fence(database, "default", term(database))


def own(database: Database[Any], mine: Fence) -> OwnEntries:
    """Stores what a survey says."""
    return OwnEntries(database, mine, Writer(database, "default"))
