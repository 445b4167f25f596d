"""The compiled path from an event to its history. It is compiled at installation, if there is a C compiler.

`watcher.events.record` defines how history is written. The compiled code writes the same bytes in a tenth of the time
or less; `tests/unit/test_fast_path.py` compares the two. Rare forms of events are left to the Python code. Only the
time shows which of the two was used.

An *ordinary* event, below, is an event of a document in a form that the compiled code handles.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from change_history.bson import raw, redacted
from change_history.redaction_rules import ANY_DEPTH, is_glob
from watcher.events import record
from watcher.events._sources import digest
from watcher.events.event import StreamEvent, parse
from watcher.events.redaction import Redaction, Redactor

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from types import ModuleType

    from change_history.bson.raw import Value
    from change_history.redaction_rules import Paths, Rule
    from watcher.events._fast_path import Usual, Withholding
    from watcher.events.documents import Documents
    from watcher.events.event import DocumentKey

PairT = TypeVar("PairT", bound=tuple[bytes, bytes])

_compiled: ModuleType | None
try:
    from watcher.events import _fast_path as _compiled
except ImportError:
    _compiled = None
if _compiled is not None and (sources := digest(Path(__file__).parent)) and sources != _compiled.MADE_FROM:
    _compiled = None  # built from an older checkout: it may write a former format of history

COMPILED = _compiled is not None


def read(data: bytes) -> StreamEvent | Usual:
    """Parse an event.

    Args:
        data: the event as the server sent it, BSON.

    Raises:
        change_history.bson.raw.MalformedBSON: the bytes are not a BSON document.
        watcher.events.event.UnreadableEventError: the resume token, operation or cluster time is missing.
    """
    return (_compiled.read(data) if _compiled is not None else None) or parse(data)


def quiet(
    events: list[bytes], entry: type[PairT]
) -> tuple[list[PairT], dict[tuple[bytes, bytes], int], int, int] | None:
    """The history of a batch whose events are all ordinary and have their pre-images.

    Args:
        events: the events as the server sent them, BSON.
        entry: class of a tuple of two.

    Returns:
        For each event a tuple of its history document and the event; the number of events by namespace and operation;
        the bytes of history; the index of the first event of the transaction that the last event is in, -1 if that is
        in none. None: the events have to be recorded individually.
    """
    return _compiled.quiet(events, entry) if _compiled is not None else None


def read_some(
    events: list[bytes], start: int, known: Container[DocumentKey]
) -> tuple[list[Usual], dict[DocumentKey, Value], dict[bytes, bool]]:
    """Parse events from an index on, up to the first one that is not ordinary.

    Args:
        events: the events as the server sent them, BSON.
        start: index of the first event.
        known: documents that are cached; their `_id`s are not returned.

    Returns:
        The parsed events; the `_id`s of the documents with an event that lacks its pre-image; for each namespace,
        whether an event lacks it.
    """
    return _compiled.read_some(events, start, known) if _compiled is not None else ([], {}, {})


def record_some(
    events: Sequence[object],
    start: int,
    documents: Documents,
    followed: Mapping[bytes, bool],
    apart: AbstractSet[int],
    entry: type[PairT],
) -> tuple[list[PairT], dict[tuple[bytes, bytes], int], int]:
    """The history of events from an index on, up to the first one that has to be recorded individually.

    These are events that are not ordinary, that are in a transaction or another namespace, or that lack a pre-image
    which `documents` does not have either. The cached documents are updated.

    Args:
        events: the parsed events.
        start: index of the first event.
        documents: the documents before the events; when this returns, the documents after them.
        followed: for each namespace, whether its documents are kept up to date.
        apart: indexes of further events to be recorded individually.
        entry: class of a tuple of two.

    Returns:
        The first three items that `quiet` returns.
    """
    if _compiled is None:
        return [], {}, 0
    found: tuple[list[PairT], dict[tuple[bytes, bytes], int], int] = _compiled.record_some(
        events, start, documents, followed, apart, entry
    )
    return found


def history(happened: StreamEvent | Usual, known: bytes | None = None) -> bytes:
    """The history document of an event; see `watcher.events.record.document`, also for what is raised."""
    if isinstance(happened, StreamEvent):
        return record.document(happened, known)
    return happened.history(known) or record.document(parse(happened.data), known)


def followed(happened: StreamEvent | Usual, known: bytes | None) -> tuple[bytes, bytes | None]:
    """The history document of an event, and the document after it: `watcher.events.record.followed`."""
    if isinstance(happened, StreamEvent):
        return record.followed(happened, known)
    return happened.followed(known) or record.followed(parse(happened.data), known)


def documents(data: bytes, start: int = 0, stop: int | None = None) -> list[bytes]:
    """Split an array into its documents.

    Args:
        data: BSON that is, or contains, the array.
        start: offset of the array.
        stop: offset of its end; None: the end of `data`.

    Raises:
        change_history.bson.raw.MalformedBSON: a length or a type is impossible.
    """
    end = len(data) if stop is None else stop
    found = _compiled.documents(data, start, end) if _compiled is not None else None
    return found if found is not None else [document for _, document in raw.items(data[start:end])]


def redaction(rules: Sequence[Rule], key: bytes | None) -> Redaction | None:
    """The redaction by rules, compiled if possible; None: there are no rules.

    Args:
        rules: the rules in their order.
        key: key of the digests; None: no rule needs one.
    """
    if not rules:
        return None
    return Redaction(rules, key) if _compiled is None else _QuickRedaction(rules, key, _Quick)


class _QuickRedaction(Redaction):
    """A `Redaction` with a compiled loop over a batch."""

    def batch(self, events: list[bytes]) -> tuple[list[bytes], frozenset[int]]:
        if _compiled is None:
            return super().batch(events)
        found: tuple[list[bytes], frozenset[int]] = _compiled.withheld(events, self.by_names, self.named)
        return found


class _Quick(Redactor):
    """A `Redactor` that uses compiled code for ordinary documents and events."""

    def __init__(self, paths: Paths, key: bytes) -> None:
        super().__init__(paths, key)
        self.quick: Withholding | None = None
        """The compiled redactor; None: there are too many rules for it."""
        if _compiled is not None and len(paths.parts) <= _MOST_POSITIONS:
            positions = [
                (*_position(part, str(paths.ends[number].how) if part is None else ""), paths.reached[number])
                for number, part in enumerate(paths.parts)
            ]
            head = redacted.hashing(key)(0, b"")[: -redacted.DIGEST_BYTES]
            self.quick = _compiled.Withholding(positions, paths.start, head, key)

    def document(self, document: bytes) -> bytes:
        found = self.quick.document(document) if self.quick is not None else None
        return found if found is not None else super().document(document)

    def marked_event(self, data: bytes) -> tuple[bytes, bool]:
        found = self.quick.marked_event(data) if self.quick is not None else None
        return found if found is not None else super().marked_event(data)


_MOST_POSITIONS = 64


def _position(part: str | None, how: str) -> tuple[bytes, str]:
    if part is None:
        return b"", how
    kind = "any depth" if part == ANY_DEPTH else "glob" if is_glob(part) else "literal"
    return part.encode("utf-8", "surrogateescape"), kind
