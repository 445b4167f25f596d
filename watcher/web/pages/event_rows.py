"""Rows of event lists: actor, time, changes; and the gaps between the events."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from change_history.bson.cluster_time import ClusterTime
from change_history.bson.paths import decoded, dotted_text
from change_history.bson.values import ABSENT, UNKNOWN, Missing
from change_history.diff.compare import DifferenceKind, element_differences
from change_history.query import gaps
from change_history.stored.event import path_of
from watcher.web.pages import links, values
from watcher.words import times
from watcher.words.operations import operation_of
from watcher.words.value_text import printable, words

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bson import Timestamp

    from change_history.diff.compare import Difference
    from change_history.query.briefs import Brief
    from change_history.stored.event import Change, Event
    from watcher.web.pages.page_request import PageRequest

FEW = 3
"""Changes of an event that are shown in a list at most."""

MOST_LINES = 500
"""Changes of an event that are shown on the event's page at most."""

_MOST_INSIDE = 6

SIGNS = {"insert": "+", "update": "~", "replace": "~", "delete": "\N{MINUS SIGN}", "baseline": "○", "reconcile": "≈"}


@dataclass(frozen=True, slots=True)
class FieldLine:
    """The change of one field, as a line.

    Attributes:
        mark: `add`, `del` or `chg`.
        where: the field's path as HTML.
        old: its value before, as HTML; None: there was none.
        new: its value after, as HTML; None: there is none.
        field: the field in dotted notation, if it can be part of an address.
        note: a remark that follows the change.
    """

    mark: str
    where: Markup
    old: Markup | None
    new: Markup | None
    field: str | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class EventRow:
    """An event, or a gap, in a list.

    Attributes:
        event: the event.
        lines: its first changes.
        more: number of changes that are not shown.
        number: version of the document that it made; 0: unknown.
        link: the address of its document.
        gap: the gap, if the row is one.
        in_parts: its changes are stored in chunks, because they are too large for one document.
    """

    event: Event
    lines: Sequence[FieldLine] = ()
    more: int = 0
    number: int = 0
    link: str | None = None
    gap: GapRow | None = None
    in_parts: bool = False

    @property
    def word(self) -> str:
        """The operation, in the word that `watcher log` uses."""
        return operation_of(self.event)

    @property
    def sign(self) -> str:
        """The operation as a symbol."""
        return SIGNS.get(self.event.operation, "•")

    @property
    def has_document(self) -> bool:
        """Whether the event is about a document, not a collection."""
        return self.event.document_id is not ABSENT

    @property
    def hexadecimal(self) -> str:
        """The event's id in hexadecimal."""
        return bytes(self.event.id).hex()

    @property
    def says(self) -> Markup | None:
        """The description of an event about a collection."""
        if self.has_document or self.event.description is ABSENT:
            return None
        return values.value(self.event.description, 200)


@dataclass(frozen=True, slots=True)
class GapRow:
    """An interval whose events are permanently lost."""

    since: datetime
    until: datetime
    length: str
    cause: str
    stream: str
    watched: str
    reconciled: bool


def gap_of(event: Event) -> GapRow:
    """The row of a gap."""
    found = gaps.view(event)
    but = "".join(f" but not {glob}" for glob in found.exclude)
    said: Any = event.description if isinstance(event.description, dict) else {}
    return GapRow(
        moment(found.since),
        moment(found.until),
        times.span(found.until.time - found.since.time),
        found.cause,
        found.stream,
        ", ".join(found.include) + but,
        bool(said.get("level")),
    )


def moment(timestamp: Timestamp) -> datetime:
    """The wall time of a cluster time, in UTC."""
    return datetime.fromtimestamp(timestamp.time, UTC)


def line(change: Change, event: Event, index: int | None = None, most: int = values.SHORT) -> FieldLine:
    """The line of one change.

    Args:
        index: the change's index in the event, for the address of a long value; None: long values have no link.
    """

    def whole(side: str) -> str | None:
        where = bytes(event.id).hex()
        return links.address("value", event=where, change=index, side=side) if index is not None else None

    path = path_of(change)
    named = where(path) if path else Markup("<i>the document</i>")
    old = values.value(change.old_value, most, whole("old")) if change.old_value is not ABSENT else None
    new = values.value(change.new_value, most, whole("new")) if change.new_value is not ABSENT else None
    if change.truncated_to is not None and change.new_value is UNKNOWN:
        new = Markup("cut to {} elements").format(change.truncated_to)
    mark = "add" if old is None else "del" if new is None else "chg"
    field_ = change.field if change.path is ABSENT and change.field and len(change.field) <= links.LONGEST_ID else None
    return FieldLine(mark, named, old, new, field_)


def where(path: Sequence[str | int], identities: Sequence[Any] = ()) -> Markup:
    """A path in readable form."""
    said = Markup("")
    for depth, key in enumerate(path):
        known = identities[depth] if depth < len(identities) else None
        if isinstance(key, int):
            said += (
                values.text(f"[{key}]") if known is None else Markup("[_id: {}]").format(values.raw_value(known, 30))
            )
        else:
            said += (values.text(".") if depth else Markup("")) + values.key(key, 80)
    return said


def event_lines(event: Event, most: int = MOST_LINES) -> list[FieldLine]:
    """The changes of an event as lines; an array recorded as a whole is shown by its changed elements."""
    lines: list[FieldLine] = []
    for index, change in enumerate(islice(event.changes, most)):
        inside = element_differences(change)
        if inside and len(inside) < MOST_LINES:
            lines += [difference_line(one) for one in inside]
        else:
            lines.append(line(change, event, index, values.LONG))
    return lines


_MARKS = {
    DifferenceKind.ADDED: "add",
    DifferenceKind.REMOVED: "del",
    DifferenceKind.CHANGED: "chg",
    DifferenceKind.MOVED: "mov",
    DifferenceKind.REORDERED: "mov",
}


def difference_line(one: Difference) -> FieldLine:
    """The line of a difference."""
    path = one.old_path if one.kind == DifferenceKind.REMOVED else one.path
    named = where(decoded(path), one.identities) if path else values.text("the document")
    if one.kind == DifferenceKind.MOVED:
        return FieldLine("mov", named, values.text(f"element {one.old_path[-1]!r}"), values.text(f"{one.path[-1]!r}"))
    if one.kind == DifferenceKind.REORDERED:
        return FieldLine("mov", named, None, values.text("keys in another order"))
    old, new = (
        None
        if side is ABSENT
        else values.value(side)
        if isinstance(side, Missing)
        else values.raw_value(side, values.LONG)
        for side in (one.old, one.new)
    )
    return FieldLine(_MARKS[one.kind], named, old, new)


def _lines_of(change: Change, event: Event) -> list[FieldLine]:
    """The lines of a change in a list; an array is shown by its first changed elements."""
    if not (isinstance(change.old_value, list) and isinstance(change.new_value, list)):
        return [line(change, event)]
    inside = element_differences(change)
    if not inside:
        return [line(change, event)]
    lines = [difference_line(one) for one in inside[:_MOST_INSIDE]]
    if len(inside) > _MOST_INSIDE:
        more = words(len(inside) - _MOST_INSIDE, "more change")
        lines[-1] = replace(lines[-1], note=f"and {more} in {printable(field_text(path_of(change)))[:80]}")
    return lines


def row(brief: Brief, *, few: int = FEW) -> EventRow:
    """The row of an event."""
    event = brief.event
    changes = event.changes[:few]
    lines = [each for change in changes for each in _lines_of(change, event)]
    link = links.document(event, brief.number) if event.document_id is not ABSENT else None
    if brief.in_parts:
        return EventRow(event, (), brief.count, brief.number, link, in_parts=True)
    return EventRow(event, lines, max(brief.count - len(changes), 0), brief.number, link)


def rows(
    request: PageRequest, namespace: str | None, found: Iterable[Brief], *, newest_first: bool = True, end: bool = True
) -> list[EventRow]:
    """The rows of events, with the gaps between them.

    Args:
        end: the events are the newest in history, so later gaps are included.
    """
    shown = [row(brief) for brief in found]
    if not shown:
        return shown
    inside = sorted((each.event.cluster_time for each in shown), key=ClusterTime.of)
    until = None if end else inside[-1]
    return among_gaps(request, namespace, shown, since=inside[0], until=until, newest_first=newest_first)


def among_gaps(
    request: PageRequest,
    namespace: str | None,
    shown: Sequence[EventRow],
    *,
    since: Timestamp,
    until: Timestamp | None = None,
    newest_first: bool = True,
) -> list[EventRow]:
    """Events and the gaps between two cluster times, in order; without `until`, with all later gaps."""
    lost = request.history.gaps(namespace, since=since, until=until)
    with_gaps = [*shown] + [EventRow(each, gap=gap_of(each)) for each in lost]
    # A gap begins after all events of its cluster time.
    order = {id(each): number for number, each in enumerate(shown)}
    with_gaps.sort(
        key=lambda each: (
            -ClusterTime.of(each.event.cluster_time) if newest_first else ClusterTime.of(each.event.cluster_time),
            order.get(id(each), -1 if newest_first else len(shown)),
        )
    )
    return with_gaps


@dataclass(frozen=True, slots=True)
class Who:
    """Who made a change, as far as history has it.

    Attributes:
        name: the name of the actor, or of the database user.
        how: how the actor is known (its provenance); may be empty.
        reason: the reason that the actor gave.
        request: the request in which the change was made.
        is_actor: whether it is an actor, who has a page, and not only a database user.
    """

    name: str
    how: str
    reason: str | None = None
    request: str | None = None
    is_actor: bool = True


def who(event: Event) -> Who | None:
    """Who made an event's change; None: unknown."""
    actor = event.actor
    if actor is None:
        return None
    identity, user = actor.id, actor.database_user
    if identity is None and user is None:
        return None
    name = values.plain(identity, 80) if identity is not None and not isinstance(identity, str) else identity or user
    return Who(
        str(name),
        actor.provenance or "",
        actor.reason,
        None if actor.request is None else str(actor.request),
        identity is not None,
    )


def field_text(path: Sequence[str | int]) -> str:
    """A path in MongoDB's dotted notation."""
    return dotted_text(tuple(path))
