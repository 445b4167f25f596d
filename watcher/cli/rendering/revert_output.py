"""The outcome of a revert on standard output: differences, conflicts, refusals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from change_history.bson import extended_json, raw
from change_history.bson.paths import dotted
from change_history.bson.values import ABSENT, Missing, to_python, to_raw
from change_history.diff.compare import compare
from change_history.query import transactions
from watcher.cli.rendering import diff_json, diff_text, output, revert_text, state_text, value_text
from watcher.cli.rendering.render import PipedConsole

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from change_history.diff.difference import Side
    from change_history.revert.merge import Conflict
    from change_history.revert.outcome import Revert, Reverted

_MARK = ("! ", "bold red")


def show(found: Revert, *, as_json: bool) -> None:
    """Print an outcome, document by document; those of which there is nothing to say only as JSON.

    Args:
        found: the outcome.
        as_json: one canonical Extended JSON document a line.
    """
    if as_json:
        output.speak_utf8()
        for document in found.documents:
            click.echo(extended_json.dumps_document(raw.from_fields(_members(found, document))))
        return
    output.survive_any_character()
    console = PipedConsole()
    for document in found.documents:
        if document.before == document.after and document.complete:
            continue
        _document(console, document, undo=found.to is None)


def _document(console: Console, document: Reverted, *, undo: bool) -> None:
    named = state_text.named(document.namespace, document.document_id)
    what = ": to be deleted" if document.after is None else ": to be inserted" if document.before is None else ""
    if document.before == document.after:
        what = ""
    _print(console, Text(named + what, "bold"))
    diff_text.show(console, document.differences)
    if document.refused is not None:
        _print(console, Text.assemble(_MARK, f"refused: {document.refused}"))
    for conflict in document.raw_conflicts:
        _conflict(console, conflict, "stays", undo=undo)
    for conflict in document.raw_overwritten:
        _conflict(console, conflict, "is overwritten", undo=undo)


def _conflict(console: Console, conflict: Conflict, fate: str, *, undo: bool) -> None:
    path, expected, actual, target = conflict
    if path:
        name = diff_text.where(path, (None,) * len(path))
        whose = "the transaction made it {}, from {}" if undo else "history says {}, and it was {}"
        said = whose.format(_text(expected), _text(target))
        _print(console, Text.assemble(_MARK, f"{name}: {_text(actual)} {fate}; {said}"))
        return
    words = (_CHANGED_LATER if undo else _NOT_AS_RECORDED)[actual is not ABSENT, expected is not ABSENT]
    _print(console, Text.assemble(_MARK, f"{words}; it {fate}"))
    if isinstance(expected, tuple) and isinstance(actual, tuple):
        for line in diff_text.lines(compare(expected[1], actual[1])):
            _print(console, Text("    ").append(line))


# By whether it is there, and whether it was expected to be.
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


def _print(console: Console, line: Text) -> None:
    console.print(line, soft_wrap=True, highlight=False)


def _members(found: Revert, document: Reverted) -> Iterator[tuple[bytes, raw.Value]]:
    yield b"namespace", to_raw(document.namespace)
    yield b"document_id", document.raw_id
    yield b"applied", to_raw(found.applied and document.writes)
    if found.transaction is not None:
        yield b"transaction", to_raw(transactions.name_of(found.transaction))
    if document.refused is not None:
        yield b"refused", to_raw(document.refused)
    yield b"differences", _array(diff_json.document(difference) for difference in document.differences)
    yield b"conflicts", _array(map(_conflict_document, document.raw_conflicts))
    if document.raw_overwritten:
        yield b"overwritten", _array(map(_conflict_document, document.raw_overwritten))
    for name, later in ((b"undone", revert_text.undone(found)), (b"left_alone", revert_text.left_alone(found))):
        if later is not None:
            yield name, (raw.DOCUMENT, revert_text.later_document(later))
    if found.seen is not None:
        yield b"seen", to_raw(found.seen)


def _conflict_document(conflict: Conflict) -> bytes:
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
