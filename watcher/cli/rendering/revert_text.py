"""What is said about reverts: beside their outcome, at their events in a log, and about later events they undo."""

from __future__ import annotations

import shlex
import shutil
import sys
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from bson import Int64, Timestamp

from change_history.bson.values import ABSENT, to_raw
from change_history.query import transactions
from change_history.stored.names import ABANDONED, DONE
from watcher.cli.parsing import moments
from watcher.cli.rendering import not_found, oneline, state_text
from watcher.cli.rendering.value_text import printable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import tzinfo

    from change_history.query.transactions import Name
    from change_history.reconstruct.point_in_time import PointInTime
    from change_history.revert.intents import RecordedRevert, Unsettled
    from change_history.revert.later import Later
    from change_history.revert.outcome import Revert


_IDLE_S = 10
"""An idle daemon saves its position so often, in seconds; it is not behind then."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be put back: one of `to`, `undelete`, `transaction`. The names are those of the command's options."""

    namespace: str
    document_id: Any
    to: PointInTime | None
    fields: tuple[str, ...]
    transaction: Name | None
    partial: bool
    seen: PointInTime | None
    force: bool
    yes: bool
    undelete: bool


def of_event(revert: RecordedRevert, zone: tzinfo | None) -> str:
    """What a revert did, in few words: `revert to version 3, field email`."""
    if revert.undone is not ABSENT:
        said = f"revert of transaction {transactions.name_of(_transaction(revert.undone))}"
    else:
        said = f"revert to {moment(revert.to, zone)}"
    if revert.fields:
        said += f", {'field' if len(revert.fields) == 1 else 'fields'} {', '.join(map(printable, revert.fields))}"
    return said + (", forced" if revert.forced else "")


def moment(at: Any, zone: tzinfo | None) -> str:
    """A moment that was asked for."""
    if isinstance(at, datetime):
        return moments.wall(at, zone)
    return moments.exact(at) if isinstance(at, Timestamp) else f"version {int(at)}"


def remarks(found: Revert, zone: tzinfo | None) -> Iterator[str]:
    """What has to be known about an outcome."""
    seen: set[bytes] = set()
    for document in found.documents:
        new = [gap for gap in document.gaps if bytes(gap.id) not in seen]
        seen.update(bytes(gap.id) for gap in new)
        yield from state_text.across(new, zone)
    if any(document.refused is not None and document.gaps for document in found.documents):
        yield "With --force it is put back even so."
    if any(document.raw_conflicts for document in found.documents):
        yield "What is marked ! is only overwritten with --force."
    yield from _later_lines(found, zone)
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
            f"History is {moments.span(lag.seconds or 0)} behind: what was written after "
            f"{moments.clock(lag.recorded, zone)} is not in it yet, and makes conflicts."
        )
    else:
        yield "What was written in the last seconds may not be recorded yet; if that makes the conflict, try again."


def done(found: Revert) -> str:
    """That it was done, and how to see it."""
    name = transactions.name_of(found.transaction) if found.transaction is not None else ""
    rest = "" if found.complete else " What is listed as not put back is as it was."
    return f"Done.{rest} Once it is recorded: watcher log --transaction {name}"


def nothing(found: Revert, wish: Wish, zone: tzinfo | None) -> str:
    """That there is nothing to put back, and why."""
    if found.to is None:
        why = "what the transaction changed is what it was before" if found.documents else "it wrote to no document"
    elif wish.undelete:
        why = "the document is there"
    elif all(document.after is None for document in found.documents):
        subject = state_text.command(wish.namespace, not_found.argument(wish.document_id))
        why = f"the document was not there at {moment(found.to, zone)}, and is not there now"
        return f"There is nothing to put back: {why}. If it was deleted: watcher revert {subject} --undelete"
    else:
        what = "the document" if not wish.fields else "what was asked for"
        why = f"{what} is what it was at {moment(found.to, zone)}"
    return f"There is nothing to put back: {why}."


def command(wish: Wish, found: Revert) -> str:
    """What to type to do just what was shown."""
    if wish.transaction is not None:
        name = wish.transaction
        number = f":{name.number}" if isinstance(name, transactions.SessionName) else ""
        words = ["--transaction", f"{name.digits}{number}"]
        words += ["--partial"] if wish.partial else []
    else:
        words = [shlex.quote(wish.namespace), not_found.argument(wish.document_id)]
        words += ["--undelete"] if wish.undelete else ["--to", typed(found.to)]
        for field in wish.fields:
            words += ["--field", shlex.quote(field)]
        seen = wish.seen if wish.seen is not None else found.seen
        words += ["--seen", typed(seen)] if seen is not None else []
    return " ".join(["watcher revert", *words, *(["--force"] if wish.force else []), "--yes"])


def typed(at: PointInTime | None) -> str:
    """A moment as it can be typed again and means the same."""
    if isinstance(at, datetime):
        return at.isoformat()
    return moments.exact(at) if isinstance(at, Timestamp) else str(at)


def unsettled(found: Unsettled, zone: tzinfo | None) -> str:
    """What became of a revert whose process ended too early."""
    revert = found.revert
    of = revert.documents[0]
    more = f" and {revert.count - 1} more" if revert.count > 1 else ""
    what = f"The {of_event(revert, zone)} of {state_text.named(of['namespace'], of['document_id'])}{more}"
    begun = f"begun {moments.wall(revert.begun_at, zone)}"
    if found.state == DONE:
        return f"{what}, {begun}, was done, although it was cut off before it could say so."
    if found.state == ABANDONED:
        return f"{what}, {begun}, was cut off before it was committed: nothing of it was done."
    return f"{what}, {begun}, is not confirmed: it is at work, or was cut off; history does not reach so far yet."


def _transaction(undone: Any) -> transactions.Transaction:
    return transactions.Transaction(undone["session"], int(undone["number"]))


_INDENT = "  "
_MOST_FIELDS = 100


def undone(found: Revert) -> Later | None:
    """The later events that are undone, by what is written or would be; None: none is."""
    writes = any(document.writes for document in found.documents)
    return found.undone if writes and found.undone is not None and found.undone.count else None


def left_alone(found: Revert) -> Later | None:
    """The events after `--seen` that are in the way; None: none is."""
    conflicts = any(document.raw_conflicts for document in found.documents)
    return found.unseen if conflicts and found.unseen is not None and found.unseen.count else None


def _later_lines(found: Revert, zone: tzinfo | None) -> Iterator[str]:
    """What is undone by an outcome and what is left alone, briefly: id, time, operation, fields of each event."""
    if (later := undone(found)) is not None:
        tense = "were" if found.applied else "will be"
        but = ", but for what is marked !" if any(document.raw_conflicts for document in found.documents) else ""
        yield f"Later recorded events that {tense} undone{but}:"
        yield from _events(later, zone)
    if (later := left_alone(found)) is not None:
        since = f" after {moments.exact(found.seen)}" if found.seen is not None else ""
        yield f"Recorded{since}, and so left alone:"
        yield from _events(later, zone)


def later_document(later: Later) -> bytes:
    """The same as BSON: how many events there are, and the newest of them, oldest first."""
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
        said = oneline.line(event, event.changes, zone=zone, width=width, with_ids=False, with_namespaces=False)
        yield f"{_INDENT}{said.plain}"
