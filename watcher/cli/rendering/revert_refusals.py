"""Why nothing is put back, in words, with what to type next."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from change_history import Selection
from change_history.query.transactions import AmbiguousTransactionError, UnknownTransactionError
from change_history.reconstruct.point_in_time import NoSuchVersionError
from change_history.reconstruct.state import UnknownStateError
from change_history.revert.errors import (
    CollectionEndedError,
    ContendedError,
    NoSuchFieldError,
    NotAllowedError,
    NotAllRecordedError,
    NothingRecordedError,
    UnsureError,
)
from change_history.revert.merge import InsideArrayError
from watcher.cli import exit_codes
from watcher.cli.connection import CommandError
from watcher.cli.parsing import field_words, moments
from watcher.cli.rendering import not_found, state_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import tzinfo

    from change_history import History
    from change_history.revert.outcome import Revert
    from change_history.stored.event import Event
    from watcher.cli.rendering.revert_text import Wish

_EXIT_CODES: dict[type[Exception], int] = {
    UnknownTransactionError: exit_codes.NOT_FOUND,
    AmbiguousTransactionError: exit_codes.USAGE,
    UnknownStateError: exit_codes.UNKNOWN,
    NotAllowedError: exit_codes.UNEXPECTED,
}
"""Of errors whose own words say it all."""


@contextmanager
def in_words() -> Iterator[None]:
    """Turn what can be in the way of any revert into advice.

    Raises:
        CommandError: instead.
    """
    try:
        yield
    except NotAllRecordedError as error:
        raise CommandError(
            f"{error}; nothing was changed.\nIs its daemon running (`watcher partition` says)? Then try again, or undo "
            "what is recorded: --partial.",
            exit_codes.UNKNOWN,
        ) from error
    except ContendedError as error:
        raise CommandError(
            "others write to it all the time; nothing was changed. Try again.", exit_codes.BUSY
        ) from error
    except UnsureError as error:
        raise CommandError(
            "the deployment went away while it was being done. `watcher log` will show whether it was.",
            exit_codes.UNREACHABLE,
        ) from error
    except tuple(_EXIT_CODES) as error:
        raise CommandError(f"{error}.", _EXIT_CODES[type(error)]) from error


@contextmanager
def of_document(history: History, wish: Wish, zone: tzinfo | None) -> Iterator[None]:
    """Turn what can be in the way of putting back one document into advice.

    Raises:
        CommandError: instead.
        click.UsageError: a field is within an array.
    """
    try:
        yield
    except InsideArrayError as error:
        raise click.UsageError(f"--field: {error}; name the array.") from error
    except NoSuchFieldError as error:
        hints = [hint for field in wish.fields if (hint := field_words.of_element(field))]
        raise CommandError("\n".join([f"{error}.", *hints]), exit_codes.NOT_FOUND) from error
    except NothingRecordedError as error:
        said = not_found.message(history, Selection(wish.namespace, wish.document_id), zone)
        raise CommandError(said, exit_codes.NOT_FOUND) from error
    except NoSuchVersionError as error:
        said = state_text.no_such_version(history, wish.namespace, wish.document_id, error, zone)
        raise CommandError(said, exit_codes.NOT_FOUND) from error
    except CollectionEndedError as error:
        raise CommandError(_with_its_collection(wish, error.event, zone), exit_codes.NOT_FOUND) from error


def refuse_to_delete(found: Revert, wish: Wish, command: str) -> None:
    """Refuse to delete by a number that means another version after each recorded event.

    Args:
        found: what a dry run found.
        wish: what is to be done.
        command: what to type to do it even so.

    Raises:
        CommandError: it would be deleted.
    """
    if not any(document.writes and document.after is None for document in found.documents):
        return
    subject = state_text.command(wish.namespace, not_found.argument(wish.document_id))
    raise CommandError(
        f"--to {wish.to} is version {found.to} by now, at which the document was not there: it would be deleted. "
        "Numbers below zero are counted from the newest version, and every revert adds one.\n"
        f"To delete it: {command}\n"
        f"To bring back a deleted document, however often it is typed: watcher revert {subject} --undelete --yes",
        exit_codes.USAGE,
    )


def _with_its_collection(wish: Wish, event: Event, zone: tzinfo | None) -> str:
    of = state_text.named(wish.namespace, wish.document_id)
    before = state_text.just_before(event.cluster_time)
    subject = state_text.command(wish.namespace, not_found.argument(wish.document_id))
    return (
        f"{of} was not deleted: it went with its collection, {state_text.of_event(event, zone)}.\n"
        f"To bring it back as it was then: watcher revert {subject} --to {moments.exact(before)}"
    )
