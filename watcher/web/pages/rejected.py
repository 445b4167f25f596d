"""The page of events that could not be recorded, with their documents and the errors."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from change_history.bson import raw
from change_history.bson.values import to_python
from change_history.stored import rejected
from change_history.stored.names import REJECTED
from change_history.stored.reading import RAW
from watcher.web.pages import links
from watcher.web.pages.page_request import Page

if TYPE_CHECKING:
    from collections.abc import Iterator

    from watcher.web.pages.page_request import Answer, PageRequest

MOST = 200
_FIELDS = {**rejected.FIELDS, "error": 1, "stream": 1, "resume_token": 1}


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A rejected event, which is stored unchanged.

    Attributes:
        namespace: its namespace; None: it cannot be read.
        document_id: `_id` of its document; None: it is about a collection, or the `_id` cannot be read.
        address: address of the document; None: there is none, or its `_id` is too long.
        when: the latest time at which it can have happened.
        word: the operation, in the server's term.
        error: why it could not be recorded.
    """

    namespace: str | None
    document_id: Any
    address: str | None
    when: datetime
    word: str
    error: str


def found(request: PageRequest, most: int) -> list[RejectedRow]:
    """The newest rejected events that the visitor may see."""
    return list(islice(_all(request), most))


def _all(request: PageRequest) -> Iterator[RejectedRow]:
    database = request.reader.database_of_history
    stored: Any = database.get_collection(REJECTED, codec_options=RAW).find({}, _FIELDS).sort("_id", -1)
    for each in stored:
        concern = rejected.concern(database, bytes(each.raw))
        namespace = concern.namespace.decode("utf-8", "replace") if concern.namespace is not None else None
        if namespace is None and not request.history.reads_everything:
            continue
        if namespace is not None and not request.history.may_read(namespace):
            continue
        says = raw.fields(bytes(each.raw))
        document_id, address = None, None
        if namespace is not None and concern.document_id is not None:
            document_id = to_python(concern.document_id)
            request.history.take(namespace, document_id)
            written = links.id_text(document_id)
            address = links.address("document", ns=namespace, id=written) if written is not None else None
        when = datetime.fromtimestamp(concern.until.seconds, UTC)
        yield RejectedRow(namespace, document_id, address, when, _text(says, b"operation"), _text(says, b"error"))


def _text(says: dict[bytes, raw.Value], name: bytes) -> str:
    value = says.get(name)
    return str(to_python(value)) if value is not None and value[0] == raw.STRING else "unknown"


def page(request: PageRequest) -> Answer:
    """The events that could not be recorded, newest first."""
    shown = found(request, MOST + 1)
    return Page("rejected.html", {"rejected": shown[:MOST], "cut": len(shown) > MOST})
