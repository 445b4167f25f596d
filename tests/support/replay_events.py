"""What a change event says of a document, read from its bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from change_history.bson import raw
from change_history.bson.values import document_to_python

if TYPE_CHECKING:
    from collections.abc import Iterator

MARKER = "marker"

Key = tuple[str, bytes]
"""A document: its collection, and its `_id` as type byte and payload."""

Snapshots = dict[tuple[bytes, str], dict[Key, bytes]]
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


def moment_of(event: bytes) -> tuple[bytes, str]:
    """The cluster time, and the collection."""
    fields = raw.fields(event)
    return fields[b"clusterTime"][1], collection_of(fields)


def is_mark(data: bytes, mark: int | None = None) -> bool:
    """Whether it is an event of the collection of marks; with `mark`, that very one."""
    fields = raw.fields(data)
    if b"ns" not in fields or collection_of(fields) != MARKER:
        return False
    key = fields.get(b"documentKey")
    return mark is None or (key is not None and document_to_python(key[1])["_id"] == mark)
