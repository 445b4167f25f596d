"""`watcher revert`: connects to both deployments, puts back, and says what became of it."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from change_history import History
from watcher.cli import exit_codes
from watcher.cli.connection import CommandError, history_uri, open_client
from watcher.cli.past import say
from watcher.cli.rendering import revert_output, revert_refusals, revert_text
from watcher.cli.rendering.output import until_closed
from watcher.embedded.server import find_running

if TYPE_CHECKING:
    from datetime import tzinfo

    from change_history.revert.outcome import Revert
    from config.settings import Settings
    from watcher.cli.rendering.revert_text import Wish


def run(settings: Settings, wish: Wish, *, as_json: bool, zone: tzinfo | None) -> None:
    """Put back, or show what that would do.

    Raises:
        CommandError: it cannot be done; says why and what to type next.
        SystemExit: not all of it was put back.
    """
    with ExitStack() as stack:
        stack.enter_context(revert_refusals.in_words())
        watched = stack.enter_context(open_client(_watched_uri(settings)))
        watched.admin.command("ping")  # before there is another deployment that an error could be of
        keeper = stack.enter_context(open_client(history_uri(settings)))
        history = History(keeper, settings.history_database, watched=watched)
        _tell_unsettled(history, zone, settle=wish.yes)
        found = _outcome(history, wish, zone)
        with until_closed():
            revert_output.show(found, as_json=as_json)
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


def _outcome(history: History, wish: Wish, zone: tzinfo | None) -> Revert:
    dry_run = not wish.yes
    if wish.transaction is not None:
        transaction = history.transaction(wish.transaction)
        return history.revert_transaction(transaction, partial=wish.partial, force=wish.force, dry_run=dry_run)
    with revert_refusals.of_document(history, wish, zone):
        if wish.undelete:
            return history.undelete(wish.namespace, wish.document_id, seen=wish.seen, force=wish.force, dry_run=dry_run)
        if wish.yes and isinstance(wish.to, int) and wish.to < 0:
            shown = _put_back(history, wish, dry_run=True)
            revert_refusals.refuse_to_delete(shown, wish, revert_text.command(wish, shown))
            return _put_back(history, replace(wish, to=shown.to, seen=wish.seen or shown.seen), dry_run=False)
        return _put_back(history, wish, dry_run=dry_run)


def _put_back(history: History, wish: Wish, *, dry_run: bool) -> Revert:
    to: Any = wish.to  # the command has seen to it that it is there
    return history.revert(
        wish.namespace,
        wish.document_id,
        to=to,
        fields=wish.fields,
        seen=wish.seen,
        force=wish.force,
        dry_run=dry_run,
    )


def _say(found: Revert, wish: Wish, zone: tzinfo | None) -> None:
    for line in revert_text.remarks(found, zone):
        say(line)
    if found.applied:
        say(revert_text.done(found))
    elif not any(document.writes for document in found.documents):
        say(revert_text.nothing(found, wish, zone) if found.complete else "Nothing was changed.")
    elif wish.transaction is not None and not wish.partial and not found.complete:
        say("Nothing was changed. A transaction is undone as a whole, or with --partial as far as that goes:")
        say(revert_text.command(replace(wish, partial=True), found))
    else:
        say(f"Nothing was changed. To do it: {revert_text.command(wish, found)}")


def _tell_unsettled(history: History, zone: tzinfo | None, *, settle: bool) -> None:
    for unsettled in history.settle_reverts() if settle else history.unsettled_reverts():
        say(revert_text.unsettled(unsettled, zone))
