"""The sealer: makes a record of every entry that is added to history, and periodically seals the records.

The writing stage queues acknowledged entries here, and does not wait. A separate thread hashes them, and writes the
records to the database in chunks. At every interval they become a seal. Entries that were acknowledged but not sealed
when a daemon was killed are found by their time: all history between the last seal's position in the stream and the
checkpoint is compared with the sealed records. Nothing is sealed before a majority has acknowledged it.
"""

from __future__ import annotations

import datetime as dt
import time
from collections import deque
from importlib.metadata import version
from threading import Event, Lock
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog
from bson import Binary
from pymongo import ReadPreference
from pymongo.errors import DuplicateKeyError, PyMongoError
from pymongo.read_concern import ReadConcern

from change_history.bson.cluster_time import BEGINNING_OF_TIME, ClusterTime
from change_history.seals import records
from change_history.seals.seal import FIRST, Seal, Sealed, digest_of
from change_history.seals.store import Store
from change_history.stored.names import CHECKPOINTS, HISTORY
from change_history.stored.reading import documents_in
from watcher.errors import name_of
from watcher.leadership.lease import DeposedError
from watcher.sealing.draft import Draft
from watcher.sealing.notes import Notes
from watcher.sealing.outlet import SealFileError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pymongo.client_session import ClientSession
    from pymongo.database import Database

    from change_history.seals.seal import SigningKey
    from watcher.sealing.notes import Amended
    from watcher.sealing.outlet import Outlet

log = structlog.get_logger(__name__)

SOFTWARE = "mongo-change-watcher"
IDLE_S = 600.0
"""Seconds between empty seals while nothing is added to history: an entry added to that time later is in no seal."""

_READ = "look at it with `watcher verify`; without the last seal (db.seals) sealing goes on from the one before"
_ROOM = 32 * 1024 * 1024
_PAUSE_S = 0.05
_AT_ONCE = 5000
_AGAIN_AT_ONCE = 2000


class Terms(NamedTuple):
    """How seals are made.

    Attributes:
        interval_s: seconds between seals.
        key: the key that signs them; None: they are not signed.
        outlet: receives every seal; None: seals are only in the database.
    """

    interval_s: float
    key: SigningKey | None = None
    outlet: Outlet | None = None


class Sealer:
    """Seals the entries that one stream records, and the late entries of any writer.

    Args:
        stream: name of the stream's checkpoint.
        recorded: returns the cluster time up to which the stream is acknowledged by a majority; None: not known yet.
        append: runs a write in a session, under the leader's term; see `watcher.leadership.fence`.
        leads: no other sealer works for this stream.
    """

    def __init__(
        self,
        database: Database[Any],
        stream: str,
        terms: Terms,
        recorded: Callable[[], ClusterTime | None],
        append: Callable[[Callable[[ClientSession | None], object]], object],
        stop: Event,
        *,
        leads: bool = True,
    ) -> None:
        self._history = database.get_collection(
            HISTORY, read_concern=ReadConcern("majority"), read_preference=ReadPreference.PRIMARY
        )
        self._store = Store(database)
        self._stream = stream
        self._terms = terms
        self._recorded = recorded
        self._begins = BEGINNING_OF_TIME
        self._append = append
        self._stop = stop
        self._leads = leads
        self._by = stream if leads else f"{stream} by command"
        self._notes = Notes(database, self._store, self._by)
        self._draft = Draft(self._store, self._by)
        self._waiting: deque[tuple[list[bytes], int]] = deque()
        self._size = 0
        self._count = Lock()
        self._again: deque[bytes] = deque()
        self._amended: Amended | None = None
        self._behind: Iterator[list[bytes]] | None = None
        self._prepared = self._caught_up = self._ended = False
        self._told = False  # whether the outlet has received all seals
        self._reached = BEGINNING_OF_TIME
        self._work = Lock()

    def begin(self, after: ClusterTime) -> None:
        """Set the cluster time after which the stream hands over all entries. To be called before anything is recorded.

        This creates the sealer's collections. From then on, everything that amends history writes notes for the sealer.
        """
        self._store.prepare()
        self._begins = after

    def stored(self, documents: Sequence[bytes], again: Sequence[bytes]) -> None:
        """Queue history documents that a majority has just acknowledged. Never blocks, never fails.

        Args:
            documents: the documents as they are stored.
            again: documents that may have been stored earlier, with other content.
        """
        if self._ended:
            return
        self._again.extend(map(records.id_of, again))
        size = sum(map(len, documents))
        with self._count:
            fits = self._size + size <= _ROOM
            if fits:
                self._size += size
        if fits:
            self._waiting.append((list(documents), size))
        else:  # hashing is behind: read them back later, rather than keep them in memory or wait
            self._again.extend(map(records.id_of, documents))

    def run(self) -> None:
        """Seal until the daemon stops. May be called again after a failure.

        If somebody has damaged the seals, recording continues: the error is logged, and nothing more is sealed.
        """
        try:
            self._run()
        except ValueError as error:
            self._ended = True
            log.error("the last seal cannot be read: nothing more is sealed", error=str(error), remedy=_READ)  # noqa: TRY400

    def _run(self) -> None:
        with self._work:
            self._prepare()
        due = time.monotonic() + self._terms.interval_s
        while not self._stop.is_set():
            with self._work:
                busy = self._take()
                busy = self._catch_up() or busy
                if time.monotonic() >= due:
                    self._seal()
                    due = time.monotonic() + self._terms.interval_s
            if not busy:
                self._stop.wait(_PAUSE_S)

    def finish(self) -> None:
        """Seal the remaining entries after an orderly stop of the stream; if that fails, the next start does it."""
        if self._ended:
            return
        try:
            with self._work:
                self._prepare()
                self._seal(idle=True)
        except (PyMongoError, DeposedError, ValueError) as error:
            log.warning("what was recorded last is not sealed; the next start does it", error=name_of(error))

    def now(self) -> Sealed | None:
        """Seal everything that is not sealed yet, and return the last seal.

        Raises:
            ValueError: the last seal cannot be read.
        """
        with self._work:
            self._prepare()
            while self._catch_up():
                pass
            self._seal(idle=True)
            return self._store.last()

    def _prepare(self) -> None:
        """Find where to begin with entries that were acknowledged but not sealed before this daemon started."""
        if not self._prepared:
            if self._leads:
                self._store.discard(self._stream)
            self._reached = self._since(self._store.last())
            self._prepared = True
        if self._behind is None and not self._caught_up:
            self._behind = self._unsealed()

    def _since(self, last: Sealed | None) -> ClusterTime:
        """The cluster time up to which all entries of this stream are sealed."""
        if last is None:
            return BEGINNING_OF_TIME
        mine = last.seal.streams.get(self._stream)
        known = [mine] if mine is not None else list(last.seal.streams.values())
        return min(map(time_of, known), default=BEGINNING_OF_TIME)

    def _unsealed(self) -> Iterator[list[bytes]]:
        """Unsealed entries from before this daemon started, in batches; advances `_reached`."""
        since: dict[str, Any] = {"$gte": Binary(self._reached.first_id)}
        until = Binary(self._begins.last_id)
        while True:
            count = 0
            query = {"_id": {**since, "$lte": until}}
            with self._history.find_raw_batches(query, sort=[("_id", 1)], limit=_AT_ONCE) as cursor:
                for batch in cursor:
                    entries = [entry for entry in documents_in(batch) if records.has_id(entry)]
                    if not entries:
                        continue
                    sealed = self._store.records_of(map(records.id_of, entries))
                    yield [entry for entry in entries if records.id_of(entry) not in sealed]
                    count += len(entries)
                    since = {"$gt": Binary(records.id_of(entries[-1]))}
                    self._reached = max(self._reached, ClusterTime.from_id(since["$gt"]).just_before)
            if not count:
                return

    def _catch_up(self) -> bool:
        """Make records of one batch of earlier unsealed entries. Returns whether there was one."""
        if self._behind is None:
            return False
        try:
            entries = next(self._behind, None)
        except BaseException:
            self._behind = None  # a failed generator cannot continue; a new one begins at `_reached`
            raise
        if entries is None:
            self._behind, self._caught_up = None, True
            self._reached = max(self._reached, self._begins)
            return False
        self._draft.add(records.committed(entries))
        return True

    def _take(self) -> bool:
        """Make records of the entries that the writing stage has queued. Returns whether there were any."""
        busy = False
        while self._waiting:
            documents, size = self._waiting.popleft()
            with self._count:
                self._size -= size
            self._draft.add(records.committed(documents, records.NEW))  # the stream writes no gaps
            busy = True
        return busy

    def _read_again(self) -> None:
        """Read entries that may have been stored earlier, and make records of those that are not sealed."""
        while self._again:
            ids = [self._again[at] for at in range(min(len(self._again), _AGAIN_AT_ONCE))]
            sealed = self._store.records_of(ids)
            entries = self._notes.entries({each for each in ids if each not in sealed})
            for _ in ids:
                self._again.popleft()
            self._draft.add(records.committed(list(entries.values())))

    def _seal(self, *, idle: bool = False) -> None:
        """Write a seal if there are new records; otherwise an empty one if `idle`, or if the last is IDLE_S old."""
        recorded = self._recorded()  # read before the queue is taken, so that the records cover it
        self._take()
        self._read_again()
        if self._caught_up and recorded is not None:
            self._reached = max(self._reached, recorded)
        if self._amended is None:
            self._amended = self._notes.read()
            self._draft.add(b"".join(self._amended.records))
        last = self._store.last()
        if len(self._draft) or last is None or (self._says_more(last) and (idle or _age_s(last) >= IDLE_S)):
            root = self._draft.root()
            self._store.forget_salts(self._amended.forgotten)
            sealed = self._appended(root.hex())
            self._draft = Draft(self._store, self._by)
            log.info("sealed", number=sealed.seal.number, entries=sealed.seal.count, digest=sealed.digest)
            self._tell(sealed)
        self._notes.settle(self._amended)
        self._amended = None

    def _says_more(self, last: Sealed) -> bool:
        return time_of(last.seal.streams.get(self._stream, "0:0")) < self._reached

    def _tell(self, sealed: Sealed) -> None:
        """Write a seal, and those missing before it, to the outlet. A failure is logged, and stops nothing."""
        outlet = self._terms.outlet
        if outlet is None:
            return
        try:
            if self._told:
                outlet.put(sealed)
            else:
                outlet.catch_up(self._store, sealed)
            self._told = True
        except SealFileError as error:
            self._told = False
            what = {"problem": error.problem, "remedy": error.remedy}
            log.error("a seal is kept in the database only, for now", **what)  # noqa: TRY400 - the message says enough

    def _appended(self, root: str) -> Sealed:
        """Append the seal to the chain; another sealer may have appended one meanwhile."""
        while True:
            last = self._store.last()
            if last is not None and last.leaves == self._draft.name:
                return last  # it was appended, but the reply was lost
            sealed = self._made(root, last)
            try:
                self._append(lambda session, sealed=sealed: self._store.append(sealed, session))  # type: ignore[misc]
            except DuplicateKeyError:
                continue
            return sealed

    def _made(self, root: str, last: Sealed | None) -> Sealed:
        streams = dict(last.seal.streams) if last is not None else {}
        mine = time_of(streams.get(self._stream, "0:0"))
        key = self._terms.key
        seal = Seal(
            number=last.seal.number + 1 if last is not None else FIRST,
            previous=last.digest if last is not None else "",
            root=root,
            count=len(self._draft),
            kinds=self._draft.kinds(),
            streams=streams | {self._stream: str(max(mine, self._reached))},
            time=dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds"),
            software=f"{SOFTWARE} {version(SOFTWARE)}",
            key=key.public if key is not None else "",
        )
        text = seal.text()
        digest = digest_of(text)
        return Sealed(seal, text, digest, key.sign(digest) if key is not None else "", self._draft.name)


def seal_now(database: Database[Any], terms: Terms) -> Sealed | None:
    """Seal everything that is not sealed yet. Safe while daemons record and seal.

    Returns:
        The last seal; None: no stream has recorded anything yet.

    Raises:
        ValueError: the last seal cannot be read.
    """
    last = None
    for found in database[CHECKPOINTS].find(
        {"cluster_time": {"$exists": True}}, {"cluster_time": 1}, sort=[("_id", 1)]
    ):
        reached = ClusterTime.of(found["cluster_time"])
        sealer = Sealer(
            database,
            found["_id"],
            terms,
            lambda reached=reached: reached,  # type: ignore[misc]
            lambda write: write(None),
            Event(),
            leads=False,
        )
        sealer.begin(reached)
        last = sealer.now()
    return last


def _age_s(last: Sealed) -> float:
    return (dt.datetime.now(dt.UTC) - dt.datetime.fromisoformat(last.seal.time)).total_seconds()


def time_of(text: str) -> ClusterTime:
    """Parse a cluster time as seals write it: `seconds:increment`.

    Raises:
        ValueError: the text is not a cluster time.
    """
    seconds, _, increment = text.partition(":")
    return ClusterTime((int(seconds) << 32) | int(increment))
