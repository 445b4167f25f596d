"""`watcher erase` at work: finds what is to go, removes it, and says what is left."""

from __future__ import annotations

import getpass
import socket
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from bson import Int64, ObjectId
from pymongo import ReadPreference

from change_history.bson import extended_json
from change_history.bson.values import to_python, to_raw
from change_history.reconstruct.filters import FilterError
from change_history.stored.names import HISTORY
from change_history.stored.reading import history_collection, recorded_names
from watcher.cli import exit_codes, session
from watcher.cli.rendering import not_found, terminal
from watcher.cli.session import CommandError, history_uri, open_client, say
from watcher.erasure.active import SETTLED_AFTER_S
from watcher.erasure.intervals import intervals_of
from watcher.erasure.matching import ever_matched
from watcher.erasure.requests import WORKING, Erasure, Erasures
from watcher.erasure.values import Trail
from watcher.erasure.work import ErasureWork
from watcher.retention.claim import ClaimedError
from watcher.words.value_text import printable, text_of, words

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import tzinfo

    from pymongo.database import Database

    from change_history.bson import raw
    from config.settings import Settings
    from watcher.erasure.work import ErasureReport

_MOST_DOCUMENTS = 100_000
_MOST_NAMED = 5
_COLUMNS = ("asked at", "by", "what", "documents", "state", "reason", "removed")
_UNREACHED = (
    "What cannot be reached from here, and may still have the values:\n"
    "  - the watched documents themselves, and copies in other collections\n"
    "  - the oplog of both deployments, until it has gone round (`rs.printReplicationInfo()`)\n"
    "  - pre-images of the server, until they expire (`config.system.preimages`, expireAfterSeconds)\n"
    "  - disk blocks that the server has not used again (`compact`), journals, and delayed members\n"
    "  - backups, exports (`watcher export`), and what readers have copied\n"
    "  - where history is sealed, the salts of its seals, until the next seal\n"
    "  - values in a table of `watcher lake`: `watcher lake erase`; documents it erases by itself\n"
    "  - logs of applications and of the server, and the access log of `watcher serve`"
)


class EraseOptions(NamedTuple):
    """What is to be erased.

    Attributes:
        namespace: `db.coll`; empty: only values.
        documents: the `_id`, if one is named.
        where: the filter, if one is given.
        fields, values, trail, reason: as typed.
    """

    namespace: str
    documents: list[Any]
    where: dict[str, Any] | None
    fields: tuple[str, ...]
    values: tuple[Any, ...]
    trail: str
    reason: str | None


def run(settings: Settings, wish: EraseOptions, *, yes: bool, as_json: bool) -> None:
    """Erase, or show what would go.

    Raises:
        SystemExit: some of it is left.
    """
    with _opened(settings) as database:
        documents, unknown = _documents(database, wish)
        values = [to_raw(value) for value in wish.values]
        erasures = Erasures(database)
        rehearsed = Erasure(
            ObjectId(),
            WORKING,
            wish.namespace,
            tuple(documents),
            tuple(values),
            wish.fields,
            Trail(wish.trail),
        )
        session.prepare_output(as_json=as_json)
        outcome = _done(database, rehearsed, erasures.key() if yes else bytes(32), dry_run=True)
        nothing = not any(outcome.counts.values()) and not outcome.in_ids
        if nothing and not (yes and documents and _is_there(database, wish.namespace, documents)):
            raise CommandError(_nothing(database, wish), exit_codes.NOT_FOUND)
        _say_unknown(unknown)
        if not yes:
            _say(outcome, as_json=as_json, done=False)
            return
        _may_erase(database)
        names = [interval.namespace for interval in intervals_of(database, wish.namespace)] if wish.namespace else []
        erasure = erasures.begin(
            wish.namespace,
            documents,
            values,
            names=dict.fromkeys(names),
            fields=wish.fields,
            trail=Trail(wish.trail),
            by=_who(database),
            reason=wish.reason,
        )
        outcome = _carried_out(database, erasures, erasure)
        _say(outcome, as_json=as_json, done=True)
    if outcome.in_ids or outcome.unreadable or outcome.vague or outcome.left or unknown:
        raise SystemExit(exit_codes.REMAINING)


def go_on(settings: Settings, *, as_json: bool) -> None:
    """Carry out what was interrupted."""
    with _opened(settings) as database:
        erasures = Erasures(database)
        session.prepare_output(as_json=as_json)
        found = erasures.all({"state": WORKING})
        _may_erase(database)
        for erasure in found:
            _say(_carried_out(database, erasures, erasure), as_json=as_json, done=True)
    if not found and not as_json:
        click.echo("No erasure was interrupted.")


def end(settings: Settings, namespace: str, document_id: Any, *, yes: bool) -> None:
    """Let events of a document be recorded again."""
    with _opened(settings) as database:
        if not yes:
            click.echo("From then on, events of it are recorded with their values. Nothing was changed; add --yes.")
            return
        count = Erasures(database).end(namespace, to_raw(document_id), _who(database))
    if not count:
        raise CommandError(f"no erasure of this document of {namespace} stands.", exit_codes.NOT_FOUND)
    click.echo("Ended: events of it are recorded again, from a second from now on.")


def show(settings: Settings, *, as_json: bool, zone: tzinfo | None) -> None:
    """List what was erased."""
    with _opened(settings) as database:
        found = Erasures(database).all()
    session.prepare_output(as_json=as_json)
    if as_json:
        for each in found:
            told = {"_id": each.id, "state": each.state, "namespace": each.namespace, "trail": each.trail.value}
            click.echo(extended_json.dumps({**told, "fields": list(each.fields), **each.said}))
    elif found:
        terminal.show_table(_COLUMNS, [_row(each, zone) for each in found])
    else:
        click.echo("Nothing was erased.")


def _nothing(database: Database[Any], wish: EraseOptions) -> str:
    """Why there is nothing to erase, and what may have been meant."""
    said = "nothing is recorded that holds it, or nothing is left of it."
    if not wish.namespace:
        return said
    namespaces = recorded_names(history_collection(database))
    if namespaces and wish.namespace not in namespaces:
        return f"nothing is recorded of {printable(wish.namespace)}.\n{not_found.others(wish.namespace, namespaces)}"
    if wish.documents and not _is_there(database, wish.namespace, [to_raw(each) for each in wish.documents]):
        return (
            f"nothing is recorded of this document of {printable(wish.namespace)}: `watcher log` shows which there are."
        )
    return said


def _documents(database: Database[Any], wish: EraseOptions) -> tuple[list[raw.Value], list[raw.Value]]:
    """The documents that are meant, and those of which history cannot tell whether they are."""
    if wish.where is None:
        return [to_raw(each) for each in wish.documents], []
    try:
        with terminal.working("looking for documents"):
            found, unknown = ever_matched(database, wish.namespace, wish.where)
    except FilterError as error:
        raise CommandError(str(error), exit_codes.USAGE) from error
    if not found:
        _say_unknown(unknown)
        raise CommandError(f"no document of {wish.namespace} is known to have matched.", exit_codes.NOT_FOUND)
    if len(found) > _MOST_DOCUMENTS:
        raise CommandError(
            f"{len(found):,} documents matched; narrow it down to {_MOST_DOCUMENTS:,}.", exit_codes.USAGE
        )
    return found, unknown


def _say_unknown(unknown: list[raw.Value]) -> None:
    if unknown:
        named = ", ".join(text_of(to_python(each), 40) for each in unknown[:_MOST_NAMED])
        others = " and others" if len(unknown) > _MOST_NAMED else ""
        say(
            f"{words(len(unknown), 'document')} may have matched: history does not know them whole, as after a gap or "
            f"before the horizon: {named}{others}. Erase them by ID, or what they hold by --value."
        )


def _is_there(database: Database[Any], namespace: str, documents: list[raw.Value]) -> bool:
    """Whether anything is recorded of the documents: then what is recorded later is to be erased too."""
    history = database[HISTORY]
    return any(
        history.find_one(interval.of(document_id), {"_id": 1}) is not None
        for interval in intervals_of(database, namespace)
        for document_id in documents
    )


def _may_erase(database: Database[Any]) -> None:
    """Have the deployment say whether this user may remove history, which who records may not."""
    database[HISTORY].delete_one({"_id": "nothing has this id"})


def _carried_out(database: Database[Any], erasures: Erasures, erasure: Erasure) -> ErasureReport:
    with terminal.working("waiting until every daemon knows"):
        time.sleep(SETTLED_AFTER_S)
    outcome = _done(database, erasure, erasures.key(), dry_run=False)
    erasures.finish(erasure, {name: Int64(count) for name, count in outcome.counts.items()})
    return outcome


def _done(database: Database[Any], erasure: Erasure, key: bytes, *, dry_run: bool) -> ErasureReport:
    total = database[HISTORY].estimated_document_count() if erasure.values else 0
    doing = "looking" if dry_run else "erasing"
    try:
        with terminal.bar(doing, total) as advance:
            return ErasureWork(database, erasure, key, dry_run=dry_run, advance=advance).run()
    except ClaimedError as error:
        raise CommandError(
            f"the history of {error} expires at the moment; go on later with `watcher erase --continue`.",
            exit_codes.BUSY,
        ) from error


def _say(outcome: ErasureReport, *, as_json: bool, done: bool) -> None:
    if as_json:
        document = {
            **{name: Int64(count) for name, count in outcome.counts.items()},
            "namespaces": {name: Int64(count) for name, count in outcome.namespaces.items()},
            "in_ids": [{"namespace": name, "document_id": to_python(each)} for name, each in outcome.in_ids],
            "unreadable": Int64(outcome.unreadable),
            "left": {name: Int64(count) for name, count in outcome.left.items()},
            "done": done,
        }
        click.echo(extended_json.dumps(document))
        return
    verb = "" if done else "to be "
    for name, count in sorted(outcome.namespaces.items()):
        click.echo(f"{printable(name)}: {words(count, 'event')} {verb}erased")
    for what in ("snapshots", "rejected", "imported", "reverts", "baselines"):
        if count := outcome.counts[what]:
            click.echo(f"{what}: {count:,} {verb}erased")
    if outcome.in_ids:
        named = [f"{printable(name)} {text_of(to_python(each), 40)}" for name, each in outcome.in_ids[:_MOST_NAMED]]
        others = " and others" if len(outcome.in_ids) > _MOST_NAMED else ""
        say(
            f"{words(outcome.in_id_count, 'event')} of other documents have it in their _id, where it cannot be "
            f"removed: {', '.join(named)}{others}. Erase each of these documents with --trail nothing."
        )
    if outcome.unreadable:
        say(f"{words(outcome.unreadable, 'event')} could not be read: their chunks are missing.")
    if outcome.vague:
        say(
            f"{words(outcome.vague, 'rejected event')} cannot be read, so nobody knows whether it is about this: "
            "see `watcher rejected list`. What they hold can be removed by --value."
        )
    for name, count in outcome.left.items():
        say(f"{name}: {words(count, 'document')} of the history database hold it too, and are not changed by this.")
    click.echo(_UNREACHED)
    click.echo("Done. `watcher erase --list` says so." if done else "Nothing was changed. To do it, add --yes.")


def _row(each: Erasure, zone: tzinfo | None) -> tuple[str, ...]:
    said = each.said
    asked = said["asked_at"]
    what = each.namespace or "values"
    fields = f": {', '.join(each.fields)}" if each.fields else ""
    removed = ", ".join(f"{int(count):,} {name}" for name, count in (said["counts"] or {}).items() if count)
    return (
        asked.astimezone(zone).isoformat(" ", "seconds"),
        printable(str(said["by"])),
        printable(what + fields),
        f"{said['documents']:,}",
        each.state,
        printable(said["reason"] or ""),
        removed,
    )


def _who(database: Database[Any]) -> str:
    """Who asks: the user of this machine, and that of the deployment."""
    try:
        here = getpass.getuser()
    except (KeyError, OSError):
        here = "?"
    users = database.client.admin.command("connectionStatus")["authInfo"]["authenticatedUsers"]
    there = f", {users[0]['user']}@{users[0]['db']}" if users else ""
    return f"{here}@{socket.gethostname()}{there}"


@contextmanager
def _opened(settings: Settings) -> Iterator[Database[Any]]:
    with open_client(history_uri(settings.connection)) as client:
        yield client.get_database(settings.history_database, read_preference=ReadPreference.PRIMARY)
