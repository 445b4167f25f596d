"""`watcher diff` at work: compares states of a document, or of a collection, and prints what is different."""

from __future__ import annotations

import sys
from collections import Counter
from enum import Enum, auto
from math import inf
from typing import TYPE_CHECKING, Any

import click

from change_history.bson.extended_json import dumps_raw
from change_history.bson.redacted import MAGIC
from change_history.diff import json_patch
from change_history.diff.compare import compare
from watcher.cli import exit_codes, session
from watcher.cli.rendering import actors, diffs, states
from watcher.cli.rendering.lines import Line, standard_output
from watcher.cli.session import CommandError, say
from watcher.words import times, value_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import tzinfo

    from change_history.diff.collections import Changed
    from change_history.reader import Reader
    from change_history.reconstruct.point_in_time import PointInTime


_INDENT = "    "
_STYLES = {"added": "bold green", "removed": "bold red", "changed": "bold yellow"}


class OutputFormat(Enum):
    """How differences are printed."""

    TEXT = auto()
    JSON = auto()
    PATCH = auto()


def of_document(
    history: Reader,
    namespace: str,
    document_id: Any,
    at: tuple[PointInTime | None, PointInTime | None],
    output: OutputFormat,
    zone: tzinfo | None,
) -> None:
    """Print what is different between two points in time of a document."""
    found = [states.state(history, namespace, document_id, point, zone) for point in at]
    one, other = found
    if one.data is None and other.data is None:
        later, then = max(zip(found, at, strict=True), key=lambda pair: (pair[0].position, _seconds(pair[1])))
        raise CommandError(states.why_absent(history, later, then, zone), exit_codes.NOT_FOUND)
    for name, state in zip("AB", found, strict=True):
        say(f"{name}: {states.version_text(state, zone) if state.data is not None else 'not there'}")
    authors = history.authors_between(one, other)
    if authors is not None and authors.actors:
        say(f"between them: {actors.shares(authors)}")
    states.say_gaps([*one.gaps, *other.gaps], zone)
    _prepare(output)
    if output is OutputFormat.PATCH:
        click.echo(json_patch.dumps(json_patch.between(one.data, other.data)))
        return
    differences = compare(one.data, other.data)
    if output is OutputFormat.JSON:
        for difference in differences:
            click.echo(diffs.json_line(difference))
    elif differences:
        diffs.show(standard_output(), differences)
    elif any(MAGIC in (state.data or b"") for state in found):
        say("no difference that can be seen: withheld values may have changed. `watcher log` names each change")
    else:
        say("no difference")


def of_collection(
    history: Reader, namespace: str, at: tuple[Any, Any], output: OutputFormat, zone: tzinfo | None
) -> None:
    """Print what is different between two points in time of a collection.

    Raises:
        SystemExit: history cannot tell all documents.
    """
    before, after = (history.collection(namespace, point) for point in at)
    later = max(before, after, key=lambda collection: collection.position)
    _prepare(output)
    show, counts = _PRINTERS[output](), Counter[str]()
    for changed in history.collection_diff(namespace, *at):
        kind = _kind(changed)
        counts[kind] += 1
        if changed.unknown is None:
            show(changed, kind)
        else:
            named = states.named(namespace, changed.document_id)
            say(f"{named} is left out, history cannot tell it: {changed.unknown}.")
    states.say_gaps(later.gaps, zone)
    if not counts and next(later.documents(), None) is None and next(before.documents(), None) is None:
        raise CommandError(states.why_empty(history, later, zone), exit_codes.NOT_FOUND)
    told = [f"{counts[kind]} {kind}" for kind in (*_STYLES, "not known") if counts[kind]]
    say(", ".join(told) or "no difference")
    if counts["not known"]:
        raise SystemExit(exit_codes.UNKNOWN)


def _seconds(at: PointInTime | None) -> float:
    """Tells which of two points in time is the later one where nothing is recorded between them."""
    return inf if at is None or isinstance(at, int) else times.seconds(at)


def _kind(changed: Changed) -> str:
    if changed.unknown is not None:
        return "not known"
    if changed.before is None:
        return "added"
    return "removed" if changed.after is None else "changed"


def _prepare(output: OutputFormat) -> None:
    if output is OutputFormat.TEXT:
        session.survive_any_character()
    else:
        session.speak_utf8()


def _text_printer() -> Callable[[Changed, str], None]:
    output = standard_output()
    width = output.width - len(_INDENT) if output.width is not None else None

    def show(changed: Changed, kind: str) -> None:
        name = value_text.text_of(changed.document_id, width and width - len(kind) - 1)
        output.print(Line(kind, _STYLES[kind]).append(" ").append(name, "bold"))
        for line in diffs.lines(compare(changed.before, changed.after), width=width):
            output.print(Line(_INDENT).append_line(line))

    return show


def _json_printer() -> Callable[[Changed, str], None]:
    def show(changed: Changed, _: str) -> None:
        for difference in compare(changed.before, changed.after):
            sys.stdout.write(f"{diffs.json_line(difference, changed.raw_id)}\n")

    return show


def _patch_printer() -> Callable[[Changed, str], None]:
    def show(changed: Changed, _: str) -> None:
        operations = json_patch.dumps(json_patch.between(changed.before, changed.after))
        sys.stdout.write(f'{{"document_id": {dumps_raw(changed.raw_id)}, "patch": {operations}}}\n')

    return show


_PRINTERS = {OutputFormat.TEXT: _text_printer, OutputFormat.JSON: _json_printer, OutputFormat.PATCH: _patch_printer}
