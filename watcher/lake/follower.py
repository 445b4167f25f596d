"""Follows a history into a table: the existing entries, then new and changed ones."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import structlog
from pymongo.errors import PyMongoError

from change_history.bson import raw
from change_history.bson.redacted import ERASED
from change_history.stored.order import position_of
from watcher.erasure.requests import digest
from watcher.errors import Verdict, classify, words_of
from watcher.lake import erasing
from watcher.lake.feed import Fate, LakeFeed, LostError
from watcher.lake.position import LakePosition
from watcher.lake.table import LakeError, LakeTable, StoreError

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from bson import ObjectId

    from change_history.bson.cluster_time import ClusterTime
    from watcher.erasure.requests import ErasureInForce
    from watcher.lake.feed import News

log = structlog.get_logger(__name__)

MOST_EVENTS = 50_000
MOST_BYTES = 64 * 1024 * 1024
"""Limits of what is held in memory before it is written, in entries and bytes; the first one reached counts."""
_KEEP_ALIVE_S = 600.0
"""Seconds between commits of the position while nothing is new, so that it does not fall off the oplog."""
_COMMITS_UNTIL_COMPACT = 60
_KEPT_HOURS = 168
"""Hours that files are kept after the table no longer needs them, for readers that began before."""
_PATIENCE = 8
_LONGEST_DELAY_S = 30.0
_ERASED = ERASED[1]


@dataclass(slots=True)
class LakeProgress:
    """The progress so far.

    Attributes:
        events: number of entries appended.
        rows: number of their rows.
        changed: number of entries that were rewritten, or deleted, because the history changed.
    """

    events: int = 0
    rows: int = 0
    changed: int = 0


class LakeFollower:
    """Appends a history to a table, each entry once.

    All of its state is in the table: after any failure, it reads the table's position and resumes there.

    Args:
        interval_s: seconds between two commits.
        on_progress: called after each commit.
    """

    def __init__(
        self,
        feed: LakeFeed,
        table: LakeTable,
        stop: threading.Event,
        interval_s: float,
        on_progress: Callable[[LakeProgress], None] = lambda _: None,
    ) -> None:
        self._feed, self._table, self._stop = feed, table, stop
        self._interval_s = interval_s
        self._on_progress = on_progress
        self.progress = LakeProgress()
        self._pending: dict[bytes, bytes] = {}
        self._doubted: set[bytes] = set()
        self._noticed: dict[ObjectId, ClusterTime] = {}
        self._changed: dict[bytes, bytes] = {}
        self._bytes = 0
        self._commits = 0
        self._written_at = self._flushed_at = 0.0

    def once(self) -> LakeProgress:
        """Append everything up to now.

        Raises:
            LakeError: the table cannot be used.
            StoreError: the store did not reply for a while.
        """
        self._notice()
        until = self._feed.now()
        self._patiently(lambda: self._feed.time >= until)
        return self.progress

    def run(self) -> None:
        """Append until a stop is requested. Raises as `once` does."""
        self._patiently(lambda: False)

    def _patiently(self, is_enough: Callable[[], bool]) -> None:
        failures = 0
        while not self._stop.is_set():
            before = self._commits
            try:
                self._follow(is_enough)
            except (StoreError, PyMongoError) as error:
                failures = failures + 1 if self._commits == before else 1
                passes = isinstance(error, StoreError) or classify(error) is Verdict.TRANSIENT
                if failures > _PATIENCE or not passes:
                    raise
                log.warning("could not go on; the table is read again", error=words_of(error))
                self._stop.wait(min(0.2 * 2**failures, _LONGEST_DELAY_S))
            else:
                return
            finally:
                self._feed.close()

    def _follow(self, is_enough: Callable[[], bool]) -> None:
        self._forget()
        position = self._begin()
        if position.scanned is not None:
            position = self._scan(position)
        if not self._stop.is_set():
            self._tail(position, is_enough)

    def _begin(self) -> LakePosition:
        """Find out where to resume, and open the stream there."""
        identity = self._feed.identity()
        found = self._table.open()
        if found is not None and found.collection != identity:
            raise LakeError(f"{self._table.uri} holds another history than this one. Name another table.")
        if found is not None:
            try:
                self._feed.open(found.token)
            except LostError as error:
                log.warning("the history's stream cannot go on; all of it is compared with the table", error=str(error))
            else:
                return found
        newest = found.newest if found is not None else ""
        position = LakePosition(identity, self._feed.open(None), again=self._table.exists, newest=newest)
        if self._table.exists:
            self._table.append((), position)
        else:
            self._table.create(position)
        return position

    def _scan(self, position: LakePosition) -> LakePosition:
        """Append all existing entries; compare them with the table if it may have some of them."""
        entries = self._feed.scan(bytes.fromhex(position.scanned or ""))
        while batch := list(islice(_limited(entries), MOST_EVENTS)):
            if self._stop.is_set():
                return position
            found = dict(batch)
            if position.again:
                known = self._table.entries(list(found))
                self._replace({each: found[each] for each in known if known[each] != found[each]}, position)
                found = {each: document for each, document in found.items() if each not in known}
            position = self._append(found, position.scanned_to(batch[-1][0]))
        position = position.scanned_whole(self._feed.now())
        self._table.append((), position)
        return position

    def _tail(self, position: LakePosition, is_enough: Callable[[], bool]) -> None:
        self._written_at = self._flushed_at = time.monotonic()
        if not position.newest:
            position = position.holding(self._table.newest())
        while not self._stop.is_set():
            try:
                news = self._feed.next()
            except LostError as error:
                log.warning("the history's stream broke off; the table is read again", error=str(error))
                raise StoreError(str(error)) from error
            if news is not None:
                self._take(news, position)
            waited = time.monotonic() - self._flushed_at
            is_full = len(self._pending) >= MOST_EVENTS or self._bytes >= MOST_BYTES
            enough = news is None and is_enough()
            if waited >= self._interval_s or is_full or enough:
                position = self._flush(position)
            if enough:
                return
        self._flush(position)

    def _take(self, news: News, position: LakePosition) -> None:
        each, document = news.entry, news.document
        if document is None:
            return  # expired: it stays in the table; erased: see `_erase`
        if news.what is Fate.ENTERED or each in self._pending:
            self._pending[each] = document
            self._bytes += len(document)
            is_late = int(news.time) <= position.doubtful or each.hex() <= position.newest
            if news.what is Fate.ENTERED and is_late:
                self._doubted.add(each)
        else:
            self._changed[each] = document
            self._bytes += len(document)

    def _flush(self, position: LakePosition) -> LakePosition:
        reached = position.at(self._feed.token)
        changed, pending = dict(self._changed), self._pending
        if self._doubted:
            known = self._table.entries(sorted(self._doubted))
            changed |= {each: pending[each] for each in known if each in pending and known[each] != pending[each]}
            pending = {each: document for each, document in pending.items() if each not in known}
        self._replace(changed, position)
        is_due = time.monotonic() - self._written_at >= _KEEP_ALIVE_S
        if pending or changed or (is_due and reached != position):
            reached = self._append(pending, reached)
            self._written_at = time.monotonic()
        else:
            reached = position
        reached = self._erase(reached)
        self._forget()
        self._flushed_at = time.monotonic()
        self._keep_tidy(reached)
        return reached

    def _append(self, found: dict[bytes, bytes], position: LakePosition) -> LakePosition:
        position = position.holding(max(found, default=b""))
        self.progress.rows += self._table.append(_in_order(found.values()), position)
        self.progress.events += len(found)
        self._commits += 1
        self._on_progress(self.progress)
        return position

    def _notice(self, applied: Sequence[str] = ()) -> list[ErasureInForce]:
        """The erasures that the table has not applied yet; notes when each was first seen."""
        found = [each for each in self._feed.erasures.standing() if str(each.id) not in applied]
        for each in found:
            self._noticed.setdefault(each.id, self._feed.now())
        return found

    def _erase(self, position: LakePosition) -> LakePosition:
        """Apply new erasures, once everything recorded before them is in the table."""
        for standing in self._notice(position.erasures):
            if self._feed.time < self._noticed[standing.id]:
                continue
            count = sum(erasing.apply(self._table, changes, position) for changes in self._erased(standing))
            position = position.without(str(standing.id))
            self._table.append((), position)
            self.progress.changed += count
            if count:
                log.info("erased", erasure=str(standing.id), entries=count)
        return position

    def _erased(self, standing: ErasureInForce) -> Iterator[erasing.Changes]:
        key = self._feed.erasures.key()
        for namespace, digests in standing.documents.items():
            wanted = partial(_is_among, digests, key)
            yield erasing.of_documents(self._table, namespace, wanted, standing.left)

    def _replace(self, changed: Mapping[bytes, bytes], position: LakePosition) -> None:
        if not changed:
            return
        self._table.replace(changed, position)
        self.progress.changed += len(changed)
        self._commits += 1
        if any(_ERASED in document for document in changed.values()):
            self._table.vacuum(0)  # the former files still contain the erased values

    def _keep_tidy(self, position: LakePosition) -> None:
        if self._commits < _COMMITS_UNTIL_COMPACT:
            return
        self._commits = 0
        fewer = self._table.compact(position)
        removed = self._table.vacuum(_KEPT_HOURS)
        log.info("files put together", fewer=fewer, removed=removed)

    def _forget(self) -> None:
        self._pending, self._changed, self._bytes = {}, {}, 0
        self._doubted = set()


def _is_among(digests: set[bytes], key: bytes, document_id: raw.Value) -> bool:
    return digest(key, document_id) in digests


def _limited(entries: Iterable[tuple[bytes, bytes]]) -> Iterable[tuple[bytes, bytes]]:
    """Entries up to `MOST_BYTES` in all."""
    held = 0
    for entry in entries:
        yield entry
        held += len(entry[1])
        if held >= MOST_BYTES:
            return


def _in_order(documents: Iterable[bytes]) -> list[bytes]:
    """History documents in stream order."""
    return sorted(documents, key=lambda document: position_of(raw.fields(document)))
