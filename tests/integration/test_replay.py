"""History that replays exactly, proved by machine: random operations on a real server, event by event.

Two streams follow one database: the daemon's own `Listener`, whose events are recorded and folded, and a plain one of
pymongo's with post-images, which is the truth. Where the server keeps no post-images, the truth is what it reads back
at the event's cluster time. ``WATCHER_TEST_REPLAY_OPERATIONS`` is the number of operations in total.
"""

from __future__ import annotations

import os
import uuid
from collections import Counter, defaultdict
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple, Self, cast

import pytest
from bson.raw_bson import RawBSONDocument
from hypothesis import HealthCheck, Phase, given, seed, settings
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from core import fold, record
from core.changes import UNKNOWN
from core.event import DOCUMENT_OPERATIONS
from core.fold import DoesNotApplyError
from core.image import Image
from models import HistoryModel, raw
from models.values import ABSENT, document_to_python, to_raw
from models.values import UNKNOWN as UNKNOWN_VALUE
from tests.operations import CLIENTS, COLLECTIONS, USUAL, Command, Operation, on_the_wire, operations
from tests.oracle import RAW
from watcher.batch import timestamp
from watcher.listener import Listener
from watcher.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pymongo.client_session import ClientSession
    from pymongo.database import Database

    from core.changes import Change
    from core.paths import Path

OPERATIONS = int(os.environ.get("WATCHER_TEST_REPLAY_OPERATIONS", "1500"))
SEED = os.environ.get("WATCHER_TEST_REPLAY_SEED")
SHRINK = os.environ.get("WATCHER_TEST_REPLAY_SHRINK", "1") == "1"
PHASES = [Phase.explicit, Phase.reuse, Phase.generate, *([Phase.shrink] if SHRINK else [])]
MARKER = "marker"

Key = tuple[str, bytes]
"""A document: its collection, and its `_id` as type byte and payload."""

Snapshots = dict[tuple[bytes, str], dict[Key, bytes]]
"""What collections held, by cluster time and collection."""


class Mode(NamedTuple):
    """What the server keeps and what the listener asks for."""

    raw_updates: bool
    images: bool
    switching: bool = False


MODES = {
    "raw descriptions, images": Mode(raw_updates=True, images=True),
    "raw descriptions, no images": Mode(raw_updates=True, images=False),
    "raw descriptions, images switched": Mode(raw_updates=True, images=True, switching=True),
    "ordinary descriptions, images": Mode(raw_updates=False, images=True),
    "ordinary descriptions, no images": Mode(raw_updates=False, images=False),
    "ordinary descriptions, images switched": Mode(raw_updates=False, images=True, switching=True),
}


class Difference(AssertionError):  # noqa: N818 - a failure of the test
    """History says something else than the server."""

    def __init__(self, what: str, event: bytes, stored: bytes | None = None, **more: bytes | None) -> None:
        lines = [what, f"event   {document_to_python(event)}"]
        if stored is not None:
            lines.append(f"history {document_to_python(stored)}")
        lines += [f"{name:7} {None if data is None else document_to_python(data)}" for name, data in more.items()]
        super().__init__("\n".join(lines))


class Lab:
    """A database, its clients, the two streams, and what history makes of it."""

    def __init__(self, uri: str, name: str, mode: Mode) -> None:
        self.mode = mode
        self.counts: Counter[str] = Counter()
        self.untold: Counter[str] = Counter()
        self.examples: dict[str, str] = {}
        self._doubts: dict[Key, list[bytes]] = {}
        self._lost: set[Key] = set()
        self._resync: set[Key] = set()
        self._stack = ExitStack()
        self._clients = [self._stack.enter_context(MongoClient[dict[str, Any]](uri)) for _ in range(CLIENTS)]
        self._name = name
        self._raw: Database[Any] = self._clients[0].get_database(name, codec_options=RAW)
        self._history = self._clients[0].get_database(f"{name}_history", codec_options=RAW).history
        for collection in COLLECTIONS:
            self._clients[0][name].create_collection(collection, changeStreamPreAndPostImages={"enabled": mode.images})
        self._listener = Listener(
            self._clients[0], Scope((f"{name}.*",), (), f"{name}_history"), 1000, None, pre_images=True
        )
        self._listener._raw_updates = mode.raw_updates
        self._stack.callback(self._listener.close)
        self._plain = self._stack.enter_context(
            self._raw.watch(
                full_document="whenAvailable",
                full_document_before_change="whenAvailable",
                show_expanded_events=True,
                max_await_time_ms=500,
            )
        )
        self._listener.next_batch()
        self._markers = 0
        self.state: dict[Key, bytes] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._clients[0].drop_database(self._history.database.name)
        self._stack.close()

    # Doing

    def run(self, wanted: Iterable[Operation]) -> None:
        """Run operations on empty collections and check every event of theirs.

        Raises:
            Difference: the first difference found, after everything has been read.
        """
        self.state = self._live()  # the baseline
        self._doubts, self._lost, self._resync = {}, set(), set()
        truths: list[bytes] = []
        snapshots: Snapshots = {}
        for collection in COLLECTIONS:
            self._clients[0][self._name][collection].delete_many({})
        for operation in wanted:
            if operation.kind == "switch":
                truths += self._truths(snapshots)
            self.counts["operations"] += 1
            self.counts["operations with effect"] += self._run(operation)
        truths += self._truths(snapshots)
        events = self._events()
        self.counts["events"] += len(events)
        recorded = self._check(events, truths, snapshots)
        self._check_stored(recorded)
        live = self._live()
        for key in live.keys() | self.state.keys():
            if live.get(key) != self.state.get(key):
                raise Difference("at the end", events[-1], live=live.get(key), folded=self.state.get(key))

    def _run(self, operation: Operation) -> bool:
        """Run one operation; whether it changed anything."""
        client = self._clients[operation.client]
        if operation.commit is None:
            return any([self._send(client, command) for command in operation.commands])  # noqa: C419 - every command is sent
        with client.start_session() as session:
            session.start_transaction()
            changed = any([self._send(client, command, session) for command in operation.commands[:1]])  # noqa: C419 - every command is sent
            if operation.between is not None:
                self._send(self._clients[(operation.client + 1) % CLIENTS], operation.between)
            changed |= any([self._send(client, command, session) for command in operation.commands[1:]])  # noqa: C419 - every command is sent
            if session.in_transaction and operation.commit:
                try:
                    session.commit_transaction()
                except OperationFailure:
                    return False
                return changed
        return False

    def _send(self, client: MongoClient[Any], command: Command, session: ClientSession | None = None) -> bool:
        """Send one command; whether it changed anything. What the server refuses is skipped."""
        if session is not None and not session.in_transaction:
            return False
        try:
            reply: Any = client[self._name].command(on_the_wire(command), session=session, codec_options=RAW)
        except OperationFailure:
            self.counts["commands refused"] += 1
            if session is not None and session.in_transaction:
                session.abort_transaction()
            return False
        answer = document_to_python(bytes(reply.raw))
        self.counts["statements refused"] += len(answer.get("writeErrors", ()))
        if "nModified" in answer:
            return bool(answer["nModified"] or answer.get("upserted"))
        if "lastErrorObject" in answer:
            return bool(answer["lastErrorObject"]["n"])
        return bool(answer.get("n", 1))

    # Reading

    def _mark(self) -> int:
        self._markers += 1
        self._raw.command(
            {"insert": MARKER, "documents": [{"_id": self._markers}], "writeConcern": {"w": "majority", "j": True}}
        )
        return self._markers

    def _truths(self, snapshots: Snapshots) -> list[bytes]:
        """What the plain stream has until now, and what the collections held at each of its events."""
        mark, found = self._mark(), []
        while True:
            event: Any = self._plain.next()
            if _is_mark(bytes(event.raw), mark):
                break
            found.append(bytes(event.raw))
        for data in found:
            moment, collection = _moment(data)
            if (moment, collection) not in snapshots and collection != MARKER:
                snapshots[moment, collection] = self._live(collection, moment)
        return [data for data in found if not _is_mark(data)]

    def _events(self) -> list[bytes]:
        """What the listener has until now."""
        found: list[bytes] = []
        while not found or not _is_mark(found[-1], self._markers):
            found += self._listener.next_batch().events
        return [data for data in found if not _is_mark(data)]

    def _live(self, only: str | None = None, at: bytes | None = None) -> dict[Key, bytes]:
        """The documents the server has, or had at a cluster time."""
        found = {}
        for collection in COLLECTIONS if only is None else [only]:
            command: dict[str, Any] = {"find": collection, "batchSize": 10_000}
            if at is not None:
                command["readConcern"] = {"level": "snapshot", "atClusterTime": timestamp(at)}
            answer: Any = self._raw.command(command, codec_options=RAW)
            reply = raw.fields(bytes(answer.raw))
            for _, data in raw.items(raw.fields(reply[b"cursor"][1])[b"firstBatch"][1]):
                found[collection, _id(data)] = data
        return found

    # Checking

    def _check(
        self, events: list[bytes], truths: list[bytes], snapshots: Snapshots
    ) -> list[tuple[Key, bytes, bytes | None]]:
        """Record and fold every event and compare with the truth.

        Returns:
            Of each event on a document: the document, its history, and the document before.
        """
        assert [raw.fields(event)[b"_id"] for event in events] == [raw.fields(truth)[b"_id"] for truth in truths]
        recorded: list[tuple[Key, bytes, bytes | None]] = []
        moments = [_moment(truth) for truth in truths]
        last = {moment: number for number, moment in enumerate(moments)}
        last_of = {
            (moment, _id(key[1])): number
            for number, (moment, key) in enumerate((_moment(t), raw.fields(t).get(b"documentKey")) for t in truths)
            if key is not None
        }
        for number, (event, truth) in enumerate(zip(events, truths, strict=True)):
            stored = record.record(event)
            if stored != record.record(bytes(bytearray(event))):
                raise Difference("recorded twice, two histories", event, stored)
            _check_decoding(event, stored)
            fields, moment = raw.fields(truth), moments[number]
            if _operation(fields) not in DOCUMENT_OPERATIONS:
                continue
            key = moment[1], _id(fields[b"documentKey"][1])
            recorded.append((key, stored, self.state.get(key)))
            is_last = last[moment] == number
            exact = last_of[moment, key[1]] == number
            if exact:
                after = snapshots[moment].get(key)
                self.counts["post-images that are not the document"] += _post_image(fields) not in (None, after)
            else:
                after = None if _operation(fields) == b"delete" else (_post_image(fields) or _NOT_KNOWN)
            self._check_one(key, event, stored, after, exact=exact)
            if is_last:
                mine = {other: data for other, data in self.state.items() if other[0] == moment[1]}
                if mine != snapshots[moment] and not self._doubts:
                    raise Difference("the collection at that time", event, stored)
        return recorded

    def _check_one(self, key: Key, event: bytes, stored: bytes, after: bytes | None, *, exact: bool) -> None:
        """Fold one event; the state is then what the server has.

        Args:
            key: the document.
            event: as the listener delivered it.
            stored: its history.
            after: the document after it, or `_NOT_KNOWN`.
            exact: `after` is what the server stored; else a post-image, whose fields may be in another order.
        """
        before = self.state.get(key)
        if _is_ordinary(event):
            self._doubts.setdefault(key, []).append(event)
        if key not in self._lost:
            _check_old_values(event, stored, before)
        try:
            folded = fold.fold(before, [stored])
        except DoesNotApplyError as error:
            self._tolerate(key, None, None, Difference(f"does not apply: {error}", event, stored, before=before))
            folded = _NOT_KNOWN
        if after is _NOT_KNOWN:
            if folded is _NOT_KNOWN:
                self._lost.add(key)
            else:
                self._keep(key, folded)
            return
        if folded is not _NOT_KNOWN and not _same(folded, after, exact=exact):
            found = Difference("another document", event, stored, before=before, folded=folded, server=after)
            self._tolerate(key, folded, after, found)
        elif key not in self._doubts and key not in self._lost:
            _check_new_values(event, stored, before, after)
        keep = folded if not exact and folded is not _NOT_KNOWN and _same(folded, after, exact=False) else after
        self._keep(key, keep)
        if exact:
            self._doubts.pop(key, None)
        self._lost.discard(key)

    def _keep(self, key: Key, document: bytes | None) -> None:
        if document is None:
            self.state.pop(key, None)
        else:
            self.state[key] = document

    def _tolerate(self, key: Key, folded: bytes | None, after: bytes | None, found: Difference) -> None:
        """Let pass, and count, only what an ordinary description without images cannot tell.

        Raises:
            Difference: it could be told.
        """
        doubts = self._doubts.get(key, [])
        if not doubts:
            raise found
        self._resync.add(key)
        if key in self._lost:
            return
        before = self.state.get(key)
        if folded is None or after is None:
            why = "refused to fold"
        elif _in_order(folded) == _in_order(after):
            why = "silently another order of fields"
        else:
            why = "silently another field"
        bare = [event for event in doubts if _is_bare(event)]
        dotted = any(b"." in name and name in field for name in _names(before, after) for field in _described(bare))
        told = {
            "silently another order of fields": False,
            "silently another field": not dotted,
            "refused to fold": not any(b"." in field for field in _described(bare)),
        }
        if told[why]:
            raise found
        self.untold[why] += 1
        self.examples.setdefault(why, str(found))

    def _check_stored(self, recorded: list[tuple[Key, bytes, bytes | None]]) -> None:
        """Write the history down, read it back, and fold it again from each document's baseline."""
        self._history.delete_many({})
        resync, self._resync = self._resync, set()
        if not recorded:
            return
        self._history.insert_many([RawBSONDocument(stored) for _, stored, _ in recorded])
        back = {_id(data): data for data in (bytes(item.raw) for item in cast("Any", self._history.find()))}
        timelines: dict[Key, list[bytes]] = defaultdict(list)
        baselines: dict[Key, bytes | None] = {}
        for key, stored, before in recorded:
            assert back.get(_id(stored)) == stored, "the server changed what was stored"
            baselines.setdefault(key, before)
            timelines[key].append(back[_id(stored)])
        for key in timelines.keys() - resync:
            assert fold.fold(baselines[key], timelines[key]) == self.state.get(key), "folded twice, two documents"


_NOT_KNOWN = b""
"""In place of a document: in the middle of a transaction, and without post-images, nobody knows it."""


def _post_image(truth: dict[bytes, raw.Value]) -> bytes | None:
    """The document after the event as the event has it, if it does.

    It is not always the document: in MongoDB 6.0's post-images what the update moved to the end stands twice, at its
    old place and at the end, and a replacement's `_id` stands where the pipeline put it.
    """
    image = truth.get(b"fullDocument", raw.NULL_VALUE)
    return image[1] if image[0] == raw.DOCUMENT else None


def _same(folded: bytes | None, after: bytes | None, *, exact: bool) -> bool:
    if exact or folded is None or after is None:
        return folded == after
    return _in_order(folded) == _in_order(after)


def _is_ordinary(event: bytes) -> bool:
    """Whether it is an ordinary description of an update, which does not tell where a field was put."""
    fields = raw.fields(event)
    return _operation(fields) == b"update" and b"rawUpdateDescription" not in fields


def _is_bare(event: bytes) -> bool:
    """Whether it is an ordinary description of an update without images, which cannot tell everything."""
    if not _is_ordinary(event):
        return False
    fields = raw.fields(event)
    images = [fields.get(name, raw.NULL_VALUE)[0] for name in (b"fullDocument", b"fullDocumentBeforeChange")]
    return images != [raw.DOCUMENT, raw.DOCUMENT]


def _described(events: list[bytes]) -> Iterator[bytes]:
    """Every dotted path in ordinary descriptions."""
    for event in events:
        description = document_to_python(raw.fields(event)[b"updateDescription"][1])
        truncated = [array["field"] for array in description["truncatedArrays"]]
        for field in [*description["updatedFields"], *description["removedFields"], *truncated]:
            yield field.encode("utf-8", "surrogateescape")


def _names(*documents: bytes | None) -> Iterator[bytes]:
    """Every key of documents, at every depth."""
    for document in documents:
        for name, kind, payload in raw.elements(document or raw.EMPTY_DOCUMENT):
            yield name
            if kind in (raw.DOCUMENT, raw.ARRAY):
                yield from _names(payload)


def _in_order(document: bytes) -> bytes:
    """The document with its keys sorted, at every depth, each once: see `_post_image`."""
    found = []
    for name, (kind, payload) in raw.fields(document).items():
        inner = _in_order(payload) if kind in (raw.DOCUMENT, raw.ARRAY) else payload
        found.append((name, (kind, inner)))
    return raw.from_fields(sorted(found))


def _changes(stored: bytes) -> list[Change]:
    return fold.read(stored).changes


def _check_old_values(event: bytes, stored: bytes, before: bytes | None) -> None:
    """Old values are the pre-image's, or said to be unknown; never a null, never a guess."""
    fields = raw.fields(event)
    image = fields.get(b"fullDocumentBeforeChange", raw.NULL_VALUE)
    if image[0] == raw.DOCUMENT:
        if image[1] != before:
            raise Difference("the pre-image is not the document before", event, stored, before=before)
        found = Image(image[1])
        for change in _changes(stored):
            if change.old_from is not None or change.old != found.get(change.path):
                raise Difference(f"the old value of {change.path}", event, stored)
            if change.new is None and change.truncated_to is None and change.old is None:
                raise Difference(f"a removal of nothing at {change.path}", event, stored)
        return
    expected = None if _operation(fields) == b"insert" else UNKNOWN
    for change in _changes(stored):
        if change.old is not None or change.old_from != expected:
            raise Difference(f"an old value nobody knows at {change.path}", event, stored)


def _check_new_values(event: bytes, stored: bytes, before: bytes | None, after: bytes | None) -> None:
    """New values are the post-image's, and every path is exact: indexes in arrays, keys in documents."""
    images = [Image(document) for document in (after, before) if document is not None]
    changes = _changes(stored)
    for number, change in enumerate(changes):
        path, new, truncated_to = change.path, change.new, change.truncated_to
        for depth, key in enumerate(path):
            kinds = {_kind(image, path[:depth]) for image in images}
            if (raw.ARRAY if isinstance(key, int) else raw.DOCUMENT) not in kinds:
                raise Difference(f"the path {path} is not exact", event, stored, before=before, server=after)
        if after is None or any(later.path[: len(path)] == path for later in changes[number + 1 :]):
            continue
        value = images[0].get(path)
        if value != new and not (truncated_to is not None and new is None):
            raise Difference(f"the new value of {path}", event, stored, before=before, server=after)


def _kind(image: Image, path: Path) -> int | None:
    if not path:
        return raw.DOCUMENT
    value = image.get(path)
    return None if value is None else value[0]


def _check_decoding(event: bytes, stored: bytes) -> None:
    """What Python reads through the model is, value by value, the very BSON that is stored."""
    decoded = document_to_python(stored)
    if to_raw(decoded) != (raw.DOCUMENT, stored):
        raise Difference("decoding loses something", event, stored)
    model = HistoryModel._from_son(decoded)
    for change, payload in zip(model.changes, raw.items(raw.fields(stored)[b"changes"][1]), strict=True):
        kept = raw.fields(payload[1])
        for name, value in (("old_value", change.old_value), ("new_value", change.new_value)):
            found = None if value is ABSENT or value is UNKNOWN_VALUE else to_raw(value)
            if found != kept.get(name.encode()):
                raise Difference(f"the model's {name} of {change.field}", event, stored)


def _id(data: bytes) -> bytes:
    kind, payload = raw.fields(data)[b"_id"]
    return bytes((kind,)) + payload


def _operation(fields: dict[bytes, raw.Value]) -> bytes:
    return raw.text_of(fields[b"operationType"])


def _collection(fields: dict[bytes, raw.Value]) -> str:
    return raw.text_of(raw.fields(fields[b"ns"][1])[b"coll"]).decode()


def _moment(event: bytes) -> tuple[bytes, str]:
    fields = raw.fields(event)
    return fields[b"clusterTime"][1], _collection(fields)


def _is_mark(data: bytes, mark: int | None = None) -> bool:
    fields = raw.fields(data)
    if b"ns" not in fields or _collection(fields) != MARKER:
        return False
    key = fields.get(b"documentKey")
    return mark is None or (key is not None and document_to_python(key[1])["_id"] == mark)


def _share(lab: Lab) -> str:
    counts = ", ".join(f"{count} {name}" for name, count in lab.counts.items())
    return f"{counts}; cannot be told: {dict(lab.untold)}"


@pytest.mark.timeout(0)
@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_folding_history_gives_the_servers_document_after_every_event(
    mode: Mode, replica_set_uri: str, record_property: pytest.FixtureRequest
) -> None:
    """Otherwise as-of and revert would give out documents that never were."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    examples = max(1, OPERATIONS // len(MODES) // USUAL)

    with MongoClient[dict[str, Any]](replica_set_uri) as client, Lab(replica_set_uri, name, mode) as lab:

        @settings(
            max_examples=examples,
            deadline=None,
            print_blob=True,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        )
        @given(operations(switching=mode.switching))
        def replays(wanted: list[Operation]) -> None:
            lab.run(wanted)

        try:
            (seed(int(SEED))(replays) if SEED else replays)()
        finally:
            client.drop_database(name)
            print(f"{_share(lab)}")  # noqa: T201 - the report of a long run
            for why, example in lab.examples.items():
                print(why, example, sep="\n")  # noqa: T201
    assert lab.counts["operations with effect"] > lab.counts["operations"] / 3
