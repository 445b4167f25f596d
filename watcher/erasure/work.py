"""Processes everything recorded, and removes what an erasure names. Idempotent.

History comes first, then data derived from it: a snapshot that is made meanwhile from the former history loses its
claim. While the history of a namespace is processed, it is not expired, since base documents are made from values that
were read before.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bson import Binary
from bson.raw_bson import RawBSONDocument
from pymongo import WriteConcern
from pymongo.errors import OperationFailure

from change_history import server_codes
from change_history.bson import raw
from change_history.bson.equality import key_of
from change_history.bson.redacted import ERASED, SUBTYPE
from change_history.bson.values import to_raw
from change_history.reconstruct.reads import is_id
from change_history.stored import amendments, exact
from change_history.stored.chunks import MissingChunkError, whole
from change_history.stored.names import (
    BASELINES,
    DOCUMENT_TIMELINE,
    ERASURES,
    HISTORY,
    IMPORTED,
    PARTS,
    REJECTED,
    REVERTS,
    SNAPSHOTS,
)
from change_history.stored.order import identity
from change_history.stored.reading import RAW, recorded_names
from change_history.stored.rejected import chunks_of, concern
from watcher.erasure.intervals import NamespaceInterval, intervals_of
from watcher.erasure.remains import kept_whole, may_be_of, put_instead, telling_nothing, update_of, without_event
from watcher.erasure.values import Fields, Finder, Trail
from watcher.retention.claim import Claim, ClaimedError
from watcher.stream.large_documents import LargeDocuments
from watcher.stream.writer import digest_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pymongo.collection import Collection
    from pymongo.database import Database

    from watcher.erasure.requests import Erasure

_MAJORITY = WriteConcern("majority")
_AT_ONCE = 500
_MOST_BYTES = 8 * 1024 * 1024
_CLAIM_PATIENCE_S = 90.0
_BINARY_HEAD = 5
"""Bytes of a Binary before its data: the length and the subtype."""


@dataclass
class ErasureReport:
    """What an erasure has removed, or, in a dry run, would remove.

    Attributes:
        counts: numbers by kind: `entries`, `removed`, `snapshots`, `rejected`, `imported`, and with `Trail.NOTHING`
            `reverts` and `baselines`, which name the document.
        namespaces: number of entries by namespace.
        in_ids: some entries of other documents with a value in their `_id`, where it cannot be erased.
        unreadable: entries whose chunks are missing.
        vague: unreadable rejected events, which may concern the documents.
        left: by collection, documents of other collections of the history database that contain a value, or the `_id`
            of a document of which nothing is to be kept.
    """

    counts: Counter[str] = field(default_factory=Counter)
    namespaces: Counter[str] = field(default_factory=Counter)
    in_ids: list[tuple[str, raw.Value]] = field(default_factory=list)
    in_id_count: int = 0
    unreadable: int = 0
    vague: int = 0
    left: Counter[str] = field(default_factory=Counter)


class ErasureWork:
    """Carries out one erasure, or reports what it would do.

    Args:
        database: the history database, read from the primary.
        erasure: the erasure.
        key: key of the digests.
        dry_run: change nothing.
        advance: called with the number of entries processed since the last call.
    """

    def __init__(
        self,
        database: Database[Any],
        erasure: Erasure,
        key: bytes,
        *,
        dry_run: bool = False,
        advance: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._database = database
        self._history = database.get_collection(HISTORY, codec_options=RAW, write_concern=_MAJORITY)
        self._erasure = erasure
        self._fields = Fields(erasure.fields)
        self._finder = Finder(erasure.values, key) if erasure.values else None
        self._large = LargeDocuments(database)
        self._dry_run = dry_run
        self._advance = advance
        self.outcome = ErasureReport()

    def run(self) -> ErasureReport:
        """Process everything once.

        Raises:
            watcher.retention.claim.ClaimedError: the history of a namespace is being expired, and that takes too long.
        """
        erasure = self._erasure
        found = intervals_of(self._database, erasure.namespace) if erasure.namespace else []
        for interval in found:
            with self._undisturbed(interval.namespace) as renew:
                for document_id in erasure.documents:
                    self._document(interval, document_id)
                    renew()
        ids = {key_of(document_id) for document_id in erasure.documents}
        names = {interval.namespace for interval in found}
        if self._finder is not None:
            self._values(self._finder)
        self._beside(names, ids)
        if not self._dry_run:
            self._unreferenced()
        return self.outcome

    def _undisturbed(self, namespace: str) -> _Undisturbed:
        return _Undisturbed(self._database, namespace, needed=not self._dry_run)

    def _document(self, interval: NamespaceInterval, document_id: raw.Value) -> None:
        """Remove one document's values from history, or its entries."""
        with self._history.find(interval.of(document_id), hint=DOCUMENT_TIMELINE) as cursor:
            if self._erasure.trail is Trail.NOTHING:
                self._delete(interval.namespace, (identity(raw.fields(bytes(each.raw))) for each in cursor))
            else:
                self._rewrite(cursor, lambda entry: self._fields.erased(entry, self._erasure.trail))
        query = {"namespace": interval.namespace, "document_id": is_id(document_id)}
        self._remove("snapshots", SNAPSHOTS, query)
        if self._erasure.trail is Trail.NOTHING:
            self._remove("imported", IMPORTED, query)
            self._named(interval.namespace, document_id)
        else:
            self._imported(query, lambda entry: self._fields.erased(entry, self._erasure.trail))

    def _named(self, namespace: str, document_id: raw.Value) -> None:
        """Remove the `_id` from the records of reverts and requested baselines."""
        mine = {"namespace": namespace, "document_id": is_id(document_id)}
        reverts = self._database.get_collection(REVERTS, write_concern=_MAJORITY)
        query = {"documents": {"$elemMatch": mine}}
        count = reverts.count_documents(query)
        if count and not self._dry_run:
            put = {"$set": {"documents.$[mine].document_id": Binary(ERASED[1][_BINARY_HEAD:], SUBTYPE)}}
            these = [{f"mine.{name}": value for name, value in mine.items()}]
            try:
                reverts.update_many(query, put, array_filters=these)
            except OperationFailure as error:  # a role of an earlier version lacks the privilege
                if error.code != server_codes.UNAUTHORIZED:
                    raise
                self.outcome.left[REVERTS] += count
                count = 0
        self.outcome.counts["reverts"] += count
        asked = {"namespace": namespace, "document._id": is_id(document_id)}
        if self._database[BASELINES].find_one(asked, {"_id": 1}) is not None:
            try:
                self._remove("baselines", BASELINES, asked)
            except OperationFailure as error:
                if error.code != server_codes.UNAUTHORIZED:
                    raise
                self.outcome.left[BASELINES] += 1

    def _values(self, finder: Finder) -> None:
        """Remove values wherever they occur."""
        namespaces = [None, *recorded_names(self._history)]
        for namespace in namespaces:
            query = {"namespace": namespace} if namespace is not None else {"namespace": {"$exists": False}}
            with self._undisturbed(namespace or "") as renew, self._history.find(query) as cursor:
                self._rewrite(cursor, finder.erased, finder, renew)
        for stored in self._database.get_collection(SNAPSHOTS, codec_options=RAW).find():
            data = bytes(stored.raw)
            if finder.is_in(data):
                self._remove("snapshots", SNAPSHOTS, {"_id": Binary(identity(raw.fields(data)))})
        self._imported({}, finder.erased)
        gone_through = {HISTORY, PARTS, SNAPSHOTS, REJECTED, IMPORTED, ERASURES}
        for name in self._database.list_collection_names(filter={"type": "collection"}):
            if name not in gone_through and not name.startswith("system."):
                kept_in = self._database.get_collection(name, codec_options=RAW)
                self.outcome.left[name] += sum(finder.is_in(bytes(each.raw)) for each in kept_in.find())
        self.outcome.left = +self.outcome.left

    def _rewrite(
        self,
        stored: Iterable[RawBSONDocument],
        erase: Callable[[bytes], bytes],
        finder: Finder | None = None,
        renew: Callable[[], None] = lambda: None,
    ) -> None:
        """Replace entries by their erased forms."""
        changed: list[tuple[bytes, bytes, bool]] = []
        size = looked_at = 0
        for each in stored:
            looked_at += 1
            if looked_at % _AT_ONCE == 0:
                self._advance(_AT_ONCE)
                renew()
            head = bytes(each.raw)
            in_chunks = b"\x04parts\x00" in head and b"parts" in raw.fields(head)
            try:
                before = bytes(whole(self._database, each).raw) if in_chunks else head
            except MissingChunkError:
                self.outcome.unreadable += 1
                continue
            if finder is not None and finder.in_id(before):
                self._note_id(before)
            after = erase(before)
            if after == before:
                continue
            self._count(before)
            changed.append((head, after, in_chunks))
            size += len(after)
            if len(changed) >= _AT_ONCE or size >= _MOST_BYTES:
                self._write(changed)
                changed, size = [], 0
        self._write(changed)

    def _write(self, changed: list[tuple[bytes, bytes, bool]]) -> None:
        if self._dry_run or not changed:
            return
        amendments.note(
            self._database, amendments.AmendmentKind.ERASED, [identity(raw.fields(head)) for head, _, _ in changed]
        )
        plain = [update_of(head, after) for head, after, in_chunks in changed if not in_chunks]
        if plain:
            self._history.bulk_write(plain, ordered=False)
        for head, after, in_chunks in changed:
            if in_chunks:
                fitted = self._large.fitted(after)
                mine = {"_id": Binary(identity(raw.fields(head)))}
                if exact.is_put(fitted):
                    self._history.delete_one(mine)
                    exact.insert(self._history, [fitted])
                else:
                    self._history.replace_one(mine, RawBSONDocument(fitted))

    def _delete(self, namespace: str, ids: Iterator[bytes]) -> None:
        found = list(ids)
        self.outcome.counts["removed"] += len(found)
        self.outcome.namespaces[namespace] += len(found)
        for start in range(0, len(found), _AT_ONCE):
            some = found[start : start + _AT_ONCE]
            self._advance(len(some))
            if not self._dry_run:
                amendments.note(self._database, amendments.AmendmentKind.ERASED, some)
                self._history.delete_many({"_id": {"$in": [Binary(each) for each in some]}})
                for each in some:
                    self._chunks_of(each)

    def _imported(self, query: dict[str, Any], erase: Callable[[bytes], bytes]) -> None:
        imported = self._database.get_collection(IMPORTED, codec_options=RAW, write_concern=_MAJORITY)
        for stored in imported.find(query):
            before = bytes(stored.raw)
            after = erase(before)
            if after != before:
                self.outcome.counts["imported"] += 1
                if not self._dry_run:
                    self._rename(imported, before, after)

    def _rename(self, imported: Collection[RawBSONDocument], before: bytes, after: bytes) -> None:
        """Replace an imported entry by its erased form under a new `_id`, which contains only the time.

        The former `_id` ends in a digest of the values, with which a guess of the values could be verified.
        """
        put_instead(imported, RawBSONDocument(after), telling_nothing(identity(raw.fields(before))))

    def _beside(self, names: set[str], ids: set[Any]) -> None:
        """Remove values from rejected events: only the operation and its target are kept."""
        rejected = self._database.get_collection(REJECTED, codec_options=RAW, write_concern=_MAJORITY)
        for stored in rejected.find():
            data = bytes(stored.raw)
            about = concern(self._database, data)
            mine = about.document_id is not None and key_of(about.document_id) in ids
            mine = mine and (about.namespace or b"").decode("utf-8", "surrogateescape") in names
            whole = kept_whole(self._database, stored)
            if not mine and not self._holds_value(data, whole):
                self.outcome.vague += b"erased" not in raw.fields(data) and may_be_of(about, names)
                continue
            goes = mine and self._erasure.trail is Trail.NOTHING
            if self._finder is not None and not goes and self._finder.in_id(data):
                self._note_id(data)
            actor = self._actor_left(data)
            if b"erased" in raw.fields(data) and not goes and actor is None:
                continue
            self.outcome.counts["rejected"] += 1
            if self._dry_run:
                continue
            if goes:
                rejected.delete_one({"_id": stored["_id"]})
            else:
                self._blank(rejected, stored, whole, actor)
            for chunk in chunks_of(stored):
                self._database.get_collection(PARTS, write_concern=_MAJORITY).delete_one({"_id": Binary(chunk)})

    def _actor_left(self, stored: bytes) -> RawBSONDocument | None:
        """An entry's actor without the values; None: it contains none."""
        actor = raw.fields(stored).get(b"actor")
        if self._finder is None or actor is None:
            return None
        left = self._finder.value(actor)
        return RawBSONDocument(left[1]) if left != actor else None

    def _blank(
        self,
        rejected: Collection[RawBSONDocument],
        stored: RawBSONDocument,
        whole: bytes,
        actor: RawBSONDocument | None,
    ) -> None:
        """Remove the values from an entry of `rejected`, and replace its `_id` if that is a digest of the event.

        With the digest, a guess of the values could be verified.
        """
        rejected.update_one({"_id": stored["_id"]}, without_event(stored, whole, actor))
        if bytes(stored["_id"]) == digest_of(whole):
            left = rejected.find_one({"_id": stored["_id"]})
            if left is not None:
                another = to_raw(Binary(secrets.token_bytes(amendments.ID_BYTES)))
                put_instead(rejected, left, another)

    def _holds_value(self, *held: bytes) -> bool:
        return self._finder is not None and any(self._finder.is_in(data) for data in held if data)

    def _remove(self, what: str, collection: str, query: dict[str, Any]) -> None:
        kept_in = self._database.get_collection(collection, write_concern=_MAJORITY)
        if self._dry_run:
            self.outcome.counts[what] += kept_in.count_documents(query)
        else:
            self.outcome.counts[what] += kept_in.delete_many(query).deleted_count

    def _count(self, entry: bytes) -> None:
        self.outcome.counts["entries"] += 1
        name = raw.fields(entry).get(b"namespace")
        if name is not None:
            self.outcome.namespaces[raw.text_of(name).decode("utf-8", "replace")] += 1

    def _note_id(self, entry: bytes) -> None:
        found = raw.fields(entry)
        self.outcome.in_id_count += 1
        about = raw.text_of(found[b"namespace"]).decode("utf-8", "replace"), found[b"document_id"]
        if len(self.outcome.in_ids) < _AT_ONCE and about not in self.outcome.in_ids:
            self.outcome.in_ids.append(about)

    def _chunks_of(self, owner: bytes) -> None:
        upto = {"$gte": Binary(owner + bytes(16)), "$lte": Binary(owner + b"\xff" * 16)}
        self._database.get_collection(PARTS, write_concern=_MAJORITY).delete_many({"_id": upto})

    def _unreferenced(self) -> None:
        """Delete chunks that their entry no longer refers to: those of its former contents."""
        parts = self._database.get_collection(PARTS, write_concern=_MAJORITY)
        owners: dict[bytes, list[bytes]] = {}
        for chunk in parts.find({}, {"_id": 1}):
            owners.setdefault(bytes(chunk["_id"])[:16], []).append(bytes(chunk["_id"]))
        for owner, chunks in owners.items():
            entry = self._database[HISTORY].find_one({"_id": Binary(owner)}, {"parts": 1})
            if entry is None or self._database[REJECTED].find_one({"_id": Binary(owner)}, {"_id": 1}) is not None:
                continue  # perhaps being written, or referred to by a rejected event
            named = {bytes(each) for each in entry.get("parts", ())}
            for each in chunks:
                if each not in named:
                    parts.delete_one({"_id": Binary(each)})


class _Undisturbed:
    """A context manager: within the block, the history of a namespace is not expired."""

    def __init__(self, database: Database[Any], namespace: str, *, needed: bool) -> None:
        self._database = database
        self._namespace = namespace
        self._needed = needed and bool(namespace)
        self._stack = ExitStack()
        self._renewed = 0.0
        self._claim: Claim | None = None

    def __enter__(self) -> Callable[[], None]:
        until = time.monotonic() + _CLAIM_PATIENCE_S
        while self._needed and self._claim is None:
            try:
                self._claim = self._stack.enter_context(Claim(self._database, self._namespace))
            except ClaimedError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.5)
        return self._renew

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _renew(self) -> None:
        if self._claim is not None and time.monotonic() - self._renewed > 1:
            self._claim.renew()
            self._renewed = time.monotonic()
