"""`watcher revert`: connects to both deployments, puts back, and says what became of it, or why nothing is put back."""

from __future__ import annotations

import getpass
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from change_history import Selection
from change_history.bson.values import ABSENT
from change_history.contexts import Acting
from change_history.query.transactions import AmbiguousTransactionError, UnknownTransactionError
from change_history.reader import Reader
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
from watcher.cli.parsing import arguments
from watcher.cli.rendering import not_found, reverts, states
from watcher.cli.session import CommandError, history_uri, open_client, say, until_closed
from watcher.embedded.server import find_running
from watcher.words import meanings, times

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import tzinfo

    from change_history.revert.outcome import Revert
    from change_history.stored.event import Event
    from config.settings import Settings
    from watcher.cli.rendering.reverts import RevertOptions


def run(settings: Settings, wish: RevertOptions, *, as_json: bool, zone: tzinfo | None) -> None:
    """Put back, or show what that would do.

    Raises:
        SystemExit: not all of it was put back.
    """
    with ExitStack() as stack:
        stack.enter_context(in_words())
        watched = stack.enter_context(open_client(_watched_uri(settings)))
        watched.admin.command("ping")  # before there is another deployment that an error could be of
        history_client = stack.enter_context(open_client(history_uri(settings.connection)))
        history = Reader(
            history_client,
            settings.history_database,
            watched=watched,
            context_collection=settings.context_collection,
        )
        if (who := _user(wish.reason)) is not None:
            history.revert_as(who)
        _tell_unsettled(history, zone, settle=wish.yes)
        found = _outcome(history, wish, zone)
        with until_closed():
            reverts.show(found, as_json=as_json)
            _say(found, wish, zone)
    if wish.yes and not found.complete:
        raise SystemExit(exit_codes.REMAINING)


def _watched_uri(settings: Settings) -> str:
    if settings.mongodb_uri is not None:
        return settings.mongodb_uri.get_secret_value()
    running = find_running(settings.embedded_dir)
    if running is None:
        raise CommandError(
            "no deployment whose documents could be put back: WATCHER_MONGODB_URI is not set, and no embedded server "
            f"runs in {settings.embedded_dir}.",
            exit_codes.UNREACHABLE,
        )
    return running


def _outcome(history: Reader, wish: RevertOptions, zone: tzinfo | None) -> Revert:
    dry_run = not wish.yes
    if wish.transaction is not None:
        transaction = history.transaction(wish.transaction)
        return history.revert_transaction(transaction, partial=wish.partial, dry_run=dry_run, **_manner(wish))
    with of_document(history, wish, zone):
        if wish.undelete:
            return history.undelete(wish.namespace, wish.document_id, seen=wish.seen, dry_run=dry_run, **_manner(wish))
        if wish.yes and isinstance(wish.to, int) and wish.to < 0:
            shown = _put_back(history, wish, dry_run=True)
            refuse_to_delete(shown, wish, reverts.command(wish, shown))
            return _put_back(history, replace(wish, to=shown.to, seen=wish.seen or shown.seen), dry_run=False)
        return _put_back(history, wish, dry_run=dry_run)


def _put_back(history: Reader, wish: RevertOptions, *, dry_run: bool) -> Revert:
    to: Any = wish.to  # the command has seen to it that it is there
    return history.revert(
        wish.namespace, wish.document_id, to=to, fields=wish.fields, seen=wish.seen, dry_run=dry_run, **_manner(wish)
    )


def _manner(wish: RevertOptions) -> dict[str, Any]:
    return {
        "force": wish.force,
        "keep_withheld": wish.keep_withheld,
        "actor": wish.actor,
        "reason": wish.reason,
    }


def _user(reason: str | None) -> Acting | None:
    """The user of the operating system, as far as it has a name for them; in a container it may have none."""
    try:
        return Acting(actor=getpass.getuser(), reason=reason)
    except (KeyError, OSError, ValueError):
        return None


def _say(found: Revert, wish: RevertOptions, zone: tzinfo | None) -> None:
    for line in reverts.remarks(found, zone):
        say(line)
    if found.applied:
        say(reverts.done_text(found))
    elif not any(document.writes for document in found.documents):
        say(reverts.nothing_text(found, wish, zone) if found.complete else "Nothing was changed.")
    elif wish.transaction is not None and not wish.partial and not found.complete:
        say("Nothing was changed. A transaction is undone as a whole, or with --partial as far as that goes:")
        say(reverts.command(replace(wish, partial=True), found))
    else:
        say(f"Nothing was changed. To do it: {reverts.command(wish, found)}")


def _tell_unsettled(history: Reader, zone: tzinfo | None, *, settle: bool) -> None:
    for unsettled in history.settle_reverts() if settle else history.unsettled_reverts():
        say(reverts.unsettled(unsettled, zone))


_EXIT_CODES: dict[type[Exception], int] = {
    UnknownTransactionError: exit_codes.NOT_FOUND,
    AmbiguousTransactionError: exit_codes.USAGE,
    UnknownStateError: exit_codes.UNKNOWN,
    NotAllowedError: exit_codes.REFUSED,
}
"""Of errors whose own words say it all."""


@contextmanager
def in_words() -> Iterator[None]:
    """Turn what can be in the way of any revert into advice."""
    try:
        yield
    except NotAllRecordedError as error:
        raise CommandError(
            f"{error}; nothing was changed.\nIs its daemon running (`watcher partition` says)? Then try again, or undo "
            "what is recorded: --partial.",
            exit_codes.UNKNOWN,
        ) from error
    except ContendedError as error:
        raise CommandError(f"{error}. Try again.", exit_codes.BUSY) from error
    except UnsureError as error:
        raise CommandError(
            "the deployment went away while it was being done. `watcher log` will show whether it was.",
            exit_codes.UNREACHABLE,
        ) from error
    except tuple(_EXIT_CODES) as error:
        raise CommandError(f"{error}.", _EXIT_CODES[type(error)]) from error


@contextmanager
def of_document(history: Reader, wish: RevertOptions, zone: tzinfo | None) -> Iterator[None]:
    """Turn what can be in the way of putting back one document into advice.

    Raises:
        click.UsageError: a field is within an array.
    """
    try:
        yield
    except InsideArrayError as error:
        raise click.UsageError(f"--field: {error}; name the array.") from error
    except NoSuchFieldError as error:
        hints = [hint for field in wish.fields if (hint := arguments.element_hint(field))]
        raise CommandError("\n".join([f"{error}.", *hints]), exit_codes.NOT_FOUND) from error
    except NothingRecordedError as error:
        said = not_found.message(history, Selection(wish.namespace, wish.document_id), zone)
        raise CommandError(said, exit_codes.NOT_FOUND) from error
    except NoSuchVersionError as error:
        said = states.no_such_version(history, wish.namespace, wish.document_id, error, zone)
        raise CommandError(said, exit_codes.NOT_FOUND) from error
    except CollectionEndedError as error:
        raise CommandError(_with_its_collection(wish, error.event, zone), exit_codes.NOT_FOUND) from error


def refuse_to_delete(found: Revert, wish: RevertOptions, command: str) -> None:
    """Refuse to delete by a number that means another version after each recorded event.

    `found` is what a dry run found, `command` what to type to do it even so.
    """
    if not any(document.writes and document.after is None for document in found.documents):
        return
    subject = states.command(wish.namespace, meanings.argument(wish.document_id))
    raise CommandError(
        f"--to {wish.to} is version {found.to} by now, at which the document was not there: it would be deleted. "
        "Numbers below zero are counted from the newest version, and every revert adds one.\n"
        f"To delete it: {command}\n"
        f"To bring back a deleted document, however often it is typed: watcher revert {subject} --undelete --yes",
        exit_codes.USAGE,
    )


def _with_its_collection(wish: RevertOptions, event: Event, zone: tzinfo | None) -> str:
    of = states.named(wish.namespace, wish.document_id)
    before = states.just_before(event.cluster_time)
    if event.document_id is not ABSENT:
        former = states.command(event.namespace, meanings.argument(wish.document_id))
        return (
            f"{of} was deleted before the collection got this name: {states.of_event(event, zone)}.\n"
            f"What it was then: watcher show {former} --at {times.exact(before)}"
        )
    subject = states.command(wish.namespace, meanings.argument(wish.document_id))
    return (
        f"{of} was not deleted: it went with its collection, {states.of_event(event, zone)}.\n"
        f"To bring it back as it was then: watcher revert {subject} --to {times.exact(before)}"
    )
