"""The short way from an event to its history, compiled when this was installed, unless no C compiler was to be had.

`watcher.events.record` says how history is written. What comes out here is the same, byte for byte, in a tenth of the
time or less; `tests/unit/test_fast_path.py` holds the two against each other. What the compiled way finds odd it
declines, and the readable one does it. Which of the two was taken can be told by nothing but the time.
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
    _compiled = None  # of a checkout that has moved on: it may write what history was like before

COMPILED = _compiled is not None


def read(data: bytes) -> StreamEvent | Usual:
    """Read an event.

    Args:
        data: the event as the server sent it, BSON.

    Raises:
        change_history.bson.raw.MalformedBSON: the bytes are no BSON document.
        watcher.events.event.UnreadableEventError: no resume token, operation or cluster time.
    """
    return (_compiled.read(data) if _compiled is not None else None) or parse(data)


def quiet(
    events: list[bytes], entry: type[PairT]
) -> tuple[list[PairT], dict[tuple[bytes, bytes], int], int, int] | None:
    """The history of a batch whose events are all usual ones of documents, with their pre-images.

    Args:
        events: as the server sent them, BSON.
        entry: a class of tuples of two.

    Returns:
        For each event its history document and itself, as such a tuple; the number of events by namespace and
        operation; the bytes of history; the number of the first event of the transaction that the last one is in, -1
        if that is in none. None: the events are to be looked at one by one.
    """
    return _compiled.quiet(events, entry) if _compiled is not None else None


def read_some(
    events: list[bytes], start: int, known: Container[DocumentKey]
) -> tuple[list[Usual], dict[DocumentKey, Value], dict[bytes, bool]]:
    """Read events from one on, up to the first that is not a usual one of a document.

    Args:
        events: as the server sent them, BSON.
        start: number of the first.
        known: documents of which no `_id` is asked for.

    Returns:
        They; the `_id`s of the documents of which one lacks its pre-image; for each namespace whether one does.
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
    """The history of events from one on, up to the first that is to be looked at, and documents brought up to date.

    To be looked at are those that are not usual ones, those in transactions, those in other namespaces, and those that
    lack a pre-image which `documents` does not have either.

    Args:
        events: as they were read.
        start: number of the first.
        documents: those before the events; those after them, when this returns.
        followed: for each namespace whether its documents are kept up to date.
        apart: numbers of events that are to be looked at.
        entry: a class of tuples of two.

    Returns:
        As of `quiet`.
    """
    if _compiled is None:
        return [], {}, 0
    found: tuple[list[PairT], dict[tuple[bytes, bytes], int], int] = _compiled.record_some(
        events, start, documents, followed, apart, entry
    )
    return found


def history(happened: StreamEvent | Usual, known: bytes | None = None) -> bytes:
    """The history document of an event; `watcher.events.record.document` says what it is, and what is raised."""
    if isinstance(happened, StreamEvent):
        return record.document(happened, known)
    return happened.history(known) or record.document(parse(happened.data), known)


def followed(happened: StreamEvent | Usual, known: bytes | None) -> tuple[bytes, bytes | None]:
    """The history document of an event, and the document after it: `watcher.events.record.followed`."""
    if isinstance(happened, StreamEvent):
        return record.followed(happened, known)
    return happened.followed(known) or record.followed(parse(happened.data), known)


def documents(data: bytes, start: int = 0, stop: int | None = None) -> list[bytes]:
    """Take an array of documents apart.

    Args:
        data: the array, BSON, or what holds it.
        start: where the array begins.
        stop: where it ends.

    Raises:
        change_history.bson.raw.MalformedBSON: a length or a type is impossible.
    """
    end = len(data) if stop is None else stop
    found = _compiled.documents(data, start, end) if _compiled is not None else None
    return found if found is not None else [document for _, document in raw.items(data[start:end])]


def redaction(rules: Sequence[Rule], key: bytes | None) -> Redaction | None:
    """What withholds values, the compiled way where it can; None: there are no rules.

    Args:
        rules: in their order.
        key: of the digests; None where no rule needs it.
    """
    if not rules:
        return None
    return Redaction(rules, key) if _compiled is None else _QuickRedaction(rules, key, _Quick)


class _QuickRedaction(Redaction):
    """A `Redaction` whose loop over a batch is compiled."""

    def batch(self, events: list[bytes]) -> tuple[list[bytes], frozenset[int]]:
        if _compiled is None:
            return super().batch(events)
        found: tuple[list[bytes], frozenset[int]] = _compiled.withheld(events, self.by_names, self.named)
        return found


class _Quick(Redactor):
    """A `Redactor` of which the compiled path does what is usual."""

    def __init__(self, paths: Paths, key: bytes) -> None:
        super().__init__(paths, key)
        self.quick: Withholding | None = None
        """Does what is usual; None: there are too many rules for it."""
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
