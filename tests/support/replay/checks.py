"""What every recorded event must say: its values, and the document that folding it gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from change_history.bson import raw
from change_history.bson.cluster_time import ClusterTime
from change_history.bson.image import Image
from change_history.bson.values import ABSENT, document_to_python, to_raw
from change_history.bson.values import UNKNOWN as UNKNOWN_VALUE
from change_history.reconstruct import fold
from change_history.reconstruct.fold import DoesNotApplyError
from change_history.stored.changes import UNKNOWN
from models import HistoryModel
from watcher.events import record
from watcher.events.event import DOCUMENT_OPERATIONS

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator

    from change_history.bson.paths import Path
    from change_history.stored.changes import Change

MARKER = "marker"

Key = tuple[str, bytes]
"""A document: its collection, and its `_id` as type byte and payload."""

Snapshots = dict[tuple[ClusterTime, str], dict[Key, bytes]]
"""What collections held, by cluster time and collection."""

NOT_KNOWN = b""
"""In place of a document: in the middle of a transaction, and without post-images, nobody knows it."""


class Difference(AssertionError):  # noqa: N818 - a failure of the test
    """History says something else than the server."""

    def __init__(self, what: str, event: bytes, stored: bytes | None = None, **more: bytes | None) -> None:
        lines = [what, f"event   {document_to_python(event)}"]
        if stored is not None:
            lines.append(f"history {document_to_python(stored)}")
        lines += [f"{name:7} {None if data is None else document_to_python(data)}" for name, data in more.items()]
        super().__init__("\n".join(lines))


def post_image(truth: dict[bytes, raw.Value]) -> bytes | None:
    """The document after the event as the event has it, if it does.

    It is not always the document: in MongoDB 6.0's post-images what the update moved to the end stands twice, at its
    old place and at the end, and a replacement's `_id` stands where the pipeline put it.
    """
    image = truth.get(b"fullDocument", raw.NULL_VALUE)
    return image[1] if image[0] == raw.DOCUMENT else None


def same(folded: bytes | None, after: bytes | None, *, exact: bool) -> bool:
    """Whether folding gave the document, but for the order of fields where that is not exact."""
    if exact or folded is None or after is None:
        return folded == after
    return in_order(folded) == in_order(after)


def is_ordinary(event: bytes) -> bool:
    """Whether it is an ordinary description of an update, which does not tell where a field was put."""
    fields = raw.fields(event)
    return operation_of(fields) == b"update" and b"rawUpdateDescription" not in fields


def is_bare(event: bytes) -> bool:
    """Whether it is an ordinary description of an update without images, which cannot tell everything."""
    if not is_ordinary(event):
        return False
    fields = raw.fields(event)
    images = [fields.get(name, raw.NULL_VALUE)[0] for name in (b"fullDocument", b"fullDocumentBeforeChange")]
    return images != [raw.DOCUMENT, raw.DOCUMENT]


def described_fields(events: list[bytes]) -> Iterator[bytes]:
    """Every dotted path in ordinary descriptions."""
    for event in events:
        description = document_to_python(raw.fields(event)[b"updateDescription"][1])
        truncated = [array["field"] for array in description["truncatedArrays"]]
        for field in [*description["updatedFields"], *description["removedFields"], *truncated]:
            yield field.encode("utf-8", "surrogateescape")


def names_in(*documents: bytes | None) -> Iterator[bytes]:
    """Every key of documents, at every depth."""
    for document in documents:
        for name, kind, payload in raw.elements(document or raw.EMPTY_DOCUMENT):
            yield name
            if kind in (raw.DOCUMENT, raw.ARRAY):
                yield from names_in(payload)


def in_order(document: bytes) -> bytes:
    """The document with its keys sorted, at every depth, each once: see `_post_image`."""
    found = []
    for name, (kind, payload) in raw.fields(document).items():
        inner = in_order(payload) if kind in (raw.DOCUMENT, raw.ARRAY) else payload
        found.append((name, (kind, inner)))
    return raw.from_fields(sorted(found))


def id_of(data: bytes) -> bytes:
    """The `_id` as type byte and payload."""
    kind, payload = raw.fields(data)[b"_id"]
    return bytes((kind,)) + payload


def operation_of(fields: dict[bytes, raw.Value]) -> bytes:
    """What happened."""
    return raw.text_of(fields[b"operationType"])


def collection_of(fields: dict[bytes, raw.Value]) -> str:
    """Where."""
    return raw.text_of(raw.fields(fields[b"ns"][1])[b"coll"]).decode()


def moment_of(event: bytes) -> tuple[ClusterTime, str]:
    """The cluster time, and the collection."""
    fields = raw.fields(event)
    return ClusterTime.from_payload(fields[b"clusterTime"][1]), collection_of(fields)


def is_mark(data: bytes, mark: int | None = None) -> bool:
    """Whether it is an event of the collection of marks; with `mark`, that very one."""
    fields = raw.fields(data)
    if b"ns" not in fields or collection_of(fields) != MARKER:
        return False
    key = fields.get(b"documentKey")
    return mark is None or (key is not None and document_to_python(key[1])["_id"] == mark)


def _changes(stored: bytes) -> list[Change]:
    return fold.read(stored).changes


def check_old_values(event: bytes, stored: bytes, before: bytes | None) -> None:
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
    expected = None if operation_of(fields) == b"insert" else UNKNOWN
    for change in _changes(stored):
        if change.old is not None or change.old_from != expected:
            raise Difference(f"an old value nobody knows at {change.path}", event, stored)


def check_new_values(event: bytes, stored: bytes, before: bytes | None, after: bytes | None) -> None:
    """New values are the post-image's, and every path is exact: indexes in arrays, keys in documents."""
    after = record.each_key_once(after) if after is not None else None
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


def check_decoding(event: bytes, stored: bytes) -> None:
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


class Folded:
    """The documents as history has them, event by event."""

    def __init__(self, counts: Counter[str], untold: Counter[str], examples: dict[str, str]) -> None:
        self._counts = counts
        self._untold = untold
        self._examples = examples
        self._doubts: dict[Key, list[bytes]] = {}
        self._lost: set[Key] = set()
        self.resync: set[Key] = set()
        self.state: dict[Key, bytes] = {}

    def start(self, baseline: dict[Key, bytes]) -> None:
        """Forget everything but the documents there are."""
        self.state = baseline
        self._doubts, self._lost, self.resync = {}, set(), set()

    def check(
        self, events: list[bytes], truths: list[bytes], snapshots: Snapshots
    ) -> list[tuple[Key, bytes, bytes | None]]:
        """Record and fold every event and compare with the truth.

        Returns:
            Of each event on a document: the document, its history, and the document before.
        """
        assert [raw.fields(event)[b"_id"] for event in events] == [raw.fields(truth)[b"_id"] for truth in truths]
        recorded: list[tuple[Key, bytes, bytes | None]] = []
        moments = [moment_of(truth) for truth in truths]
        last = {moment: number for number, moment in enumerate(moments)}
        last_of = {
            (moment, id_of(key[1])): number
            for number, (moment, key) in enumerate((moment_of(t), raw.fields(t).get(b"documentKey")) for t in truths)
            if key is not None
        }
        for number, (event, truth) in enumerate(zip(events, truths, strict=True)):
            stored = record.record(event)
            if stored != record.record(bytes(bytearray(event))):
                raise Difference("recorded twice, two histories", event, stored)
            check_decoding(event, stored)
            fields, moment = raw.fields(truth), moments[number]
            if operation_of(fields) not in DOCUMENT_OPERATIONS:
                continue
            key = moment[1], id_of(fields[b"documentKey"][1])
            recorded.append((key, stored, self.state.get(key)))
            is_last = last[moment] == number
            exact = last_of[moment, key[1]] == number
            if exact:
                after = snapshots[moment].get(key)
                self._counts["post-images that are not the document"] += post_image(fields) not in (None, after)
            else:
                after = None if operation_of(fields) == b"delete" else (post_image(fields) or NOT_KNOWN)
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
            after: the document after it, or `NOT_KNOWN`.
            exact: `after` is what the server stored; else a post-image, whose fields may be in another order.
        """
        before = self.state.get(key)
        if is_ordinary(event):
            self._doubts.setdefault(key, []).append(event)
        if key not in self._lost:
            check_old_values(event, stored, before)
        try:
            folded = fold.fold(before, [stored])
        except DoesNotApplyError as error:
            self._tolerate(key, None, None, Difference(f"does not apply: {error}", event, stored, before=before))
            folded = NOT_KNOWN
        if after is NOT_KNOWN:
            if folded is NOT_KNOWN:
                self._lost.add(key)
            else:
                self._keep(key, folded)
            return
        if folded is not NOT_KNOWN and not same(folded, after, exact=exact):
            found = Difference("another document", event, stored, before=before, folded=folded, server=after)
            self._tolerate(key, folded, after, found)
        elif key not in self._doubts and key not in self._lost:
            check_new_values(event, stored, before, after)
        keep = folded if not exact and folded is not NOT_KNOWN and same(folded, after, exact=False) else after
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
        self.resync.add(key)
        if key in self._lost:
            return
        before = self.state.get(key)
        if folded is None or after is None:
            why = "refused to fold"
        elif in_order(folded) == in_order(after):
            why = "silently another order of fields"
        else:
            why = "silently another field"
        bare = [event for event in doubts if is_bare(event)]
        dotted = any(
            b"." in name and name in field for name in names_in(before, after) for field in described_fields(bare)
        )
        told = {
            "silently another order of fields": False,
            "silently another field": not dotted,
            "refused to fold": not any(b"." in field for field in described_fields(bare)),
        }
        if told[why]:
            raise found
        self._untold[why] += 1
        self._examples.setdefault(why, str(found))
