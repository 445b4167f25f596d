"""Which recorded event each leaf of a document has its value from. The rules are in `leaves`.

A `baseline` entry records what existed when watching began: its values were set earlier, by unknown writers.
"""

from __future__ import annotations

import json
from itertools import count, islice
from typing import TYPE_CHECKING, Any, NamedTuple

from bson import Binary
from bson.raw_bson import RawBSONDocument

from change_history.blame import backwards, stretches
from change_history.blame import leaves as blame
from change_history.bson import raw
from change_history.bson.paths import decoded, dotted, is_ambiguous
from change_history.bson.values import to_python
from change_history.reconstruct import fold
from change_history.reconstruct.entries import fields_of, find, newest_batches, ordered, timelines
from change_history.reconstruct.reads import in_ids
from change_history.reconstruct.state import UnknownStateError
from change_history.stored.event import to_event
from change_history.stored.names import HISTORY
from change_history.stored.order import identity
from change_history.stored.reading import RAW

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pymongo.database import Database

    from change_history.blame.sought import Sought
    from change_history.bson.paths import Path, TextPath
    from change_history.reconstruct.entries import Reconstructed
    from change_history.reconstruct.lineage import Incarnation
    from change_history.reconstruct.state import Reconstruction
    from change_history.stored.event import Event

_AT_ONCE = 500


class Leaf(NamedTuple):
    """A leaf of a document: a value that is no document and no array, or an empty one of these.

    Attributes:
        path: its keys and indexes.
        field: the path in MongoDB's notation; where that is ambiguous, as a JSON list.
        value: its value.
        event: the recorded event that last set it. For an event stored in chunks, without its values.
    """

    path: TextPath
    field: str
    value: Any
    event: Event


def leaves(database: Database[Any], recollection: Reconstruction) -> list[Leaf]:
    """The leaves of a document at a moment, in its order; empty if it did not exist.

    Entries are read from the newest backwards until each leaf has its own. Where that is not enough, all are read,
    oldest first; only the document is held in memory, with a number for each leaf.

    Raises:
        change_history.reconstruct.state.UnknownStateError: the document is unknown.
    """
    document = recollection.known()
    if document is None or recollection.reconstructed is None:
        return []
    paths = [(path, value) for path, value, _ in blame.leaves(document, 0)]
    try:
        found = _from_the_newest(database, recollection, recollection.reconstructed, paths)
    except backwards.NeedsAllError:
        found = _from_the_oldest(database, recollection, document)
    events = _events(database, set(found))
    return [
        Leaf(decoded(path), _field(path), to_python(value), events[setter])
        for (path, value), setter in zip(paths, found, strict=True)
    ]


def _from_the_newest(
    database: Database[Any],
    recollection: Reconstruction,
    reconstructed: Reconstructed,
    paths: list[tuple[Path, raw.Value]],
) -> list[bytes]:
    def entries(sought: Sought) -> Iterator[dict[bytes, raw.Value]]:
        for incarnation in recollection.lineage:
            parts = stretches.to_read(database, incarnation, recollection.raw_id, reconstructed.last, sought)
            stored = map(RawBSONDocument, sought.concerned(batches(incarnation, parts)))
            yield from ordered(fields_of(database, stored), incarnation.until, newest_first=True)

    def batches(incarnation: Incarnation, parts: Iterable[dict[str, Binary]]) -> Iterator[bytes]:
        for ids in parts:
            with newest_batches(database, incarnation, wanted, ids) as cursor:
                yield from cursor

    def beginning() -> dict[bytes, raw.Value] | None:
        if reconstructed.base_time is None:
            return None
        until = reconstructed.base_time.last_id
        older = [
            each for incarnation in recollection.lineage for each in find(database, incarnation, wanted, until).limit(2)
        ]
        base = [each for each in fields_of(database, older) if identity(each) == reconstructed.base]
        operation = raw.text_of(base[0][b"operation"]) if base else None
        if operation == b"insert" or (operation == b"baseline" and len(older) == 1):
            return base[0]
        return None

    wanted = in_ids([recollection.raw_id])
    return backwards.setters(paths, entries, reconstructed.last, beginning)


def _from_the_oldest(database: Database[Any], recollection: Reconstruction, document: bytes) -> list[bytes]:
    ids: dict[int, bytes] = {}
    known: tuple[blame.Blame | None, bytes | None] = None, None
    for number, fields in zip(count(), _entries(database, recollection), strict=False):
        ids[number] = identity(fields)
        try:
            known = blame.after(*known, fold.read_fields(fields), number)
        except fold.DoesNotApplyError:
            known = None, None
    set_by, told = known
    if set_by is None or told != document:
        raise UnknownStateError(recollection.namespace, "history has changed while it was read")
    return [ids[number] for _, _, number in blame.leaves(document, set_by)]


def _entries(database: Database[Any], recollection: Reconstruction) -> Iterator[dict[bytes, raw.Value]]:
    for incarnation in reversed(list(recollection.lineage)):
        for _, entries in timelines(database, incarnation, [recollection.raw_id]):
            yield from entries


def _events(database: Database[Any], ids: Iterable[bytes]) -> dict[bytes, Event]:
    history = database.get_collection(HISTORY, codec_options=RAW)
    found: dict[bytes, Event] = {}
    rest = iter(ids)
    while some := list(islice(rest, _AT_ONCE)):
        stored = history.find({"_id": {"$in": [Binary(event_id) for event_id in some]}})
        found |= {bytes(event["_id"]): to_event(event) for event in stored}
    return found


def _field(path: Path) -> str:
    if not is_ambiguous(path):
        return dotted(path).decode("utf-8", "surrogateescape")
    return json.dumps(decoded(path), ensure_ascii=False)
