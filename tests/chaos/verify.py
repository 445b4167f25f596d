"""The judgement: what history says, against what the writers did and against the deployment itself."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from bson import Binary, Timestamp

from change_history import History
from change_history.bson import raw
from change_history.bson.values import document_to_python
from change_history.reconstruct import fold
from change_history.reconstruct.state import Reconstruction, UnknownStateError
from change_history.seals import verification as seals
from tests.chaos.differences import SHOWN, DifferenceError, compare, old_and_new, same, shown, state_of
from tests.chaos.steps import MARKS, NAMESPACES, Key, State, mark
from tests.support import oracle
from tests.support.oracle import RAW

if TYPE_CHECKING:
    from pymongo import MongoClient

    from tests.chaos.ledger import Ledger

_TOLD_BY_US = ("gap", "reconcile")


class Verifier:
    """Compares round after round; each time only what is new in history.

    Args:
        watched: a client of the watched deployment.
        keeper: a client of the one that keeps the history.
        database: name of the history database.
        ledger: what the writers did.
        existing: where the documents were before there was a daemon.
    """

    def __init__(
        self,
        watched: MongoClient[Any],
        keeper: MongoClient[Any],
        database: str,
        ledger: Ledger,
        existing: dict[Key, State],
    ) -> None:
        self._watched, self._keeper = watched, keeper
        self._database = keeper[database]
        self._ledger = ledger
        self._existing = existing
        self._documents: dict[Key, bytes] = {}
        self._last = bytes(16)
        self._entries = 0
        self._position = Timestamp(0, 0)
        self.counts: Counter[str] = Counter()

    def verify(self) -> Counter[str]:
        """Compare all that has happened since the last time. Nobody may be writing.

        Returns:
            What was compared: `events`, `documents`, `as-of`, `collections as-of`.

        Raises:
            DifferenceError: the first difference in full, after the counts of what was lost, doubled or displaced.
        """
        before = self.counts.copy()
        found = oracle.history(self._database, {"_id": {"$gt": Binary(self._last)}})
        self._transitions(found)
        self._entries += len(found)
        kept = self._database.history.count_documents({})
        if kept != self._entries:
            raise DifferenceError(f"history has {kept} entries, {self._entries} were verified: some came late")
        if rejected := self._database.rejected.find_one():
            raise DifferenceError(f"an event was rejected: {rejected}")
        self._last = max([self._last, *(raw.fields(item)[b"_id"][1][5:] for item in found)])
        for checkpoint in self._database.checkpoints.find():
            if checkpoint["cluster_time"] < self._position:
                raise DifferenceError(f"the position moved back from {self._position}: {checkpoint}")
            self._position = checkpoint["cluster_time"]
        self._live()
        self._as_of()
        if wrong := seals.verify(self._database).findings:
            raise DifferenceError(f"nobody has tampered with history, and its seals say: {wrong[:SHOWN]}")
        self._ledger.verified()
        return self.counts - before

    def _transitions(self, found: list[bytes]) -> None:
        recorded: dict[Key, list[tuple[str, State]]] = {}
        marks: Counter[Any] = Counter()
        wrong: DifferenceError | None = None
        for item in found:
            entry = oracle.entry(item)
            if entry["operation"] in _TOLD_BY_US:
                raise DifferenceError(f"nothing can have been lost, and history says: {entry}")
            if "document_id" not in entry:
                continue
            if entry["namespace"] == MARKS:
                marks[entry["document_id"]] += 1
                continue
            key = Key(entry["namespace"], entry["document_id"])
            before, after = self._fold(key, item)
            if entry["operation"] == "baseline":
                same(key, "baseline", self._existing.get(key), after)
                continue
            recorded.setdefault(key, []).append((entry["operation"], after))
            self.counts["events"] += 1
            if entry["operation"] in {"update", "replace"}:
                wrong = wrong or old_and_new(key, entry, before, after)
        if marks != Counter(self._ledger.marks):
            raise DifferenceError(f"marks: {Counter(self._ledger.marks)} were inserted, {marks} recorded")
        happened = {key: [(step.operation, step.after) for step in steps] for key, steps in self._ledger.steps.items()}
        compare(happened, recorded)  # first: a step that is lost makes the next one's old value look wrong
        if wrong is not None:
            raise wrong

    def _fold(self, key: Key, item: bytes) -> tuple[State, State]:
        """Apply an entry to the document; where it was before, and where it is now."""
        old = self._documents.pop(key, None)
        before = state_of(old) if old is not None else State(-1, -1)
        try:
            new = fold.fold(old, [item])
        except fold.DoesNotApplyError as error:
            raise DifferenceError(f"{key}: {error}: {oracle.entry(item)}, the document being {shown(old)}") from error
        if new is None:
            return before, State(before.life, -1)
        self._documents[key] = new
        after = state_of(new)
        same(key, "field that belongs to the counter", mark(after), document_to_python(new)["mark"])
        return before, after

    def _live(self) -> None:
        """The folded history is the documents, byte for byte."""
        live = {}
        for namespace in NAMESPACES:
            database, _, name = namespace.partition(".")
            for document in self._watched.get_database(database, codec_options=RAW)[name].find():
                live[Key(namespace, document["_id"])] = bytes(document.raw)
        for key in sorted(live.keys() | self._documents.keys()):
            same(key, "document and folded history", shown(live.get(key)), shown(self._documents.get(key)))
            if live.get(key) != self._documents.get(key):
                raise DifferenceError(f"{key}: the bytes of the folded history are not those of the document")
        history = History(self._keeper, self._database.name)
        for namespace in NAMESPACES:
            told = {each.data for each in history.collection(namespace).documents()}
            if told != {data for key, data in live.items() if key.namespace == namespace}:
                raise DifferenceError(f"{namespace}: as-of now is not the collection")
        self.counts["documents"] += len(live)

    def _as_of(self) -> None:
        """What was remembered during the round is what history tells of that moment."""
        history = History(self._keeper, self._database.name)
        for key, at, document in self._ledger.remembered:
            try:
                told = Reconstruction(self._database, key.namespace, key.document_id, at).known()
            except UnknownStateError as error:
                raise DifferenceError(f"{key}: as-of {at} is not known: {error}") from error
            if told != document:
                raise DifferenceError(f"{key} as of {at} was {shown(document)}, history says {shown(told)}")
            self.counts["as-of"] += 1
        for namespace, at, documents in self._ledger.collections:
            said = {each.data for each in history.collection(namespace, at).documents()}
            if said != documents:
                differences = [shown(data if isinstance(data, bytes) else None) for data in said ^ documents]
                raise DifferenceError(f"{namespace} as of {at}: {differences[:SHOWN]}")
            self.counts["collections as-of"] += 1
