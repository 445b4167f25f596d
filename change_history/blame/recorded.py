"""Which recorded event each leaf of a document has its value from. The rules are in `leaves`.

A `baseline` entry is what there was when watching began: whoever set it, did so before.
"""

from __future__ import annotations

import json
from itertools import count, islice
from typing import TYPE_CHECKING, Any, NamedTuple

from bson import Binary

from change_history.blame import leaves as blame
from change_history.bson.paths import dotted, is_ambiguous
from change_history.bson.values import to_python
from change_history.reconstruct import fold
from change_history.reconstruct.state import UnknownStateError
from change_history.reconstruct.states import timelines
from change_history.stored.event import to_event
from change_history.stored.event_paths import decoded
from change_history.stored.names import HISTORY
from change_history.stored.order import identity
from change_history.stored.reading import RAW

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pymongo.database import Database

    from change_history.bson import raw
    from change_history.bson.paths import Path as RawPath
    from change_history.reconstruct.state import Reconstruction
    from change_history.stored.event import Event
    from change_history.stored.event_paths import Path

_AT_ONCE = 500


class Leaf(NamedTuple):
    """A leaf of a document: a value that is no document and no array, or an empty one of these.

    Attributes:
        path: keys and indexes that lead to it.
        field: the path as MongoDB writes it; where that would mislead, the path as a list of JSON.
        value: what it is.
        event: the recorded event that last set it. The values of an event larger than a document are left out.
    """

    path: Path
    field: str
    value: Any
    event: Event


def leaves(database: Database[Any], recollection: Reconstruction) -> list[Leaf]:
    """The leaves of a document at a moment, in its order; none if it was not there.

    All its entries are read, oldest first; in memory is the document, with a number for each leaf.

    Raises:
        change_history.reconstruct.state.UnknownStateError: history cannot tell the document.
    """
    document = recollection.known()
    if document is None:
        return []
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
    found = list(blame.leaves(document, set_by))
    events = _events(database, {ids[number] for _, _, number in found})
    return [Leaf(decoded(path), _field(path), to_python(value), events[ids[number]]) for path, value, number in found]


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


def _field(path: RawPath) -> str:
    if not is_ambiguous(path):
        return dotted(path).decode("utf-8", "surrogateescape")
    return json.dumps(decoded(path), ensure_ascii=False)
