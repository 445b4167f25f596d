"""Which stretches of a document's history blame has to read: snapshots tell what has changed since the one before.

Snapshots of earlier builds do not have these paths; the entries between such are read as if there were no snapshots.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from bson import Binary

from change_history.bson import raw
from change_history.bson.cluster_time import BEGINNING_OF_TIME, ClusterTime
from change_history.reconstruct.horizon import horizon
from change_history.reconstruct.reads import is_id
from change_history.reconstruct.snapshots import changed_since
from change_history.stored.names import DOCUMENT_TIMELINE, SNAPSHOTS
from change_history.stored.order import identity
from change_history.stored.reading import RAW

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pymongo.database import Database

    from change_history.blame.sought import Sought
    from change_history.reconstruct.lineage import Incarnation

    Fields = dict[bytes, raw.Value]

_MOST_AT_ONCE = 64
_NOT_WORTH_A_READ = 2
"""Most unneeded stretches to read along between two needed ones: a further query would take longer."""


class Stretch(NamedTuple):
    """The entries of a document between two of them.

    Attributes:
        since: cluster time of the earlier one.
        until: that of the later one. Entries at both times may belong to it or to the next stretch.
        paths: the dotted paths that its entries change, joined by NUL; None: not known.
    """

    since: ClusterTime
    until: ClusterTime
    paths: bytes | None


def to_read(
    database: Database[Any], incarnation: Incarnation, document_id: raw.Value, last: bytes, sought: Sought
) -> Iterator[dict[str, Binary]]:
    """What is to be read of a document's entries, newest first, as conditions on `_id`; no entry is in two of them.

    Each condition depends on the leaves that are still sought when it is requested.

    Args:
        incarnation: where its entries are.
        last: `_id` of its last entry, 16 bytes. Only entries with a snapshot before it may be left out.
    """
    read_from = None
    for since, until in _joined(_stretches(database, incarnation, document_id, last), sought):
        end = {"$lte": until.last_id} if read_from is None or until < read_from else {"$lt": read_from.first_id}
        yield {name: Binary(bound) for name, bound in {"$gte": since.first_id, **end}.items()}
        read_from = since


def _joined(stretches: Iterator[Stretch], sought: Sought) -> Iterator[tuple[ClusterTime, ClusterTime]]:
    """The stretches that have to be read, adjacent ones joined."""
    most = 1
    while some := _next(stretches, most):
        most = min(2 * most, _MOST_AT_ONCE)
        since: ClusterTime | None = None
        until = some[0].until
        skipped = 0
        for stretch in some:
            if stretch.paths is not None and sought.may_skip(stretch.paths):
                skipped += 1
                continue
            if since is not None and skipped > _NOT_WORTH_A_READ:
                yield since, until
                since = None
            if since is None:
                until = stretch.until
            since, skipped = stretch.since, 0
        if since is not None:
            yield since, until


def _next(stretches: Iterator[Stretch], most: int) -> list[Stretch]:
    """The next stretches, up to one that has to be read before it is known which later ones may be left out."""
    found: list[Stretch] = []
    for stretch in stretches:
        found.append(stretch)
        if stretch.paths is None or len(found) == most:
            break
    return found


def _stretches(
    database: Database[Any], incarnation: Incarnation, document_id: raw.Value, last: bytes
) -> Iterator[Stretch]:
    """The stretches of an incarnation, newest first, without gaps between them."""
    reached = incarnation.until.cluster_time
    oldest_told = b""  # the entry at that time after which all paths are known
    expired: ClusterTime | None = None
    for fields in _snapshots(database, incarnation, document_id, ClusterTime.from_id(last)):
        told = changed_since(fields)
        if told is None:
            continue
        if expired is None:  # the base of expired history is an entry that no snapshot's paths include
            said = horizon(database, incarnation.namespace)
            expired = said.time if said is not None else BEGINNING_OF_TIME
        since, entry = ClusterTime.from_id(told[0]), identity(fields)
        if since <= expired or since < incarnation.since or since > reached:
            continue
        until = min(ClusterTime.from_id(entry), reached)
        # All entries of a transaction have one cluster time, and a snapshot may be missing between two of them.
        if until < reached or (ClusterTime.from_id(entry) == reached and entry != oldest_told):
            yield Stretch(until, reached, None)
        yield Stretch(since, until, told[1])
        reached, oldest_told = since, told[0]
    yield Stretch(incarnation.since, reached, None)


def _snapshots(
    database: Database[Any], incarnation: Incarnation, document_id: raw.Value, last: ClusterTime
) -> Iterable[Fields]:
    query = {
        "namespace": incarnation.namespace,
        "document_id": is_id(document_id),
        "_id": {"$gte": Binary(incarnation.since.first_id), "$lt": Binary(last.first_id)},
        "changed": {"$exists": True},
    }
    kept = database.get_collection(SNAPSHOTS, codec_options=RAW)
    newest_first = [(key, -1) for key, _ in DOCUMENT_TIMELINE]
    with kept.find(query, {"since": 1, "changed": 1}, sort=newest_first, hint=DOCUMENT_TIMELINE) as cursor:
        for stored in cursor:
            yield raw.fields(bytes(stored.raw))
