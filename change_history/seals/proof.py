"""Prove that one event was in history when a seal was made, to somebody without access to the history."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from bson import Binary

from change_history.bson import extended_json
from change_history.bson.values import document_to_python
from change_history.errors import HistoryError
from change_history.seals import tree
from change_history.seals.records import NAMES, NO_SALT, in_tree, split, unpack
from change_history.seals.store import Store
from change_history.stored.names import HISTORY
from change_history.stored.reading import RAW

if TYPE_CHECKING:
    from pymongo.database import Database


class NotProvableError(HistoryError, LookupError):
    """This event cannot be proved; the message says why."""


def prove(database: Database[Any], entry_id: bytes) -> dict[str, Any]:
    """Make the proof of one event, to be written as JSON. docs/seals.md describes how to check it.

    Args:
        entry_id: `_id` of the history document, 16 bytes.

    Raises:
        NotProvableError: it does not exist, is not sealed yet, or does not match what was sealed.
    """
    stored = database.get_collection(HISTORY, codec_options=RAW).find_one({"_id": Binary(entry_id)})
    if stored is None:
        raise NotProvableError("there is no such event, or not any more")
    entry = bytes(stored.raw)
    store = Store(database)
    known = store.records_of([entry_id]).get(entry_id, [])
    if not known:
        raise NotProvableError(
            "no seal covers it yet; the next one will, within a minute, or `watcher seal` makes one now"
        )
    for number, record in known:
        try:
            sealed = store.get(number) if record.salt != NO_SALT and record.is_of(entry) else None
        except ValueError as error:
            raise NotProvableError(f"seal {number} cannot be read; `watcher verify` says more") from error
        if sealed is None:
            continue
        chunks = list(store.chunks(sealed.leaves))
        roots = [chunk.root for chunk in chunks]
        for place, chunk in enumerate(chunks):
            records = split(chunk.records)
            if record.packed in records:
                leaves = tree.leaves(in_tree(records))
                path = tree.path(leaves, records.index(record.packed)) + tree.path(roots, place)
                return {
                    "event": base64.b64encode(entry).decode(),
                    "event_as_json": json.loads(extended_json.dumps(document_to_python(entry))),
                    "kind": NAMES[record.kind],
                    "record": unpack(record.packed).packed[:49].hex(),
                    "salt": record.salt.hex(),
                    "path": [[side, other.hex()] for side, other in path],
                    **json.loads(sealed.line),
                }
    raise NotProvableError("it is not what was sealed; `watcher verify` says more")
