"""What the commands that tell what documents were have in common: errors in words, and what is said beside."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from change_history.reconstruct.filters import FilterError
from change_history.reconstruct.point_in_time import NoSuchVersionError
from change_history.reconstruct.state import UnknownStateError
from watcher.cli import exit_codes
from watcher.cli.connection import CommandError, open_history
from watcher.cli.rendering import state_text
from watcher.cli.rendering.output import until_closed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import tzinfo

    from change_history import History, State
    from change_history.reconstruct.point_in_time import PointInTime
    from change_history.stored.event import Event
    from config.settings import Settings


@contextmanager
def asked(settings: Settings) -> Iterator[History]:
    """Open the history to ask what documents were; what cannot be answered ends the command, and says why.

    Raises:
        CommandError: there is no answer.
        click.UsageError: the server refuses a filter.
    """
    try:
        with until_closed(), open_history(settings) as history:
            yield history
    except UnknownStateError as error:
        raise CommandError(f"{error}.", exit_codes.UNKNOWN) from error
    except FilterError as error:
        raise click.UsageError(f"--query: {error}") from error


def state(history: History, namespace: str, document_id: Any, at: PointInTime | None, zone: tzinfo | None) -> State:
    """What a document was, if history can tell.

    Raises:
        CommandError: it cannot, or the document has no such version.
    """
    try:
        found = history.state(namespace, document_id, at)
    except NoSuchVersionError as error:
        said = state_text.no_such_version(history, namespace, document_id, error, zone)
        raise CommandError(said, exit_codes.NOT_FOUND) from error
    if found.unknown is not None:
        raise CommandError(state_text.unknown(found, at, zone), exit_codes.UNKNOWN)
    return found


def say(line: str) -> None:
    """Say something beside the answer."""
    click.echo(line, err=True)


def say_gaps(gaps: Iterable[Event], zone: tzinfo | None) -> None:
    """Say which gaps an answer reaches across, each once."""
    for line in state_text.across(list({bytes(gap.id): gap for gap in gaps}.values()), zone):
        say(line)
