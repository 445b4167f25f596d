"""The lives of a collection: since when, and under which names before, the documents of a namespace are what they are.

A drop ends every document of a collection, without an event for any. A rename takes them all to another name, where it
ends whatever was there; so does the server's own `$out` and the conversion to a capped collection.
"""

from __future__ import annotations

import re
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from bson import Binary

from change_history import globs
from change_history.bson import raw
from change_history.bson.cluster_time import BEGINNING_OF_TIME, ClusterTime
from change_history.reconstruct.places import END, Place, before, identity
from change_history.reconstruct.together import Read, together
from change_history.stored.names import CHECKPOINTS, DOCUMENT_TIMELINE, HISTORY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from bson.raw_bson import RawBSONDocument
    from pymongo.database import Database

ENDS = ("drop", "dropDatabase", "rename")
"""Operations that end a collection's documents, or take them to another name."""

_CONVERSION = re.compile(r"\.tmp\w{5}\.convertToCapped\.")
"""How the server names the copy that is to become a capped collection. No event tells the documents that it copies from
the collection of that name, only those that it deletes again because they do not fit."""

_OF_A_TURN = {"namespace": 1, "timestamp": 1, "description.to": 1}


class Span(NamedTuple):
    """A stretch of history in which documents lie under one name.

    Attributes:
        namespace: `db.coll`.
        since: first cluster time of it.
        until: the place before which it ends.
    """

    namespace: str
    since: ClusterTime
    until: Place

    def ids(self) -> dict[str, Any]:
        """The condition on `_id`; entries of the last cluster time may still lie beyond `until`."""
        return {"$gte": Binary(self.since.first_id), "$lte": Binary(self.until.last_id)}


class Turn(NamedTuple):
    """An event that ended or brought the documents of a namespace.

    Attributes:
        id: its `_id`, 16 bytes.
        source: name from which it brought them; None: it ended them.
        wall: its wall time, in milliseconds since 1970.
    """

    id: bytes
    source: str | None
    wall: int

    @property
    def cluster_time(self) -> ClusterTime:
        """That of the event."""
        return ClusterTime.from_id(self.id)


def spans(
    database: Database[Any],
    namespace: str,
    until: Place,
    follow: Callable[[str], bool] | None = None,
    asked: tuple[Turn | None] | None = None,
) -> Iterator[Span]:
    """Where the documents that a namespace has at a place lie in history, newest first.

    Args:
        database: the history database.
        namespace: `db.coll`.
        until: the place.
        follow: whether what lies under a former name may be relied upon; by default, whether a stream watches it.
        asked: what `last_turn` has said of the place already.

    Raises:
        pymongo.errors.PyMongoError: the deployment does not answer, or refuses.
    """
    name: str | None = namespace
    while name is not None:
        turn = asked[0] if asked is not None else last_turn(database, name, until)
        asked = None
        since = turn.cluster_time if turn is not None else BEGINNING_OF_TIME
        yield Span(name, since, until)
        until = before(since)
        source = turn.source if turn is not None else None
        if source is not None and _CONVERSION.search(source) is not None:
            yield Span(source, BEGINNING_OF_TIME, until)
            name = name if _was_created(database, source) else None
        else:
            followed = source is not None and (follow(source) if follow is not None else _is_watched(database, source))
            name = source if followed else None


def eras(database: Database[Any], namespace: str) -> list[Span]:
    """All of a namespace's history, oldest first: the stretches between which its documents ended, or were brought.

    Raises:
        pymongo.errors.PyMongoError: the deployment does not answer, or refuses.
    """
    found: list[Span] = []
    turn, until = last_turn(database, namespace, END), END
    while turn is not None:
        since = turn.cluster_time
        found.append(Span(namespace, since, until))
        until = before(since)
        turn = last_turn(database, namespace, until)
    return [Span(namespace, BEGINNING_OF_TIME, until), *reversed(found)]


def last_turn(database: Database[Any], namespace: str, until: Place) -> Turn | None:
    """The last event before a place that ended, or brought, all documents of a namespace.

    Raises:
        pymongo.errors.PyMongoError: the deployment does not answer, or refuses.
    """
    return turn_of(chain(*together(database, turn_reads(namespace, until), dict(DOCUMENT_TIMELINE))), namespace)


def turn_reads(namespace: str, until: Place) -> tuple[Read, Read]:
    """What is to be read for `turn_of`: the last event before a place that ended, and that brought, the documents."""
    name, _, collection = namespace.partition(".")
    upto = {"$lte": Binary(until.last_id)}
    ended = {
        "namespace": {"$in": [namespace, name]},
        "document_id": {"$exists": False},
        "operation": {"$in": list(ENDS)},
        "_id": upto,
    }
    brought = {
        "operation": "rename",
        "description": {"$exists": True},
        "description.to.db": name,
        "description.to.coll": collection,
        "_id": upto,
    }
    return Read(HISTORY, ended, {"_id": -1}, 1, _OF_A_TURN), Read(HISTORY, brought, {"_id": -1}, 1, _OF_A_TURN)


def turn_of(found: Iterable[RawBSONDocument], namespace: str) -> Turn | None:
    """The later of what was found for `turn_reads`."""
    return max((_turn(event, namespace) for event in found), default=None)


def _is_watched(database: Database[Any], namespace: str) -> bool:
    """Whether a stream covers a namespace: else writes under that name are not in history. True where none is known."""
    kept = database[CHECKPOINTS].find({"options": {"$exists": True}}, {"options": 1})
    scopes = [checkpoint["options"] for checkpoint in kept]
    return not scopes or any(globs.covers(said["include"], said["exclude"], namespace) for said in scopes)


def _was_created(database: Database[Any], namespace: str) -> bool:
    """Whether the events of a collection were recorded from its beginning."""
    query = {"namespace": namespace, "document_id": {"$exists": False}, "operation": "create"}
    return database[HISTORY].find_one(query, {"_id": 1}, hint=DOCUMENT_TIMELINE) is not None


def _turn(event: RawBSONDocument, namespace: str) -> Turn:
    fields = raw.fields(bytes(event.raw))
    source = raw.text_of(fields[b"namespace"]).decode("utf-8", "surrogateescape")
    target = raw.fields(fields[b"description"][1]).get(b"to") if b"description" in fields else None
    arrived = target is not None and b".".join(raw.text_of(v) for v in raw.fields(target[1]).values())
    brought = arrived == namespace.encode("utf-8", "surrogateescape")
    wall = int.from_bytes(fields[b"timestamp"][1], "little", signed=True)
    return Turn(identity(fields), source if brought else None, wall)
