"""Erasures in force: while an erasure stands, later events of its documents are stored without values.

The writing stage checks the erasures before each write, and reloads them if they are older than a second. After a write
that took longer than that, it checks again, and corrects the entries of documents that were erased meanwhile. An
erasure starts to process history only when every writer either knows of it, or will check again after its write.
"""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import structlog
from bson import Binary
from pymongo import WriteConcern
from pymongo.errors import OperationFailure

from change_history import server_codes
from change_history.bson import raw
from change_history.bson.cluster_time import ClusterTime
from change_history.reconstruct import skim
from change_history.stored import amendments
from change_history.stored.chunks import MissingChunkError, whole
from change_history.stored.names import HISTORY, PARTS, REJECTED
from change_history.stored.order import identity
from change_history.stored.reading import RAW
from change_history.stored.rejected import chunks_of, concern, told_by_entry, told_by_event
from watcher.erasure.remains import kept_whole, stub, update_of, without_event
from watcher.erasure.requests import Erasures, digest
from watcher.erasure.values import Fields, Trail
from watcher.stream.batch import Entry, RejectedEvent
from watcher.stream.large_documents import LargeDocuments

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pymongo.database import Database

    from watcher.erasure.requests import ErasureInForce
    from watcher.stream.batch import Recorded
    from watcher.stream.pipeline import Writes

log = structlog.get_logger(__name__)

LASTS_S = 1.0
"""Seconds after which the loaded erasures are outdated."""
SETTLED_AFTER_S = 2.5
"""Seconds after an erasure was stored, by which every writer knows of it, or checks again after its write."""

_MAJORITY = WriteConcern("majority")
_AT_ONCE = 500


class Active:
    """The erasures in force, as loaded last."""

    def __init__(self, database: Database[Any], clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._erasures = Erasures(database)
        self._clock = clock
        self._loaded_at: float | None = None
        self._key = b""
        self._found: dict[tuple[bytes, bytes], list[ErasureInForce]] = {}
        self._renames: set[tuple[str, str, int]] = set()

    @property
    def is_fresh(self) -> bool:
        """Whether the loaded erasures are up to date; never after the clock was set back."""
        return self._loaded_at is not None and 0 <= self._clock() - self._loaded_at <= LASTS_S

    def refresh(self) -> bool:
        """Reload the erasures unless they are fresh. Returns whether any is in force."""
        if not self.is_fresh:
            now = self._clock()
            self._load()
            self._loaded_at = now
        return bool(self._found)

    def entry(self, document: bytes) -> bytes | None:
        """As `erased`, after `refresh`."""
        return self.erased(document) if self.refresh() else document

    def erased(self, document: bytes) -> bytes | None:
        """A history document without its erased values; None: it must not be recorded at all."""
        left: bytes | None = document
        for standing in self.of_entry(document):
            left = standing.left(document)
            if left is None:
                return None
            document = left
        return left

    def rejected(self, item: RejectedEvent) -> RejectedEvent | None:
        """A rejected item without its erased values; None: it must not be kept at all."""
        told = told_by_entry(item.entry) if item.entry else told_by_event(item.event)
        if told.namespace is None or told.document_id is None:
            return item
        found = self._of(told.namespace, told.document_id)
        if not found:
            return item
        if item.entry:
            document = self.erased(item.entry)
            return item._replace(entry=document) if document is not None else None
        if any(standing.trail is Trail.NOTHING for standing in found):
            return None
        return RejectedEvent(stub(item.event), item.error)

    def of_entry(self, entry: bytes) -> Sequence[ErasureInForce]:
        """The erasures in force for an entry's document. If the entry is a rename, the new name is noted."""
        about = _about(entry)
        if about is None:
            self._notice(entry)
            return ()
        return self._of(*about)

    def concerns_rejected(self, stored: bytes) -> bool:
        """Whether an erasure is in force for the document of a `rejected` entry."""
        about = concern(self._database, stored)
        if about.namespace is None or about.document_id is None:
            return False
        return bool(self._of(about.namespace, about.document_id))

    def _notice(self, entry: bytes) -> None:
        """Note a rename that is about to be stored: the events right after it have the new name."""
        fields = raw.fields(entry)
        if raw.text_of(fields[b"operation"]) != b"rename" or b"description" not in fields:
            return
        to = raw.fields(fields[b"description"][1]).get(b"to")
        if to is not None and b"namespace" in fields and self._knows(raw.text_of(fields[b"namespace"])):
            name = b".".join(map(raw.text_of, raw.fields(to[1]).values())).decode("utf-8", "replace")
            former = raw.text_of(fields[b"namespace"]).decode("utf-8", "replace")
            self._renames.add((former, name, ClusterTime.from_id(identity(fields)).seconds))
            self._load()

    def _knows(self, namespace: bytes) -> bool:
        """Whether an erasure is in force for any document of a namespace: `$out` often renames other collections."""
        return any(name == namespace for name, _ in self._found)

    def _of(self, namespace: bytes, document_id: raw.Value) -> Sequence[ErasureInForce]:
        return self._found.get((namespace, digest(self._key, document_id)), ())

    def _load(self) -> None:
        found: dict[tuple[bytes, bytes], list[ErasureInForce]] = {}
        for standing in self._erasures.standing():
            for namespace, documents in standing.documents.items():
                for name in self._later_names(namespace, standing.asked_at.timestamp()):
                    for document in documents:
                        found.setdefault((name.encode(), document), []).append(standing)
        if found and not self._key:
            self._key = self._erasures.key()
        self._found = found

    def _later_names(self, namespace: str, since_s: float) -> list[str]:
        """A namespace, and its later names after renames."""
        names = [namespace]
        since_s -= 60
        since = Binary(ClusterTime.start_of(int(since_s)).first_id)
        for name in names:
            query = {
                "namespace": name,
                "operation": "rename",
                "document_id": {"$exists": False},
                "_id": {"$gte": since},
            }
            for rename in self._database[HISTORY].find(query, {"description.to": 1}):
                to = rename.get("description", {}).get("to", {})
                if (later := f"{to.get('db')}.{to.get('coll')}") not in names:
                    names.append(later)
            noticed = (to for former, to, when in self._renames if former == name and when >= since_s)
            names += [later for later in noticed if later not in names]
        return names


class ErasingWriter:
    """A writing stage that stores no erased values.

    Args:
        writer: stores history.
        active: the erasures in force.
    """

    def __init__(self, database: Database[Any], writer: Writes, active: Active) -> None:
        self._database = database
        self._history = database.get_collection(HISTORY, codec_options=RAW, write_concern=_MAJORITY)
        self._rejected = database.get_collection(REJECTED, codec_options=RAW, write_concern=_MAJORITY)
        self._parts = database.get_collection(PARTS, write_concern=_MAJORITY)
        self._large = LargeDocuments(database)
        self._writer = writer
        self._active = active

    def write(self, recorded: Recorded) -> int:
        """Write a batch, as the writer does."""
        if self._active.refresh():
            recorded = self._withheld(recorded)
        rejected = self._writer.write(recorded)
        self._look_again([entry.document for entry in recorded.entries], rejected=rejected > 0)
        return rejected

    def _withheld(self, recorded: Recorded) -> Recorded:
        """A copy of a batch without erased values. The batch itself is unchanged: later pre-images depend on it."""
        entries: list[Entry] = []
        for entry in recorded.entries:
            if not self._active.of_entry(entry.document):
                entries.append(entry)
            elif (document := self._active.erased(entry.document)) is not None:
                entries.append(Entry(document, b""))  # without its event, which would be kept if rejected
        rejected = [each for item in recorded.rejected if (each := self._active.rejected(item)) is not None]
        return replace(recorded, entries=entries, rejected=rejected)

    def storing(self, store: Callable[[list[bytes]], None]) -> Callable[[list[bytes]], None]:
        """Wrap a function that stores history documents not made from events, so that it stores no erased values."""

        def stored(documents: list[bytes]) -> None:
            if self._active.refresh():
                documents = [each for document in documents if (each := self._active.erased(document)) is not None]
            if documents:
                store(documents)
                self._look_again(documents)

        return stored

    def start(self, since: ClusterTime) -> None:
        """Check the entries that a killed daemon may have stored without checking them again.

        Args:
            since: all entries before this cluster time were checked.
        """
        if not self._active.refresh():
            return
        with self._history.find({"_id": {"$gte": Binary(since.first_id)}}) as cursor:
            while some := [bytes(each.raw) for each in islice(cursor, _AT_ONCE)]:
                self._put_right(some)
        self._put_rejected_right()

    def _look_again(self, documents: Sequence[bytes], *, rejected: bool = False) -> None:
        """Correct the entries of documents that were erased during the write."""
        if (documents or rejected) and not self._active.is_fresh and self._active.refresh():
            self._put_right(documents)
            if rejected:
                self._put_rejected_right()

    def _put_right(self, documents: Sequence[bytes]) -> None:
        for document in documents:
            if not self._active.of_entry(document):
                continue
            entry = identity(raw.fields(document))
            stored = self._history.find_one({"_id": Binary(entry)})  # it may be stored in chunks
            if stored is None:
                continue
            head = bytes(stored.raw)
            try:
                before = bytes(whole(self._database, stored).raw)
            except MissingChunkError:
                continue
            after = self._active.erased(before)
            if after == before:
                continue
            amendments.note(self._database, amendments.AmendmentKind.ERASED, [entry])
            if after is None:
                after = Fields().erased(before, Trail.TIMES)
            fitted = self._large.fitted(after)
            self._history.bulk_write([update_of(head, fitted)])
            self._forget_chunks(_parts(head) - _parts(fitted))

    def _put_rejected_right(self) -> None:
        for stored in self._rejected.find({"erased": {"$exists": False}}):
            if self._active.concerns_rejected(bytes(stored.raw)):
                self._rejected.update_one(
                    {"_id": stored["_id"]}, without_event(stored, kept_whole(self._database, stored))
                )
                self._forget_chunks(set(chunks_of(stored)))

    def _forget_chunks(self, chunks: set[bytes]) -> None:
        if not chunks:
            return
        try:
            self._parts.delete_many({"_id": {"$in": list(map(Binary, chunks))}})
        except OperationFailure as error:  # the privilege is optional; the erasure itself removes them
            if error.code != server_codes.UNAUTHORIZED:
                raise
            log.warning("chunks of what was erased meanwhile cannot be removed", chunks=len(chunks))


def _parts(head: bytes) -> set[bytes]:
    found = raw.fields(head).get(b"parts")
    return {part[5:] for _, part in raw.items(found[1])} if found is not None else set()


def _about(document: bytes) -> tuple[bytes, raw.Value] | None:
    """Namespace and `_id` of an entry's document; None: it has none."""
    found = skim.about(document)
    if found is not None:
        return found
    fields = raw.fields(document)
    if b"document_id" not in fields or b"namespace" not in fields:
        return None
    return raw.text_of(fields[b"namespace"]), fields[b"document_id"]
