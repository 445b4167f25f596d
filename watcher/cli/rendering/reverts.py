"""Reverts as text: their outcome, the remarks about it, and their description in a log."""

from __future__ import annotations

import shlex
import shutil
import sys
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click
from bson import Int64, Timestamp

from change_history.bson import extended_json, raw
from change_history.bson.paths import dotted
from change_history.bson.values import ABSENT, Missing, to_python, to_raw
from change_history.diff.compare import compare
from change_history.query import transactions
from change_history.stored.event import Transaction
from change_history.stored.names import ABANDONED, DONE
from watcher.cli import session
from watcher.cli.rendering import actors, diffs, events, states
from watcher.cli.rendering.lines import Line, standard_output
from watcher.words import meanings, times, value_text
from watcher.words.value_text import printable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import tzinfo

    from change_history.diff.compare import Side
    from change_history.query.transactions import Name
    from change_history.reconstruct.point_in_time import PointInTime
    from change_history.revert.intents import RecordedRevert, Unsettled
    from change_history.revert.merge import MergeConflict
    from change_history.revert.outcome import Later, Revert, Reverted
    from watcher.cli.rendering.lines import Output


_IDLE_S = 10
"""Seconds; an idle daemon saves its position at this interval, so a smaller lag does not mean that it is behind."""


@dataclass(frozen=True, slots=True)
class RevertOptions:
    """What to revert: one of `to`, `undelete`, `transaction`. The names are those of the command's options."""

    namespace: str
    document_id: Any
    to: PointInTime | None
    fields: tuple[str, ...]
    transaction: Name | None
    partial: bool
    seen: PointInTime | None
    force: bool
    keep_withheld: bool
    yes: bool
    undelete: bool
    actor: Any = None
    reason: str | None = None


def of_event(revert: RecordedRevert, zone: tzinfo | None, *, brought_back: bool = False) -> str:
    """A revert in short: `revert to version 3, field email`."""
    if revert.undone is not ABSENT:
        said = f"revert of transaction {transactions.name_of(_transaction(revert.undone))}"
    else:
        said = f"revert to {goal(revert.to, zone)}"
    if revert.fields:
        said += f", {'field' if len(revert.fields) == 1 else 'fields'} {', '.join(map(printable, revert.fields))}"
    return said + (", brought back" if brought_back else "") + (", forced" if revert.forced else "")


def by(revert: RecordedRevert) -> str:
    """The actor that the revert recorded, as the end of a sentence; empty: none."""
    return f", by {actors.named(revert.by['actor'])}" if revert.by is not ABSENT else ""


def goal(at: Any, zone: tzinfo | None) -> str:
    """The requested point in time, in short."""
    if isinstance(at, datetime):
        return times.wall(at, zone)
    return times.exact(at) if isinstance(at, Timestamp) else f"version {int(at)}"


def remarks(found: Revert, zone: tzinfo | None) -> Iterator[str]:
    """The remarks about an outcome."""
    seen: set[bytes] = set()
    for document in found.documents:
        new = [gap for gap in document.gaps if bytes(gap.id) not in seen]
        seen.update(bytes(gap.id) for gap in new)
        yield from states.across(new, zone)
    if any(document.refused is not None and document.gaps for document in found.documents):
        yield "With --force it is put back even so."
    if any(document.raw_conflicts for document in found.documents):
        yield "What is marked ! is only overwritten with --force."
    yield from _later_lines(found, zone)
    if found.unsaid is not None:
        yield f"It is done, and not recorded by whom: {found.unsaid}."
    lag = found.lag
    if lag is None:
        return
    if lag.recorded is None:
        yield "No daemon is recording it: what was written since it did is not in the history."
    elif found.unseen is not None:
        if not found.unseen.count:
            yield "What is in the way is not recorded."
    elif (lag.seconds or 0) > _IDLE_S:
        yield (
            f"History is {times.span(lag.seconds or 0)} behind: what was written after "
            f"{times.clock(lag.recorded, zone)} is not in it yet, and makes conflicts."
        )
    else:
        yield "What was written in the last seconds may not be recorded yet; if that makes the conflict, try again."


def done_text(found: Revert) -> str:
    """The message that the revert was done, and how to see it."""
    name = transactions.name_of(found.transaction) if found.transaction is not None else ""
    rest = "" if found.complete else " What is listed as not put back is as it was."
    return f"Done.{rest} Once it is recorded: watcher log --transaction {name}"


def nothing_text(found: Revert, wish: RevertOptions, zone: tzinfo | None) -> str:
    """The message that there is nothing to revert, and why."""
    if found.to is None:
        why = "what the transaction changed is what it was before" if found.documents else "it wrote to no document"
    elif wish.undelete:
        why = "the document is there"
    elif all(document.after is None for document in found.documents):
        subject = states.command(wish.namespace, meanings.argument(wish.document_id))
        why = f"the document was not there at {goal(found.to, zone)}, and is not there now"
        return f"There is nothing to put back: {why}. If it was deleted: watcher revert {subject} --undelete"
    else:
        what = "the document" if not wish.fields else "what was asked for"
        why = f"{what} is what it was at {goal(found.to, zone)}"
    return f"There is nothing to put back: {why}."


def command(wish: RevertOptions, found: Revert) -> str:
    """The command that does exactly what was shown."""
    if wish.transaction is not None:
        name = wish.transaction
        number = f":{name.number}" if isinstance(name, transactions.SessionName) else ""
        words = ["--transaction", f"{name.digits}{number}"]
        words += ["--partial"] if wish.partial else []
    else:
        words = [shlex.quote(wish.namespace), meanings.argument(wish.document_id)]
        words += ["--undelete"] if wish.undelete else ["--to", times.typed_exactly(found.to)]
        for field in wish.fields:
            words += ["--field", shlex.quote(field)]
        seen = wish.seen if wish.seen is not None else found.seen
        words += ["--seen", times.typed_exactly(seen)] if seen is not None else []
    words += ["--actor", meanings.argument(wish.actor)] if wish.actor is not None else []
    words += ["--reason", shlex.quote(wish.reason)] if wish.reason is not None else []
    return " ".join(["watcher revert", *words, *_options(wish), "--yes"])


def _options(wish: RevertOptions) -> list[str]:
    return [*(["--force"] if wish.force else []), *(["--keep-withheld"] if wish.keep_withheld else [])]


def unsettled(found: Unsettled, zone: tzinfo | None) -> str:
    """The message about a revert whose process was cut off."""
    revert = found.revert
    of = revert.documents[0]
    more = f" and {revert.count - 1} more" if revert.count > 1 else ""
    what = f"The {of_event(revert, zone)}{by(revert)} of {states.named(of['namespace'], of['document_id'])}{more}"
    begun = f"begun {times.wall(revert.begun_at, zone)}"
    if found.state == DONE:
        return f"{what}, {begun}, was done, although it was cut off before it could say so."
    if found.state == ABANDONED:
        return f"{what}, {begun}, was cut off before it was committed: nothing of it was done."
    return f"{what}, {begun}, is not confirmed: it is at work, or was cut off; history does not reach so far yet."


def _transaction(undone: Any) -> Transaction:
    return Transaction(undone["session"], int(undone["number"]))


_INDENT = "  "
_MOST_FIELDS = 100


def undone(found: Revert) -> Later | None:
    """The later events that the revert undoes, or would undo; None: there are none."""
    writes = any(document.writes for document in found.documents)
    return found.undone if writes and found.undone is not None and found.undone.count else None


def left_alone(found: Revert) -> Later | None:
    """The conflicting events after `--seen`; None: there are none."""
    conflicts = any(document.raw_conflicts for document in found.documents)
    return found.unseen if conflicts and found.unseen is not None and found.unseen.count else None


def _later_lines(found: Revert, zone: tzinfo | None) -> Iterator[str]:
    """The events that are undone and those that are left alone: id, time, operation and fields of each."""
    if (later := undone(found)) is not None:
        tense = "were" if found.applied else "will be"
        but = ", but for what is marked !" if any(document.raw_conflicts for document in found.documents) else ""
        yield f"Later recorded events that {tense} undone{but}:"
        yield from _events(later, zone)
    if (later := left_alone(found)) is not None:
        since = f" after {times.exact(found.seen)}" if found.seen is not None else ""
        yield f"Recorded{since}, and so left alone:"
        yield from _events(later, zone)


def later_document(later: Later) -> bytes:
    """Later events as BSON: their number, and the newest of them, oldest first."""
    events = [
        {
            "_id": event.id,
            "timestamp": event.timestamp,
            "operation": event.operation,
            "fields": list(dict.fromkeys(change.field for change in event.changes))[:_MOST_FIELDS],
        }
        for event in later.events
    ]
    return to_raw({"count": Int64(later.count), "events": events})[1]


def _events(later: Later, zone: tzinfo | None) -> Iterator[str]:
    width = shutil.get_terminal_size().columns - len(_INDENT) if sys.stderr.isatty() else None
    if later.count > len(later.events):
        yield f"{_INDENT}{later.count - len(later.events)} earlier ones, and"
    for event in later.events:
        said = events.one_line(event, event.changes, zone=zone, width=width, with_ids=False, with_namespaces=False)
        yield f"{_INDENT}{said.plain}"


_MARK = ("! ", "bold red")


def show(found: Revert, *, as_json: bool) -> None:
    """Print an outcome, document by document; unaffected documents only as JSON."""
    if as_json:
        session.speak_utf8()
        for document in found.documents:
            click.echo(extended_json.dumps_document(raw.from_fields(_members(found, document))))
        return
    session.survive_any_character()
    output = standard_output()
    for document in found.documents:
        if document.before == document.after and document.complete:
            continue
        _document(output, document, undo=found.to is None)


def _document(output: Output, document: Reverted, *, undo: bool) -> None:
    named = states.named(document.namespace, document.document_id)
    what = ": to be deleted" if document.after is None else ": to be inserted" if document.before is None else ""
    if document.before == document.after:
        what = ""
    output.print(Line(named + what, "bold"))
    diffs.show(output, document.differences)
    if document.refused is not None:
        output.print(Line(*_MARK).append(f"refused: {document.refused}"))
    elif document.withheld:
        names = ", ".join(printable(dotted(path).decode("utf-8", "replace")) for path in document.withheld)
        output.print(Line(*_MARK).append(f"history withholds it, so it stays as it is: {names}"))
    for conflict in document.raw_conflicts:
        _conflict(output, conflict, "stays", undo=undo)
    for conflict in document.raw_overwritten:
        _conflict(output, conflict, "is overwritten", undo=undo)


def _conflict(output: Output, conflict: MergeConflict, fate: str, *, undo: bool) -> None:
    path, expected, actual, target = conflict
    if path:
        name = diffs.where(path, (None,) * len(path))
        whose = "the transaction made it {}, from {}" if undo else "history says {}, and it was {}"
        said = whose.format(_text(expected), _text(target))
        output.print(Line(*_MARK).append(f"{name}: {_text(actual)} {fate}; {said}"))
        return
    words = (_CHANGED_LATER if undo else _NOT_AS_RECORDED)[actual is not ABSENT, expected is not ABSENT]
    output.print(Line(*_MARK).append(f"{words}; it {fate}"))
    if isinstance(expected, tuple) and isinstance(actual, tuple):
        for line in diffs.lines(compare(expected[1], actual[1])):
            output.print(Line("    ").append_line(line))


# By whether it exists, and whether it was expected to.
_CHANGED_LATER = {
    (True, True): "the document was changed later",
    (True, False): "there is a document again",
    (False, True): "the document was deleted later",
}
_NOT_AS_RECORDED = {
    (True, True): "the document is not what history says",
    (True, False): "there is a document, although history says there is none",
    (False, True): "the document is gone, although history says it is there",
}


def _text(side: Side) -> str:
    return value_text.text_of(side if isinstance(side, Missing) else to_python(side))


def _members(found: Revert, document: Reverted) -> Iterator[tuple[bytes, raw.Value]]:
    yield b"namespace", to_raw(document.namespace)
    yield b"document_id", document.raw_id
    yield b"applied", to_raw(found.applied and document.writes)
    if found.transaction is not None:
        yield b"transaction", to_raw(transactions.name_of(found.transaction))
    if document.refused is not None:
        yield b"refused", to_raw(document.refused)
    if document.withheld:
        yield b"withheld", to_raw([dotted(path).decode("utf-8", "surrogateescape") for path in document.withheld])
    yield b"differences", _array(diffs.json_document(difference) for difference in document.differences)
    yield b"conflicts", _array(map(_conflict_document, document.raw_conflicts))
    if document.raw_overwritten:
        yield b"overwritten", _array(map(_conflict_document, document.raw_overwritten))
    for name, later in ((b"undone", undone(found)), (b"left_alone", left_alone(found))):
        if later is not None:
            yield name, (raw.DOCUMENT, later_document(later))
    if found.seen is not None:
        yield b"seen", to_raw(found.seen)


def _conflict_document(conflict: MergeConflict) -> bytes:
    members: list[tuple[bytes, Any]] = [
        (b"field", (raw.STRING, raw.string(dotted(conflict.path)))),
        (
            b"path",
            (
                raw.ARRAY,
                raw.from_items((raw.STRING, raw.string(key)) for key in conflict.path if isinstance(key, bytes)),
            ),
        ),
    ]
    sides = ((b"expected", conflict.expected), (b"actual", conflict.actual), (b"target", conflict.target))
    members += [(name, side) for name, side in sides if not isinstance(side, Missing)]
    return raw.from_fields(members)


def _array(documents: Any) -> raw.Value:
    return raw.ARRAY, raw.from_items((raw.DOCUMENT, document) for document in documents)
