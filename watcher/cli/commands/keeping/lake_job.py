"""Doing what `watcher lake` is asked for."""

from __future__ import annotations

import json
import sys
import threading
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import structlog

from change_history.bson.equality import key_of
from change_history.bson.resume_token import token_time
from change_history.bson.values import to_raw
from change_history.reconstruct.trust import Unknown
from config.log import start
from watcher.cli import exit_codes
from watcher.cli.rendering import terminal
from watcher.cli.session import CommandError, history_uri, open_client
from watcher.erasure.requests import Erasures
from watcher.erasure.values import Fields, Finder, Trail
from watcher.lake import erasing
from watcher.lake.feed import LakeFeed
from watcher.lake.follower import LakeFollower
from watcher.lake.table import LakeError, LakeTable, NoDeltaError, OtherWriterError, StoreError
from watcher.signals import AbortedError, stop_signals
from watcher.words import times

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from change_history.reconstruct.point_in_time import Instant
    from watcher.cli.session import Context
    from watcher.lake.follower import LakeProgress
    from watcher.lake.position import LakePosition

log = structlog.get_logger(__name__)
_INTERVAL_OF_ONCE_S = 30


def once(context: Context, location: str, store: dict[str, str], *, as_json: bool) -> None:
    """Append what is there now."""
    stop = threading.Event()
    with _errors(), _feed(context) as feed, stop_signals(lambda _: stop.set()), terminal.step_by_step() as tell:
        table = LakeTable(location, store)

        def shown(progress: LakeProgress) -> None:
            tell(f"{progress.events:,} events, {progress.rows:,} rows")

        done = LakeFollower(feed, table, stop, _INTERVAL_OF_ONCE_S, shown).once()
        version = table.version if table.exists else None
    if as_json:
        about = {"events": done.events, "rows": done.rows, "changed": done.changed, "version": version}
        click.echo(json.dumps(about))
    else:
        more = f", {done.changed:,} written anew" if done.changed else ""
        click.echo(f"{done.events:,} events appended, {done.rows:,} rows{more}; version {version} of {location}")
    if stop.is_set():
        raise CommandError("stopped; the same command goes on where it was.", exit_codes.ABORTED)


def run(context: Context, location: str, store: dict[str, str], interval_s: float) -> None:
    """Append what is there and what is new until told to stop."""
    settings = context.settings()
    start(settings.log_level, settings.log_format)
    stop = threading.Event()
    with _errors(), _feed(context) as feed, stop_signals(lambda _: stop.set()):
        table = LakeTable(location, store)

        def shown(progress: LakeProgress) -> None:
            log.info("appended", events=progress.events, rows=progress.rows, version=table.version)

        log.info("appending history to a table", location=location)
        done = LakeFollower(feed, table, stop, interval_s, shown)
        done.run()
        log.info("stopped", events=done.progress.events, rows=done.progress.rows)


class LakeEraseOptions(NamedTuple):
    """What is to be erased: a document, some of its fields, or values wherever they stand."""

    namespace: str | None
    document_id: Any
    fields: Sequence[str]
    values: Sequence[Any]
    trail: str


def erase(context: Context, location: str, store: dict[str, str], what: LakeEraseOptions, *, do_it: bool) -> None:
    """Erase in a table."""
    where = context.connection()
    with _errors(), open_client(history_uri(where)) as client:
        table = LakeTable(location, store)
        position = table.open()
        if position is None:
            raise CommandError(
                f"{location} holds no history; `watcher lake once --to {location}` makes a table.", exit_codes.NOT_FOUND
            )
        found: list[erasing.Changes] = []
        if what.namespace is not None:
            wanted = key_of(to_raw(what.document_id))
            left = partial(Fields(what.fields).left, trail=Trail(what.trail))
            found.append(erasing.of_documents(table, what.namespace, lambda each: key_of(each) == wanted, left))
        if what.values:
            key = Erasures(client[where.history_database]).key()
            found.append(erasing.of_values(table, Finder(map(to_raw, what.values), key)))
        if do_it:
            count = sum(erasing.apply(table, changes, position) for changes in found)
            click.echo(f"{count:,} events erased in {location}")
        else:
            count = sum(len(some) for changes in found for some in changes)
            click.echo(f"{count:,} events would be erased in {location}; --yes does it.")


def status(location: str, store: dict[str, str], *, as_json: bool) -> None:
    """Show how far a table is, and how large."""
    with _errors():
        table = LakeTable(location, store)
        position = table.open()
        if not table.exists:
            advice = f"there is no table in {location}; `watcher lake once --to {location}` makes one."
            raise CommandError(advice, exit_codes.NOT_FOUND)
        (counted,) = table.select(["count(*) AS rows", "count(DISTINCT event) AS events"])
        files, size = table.files()
    if as_json:
        about = {"version": table.version, "reaches": _reaches(position), **counted, "files": files, "bytes": size}
        click.echo(json.dumps(about))
        return
    click.echo(f"version {table.version}: {counted['events']:,} events, {counted['rows']:,} rows")
    click.echo(f"{files:,} file{'' if files == 1 else 's'}, {terminal.size(size)}")
    click.echo(f"up to {_reaches(position)}")


def document(location: str, store: dict[str, str], namespace: str, document_id: Any, at: Instant | None) -> bytes:
    """What a document was, from a table."""
    from watcher.lake.as_of import reconstruct

    with _errors():
        table = LakeTable(location, store)
        table.open()
        found = reconstruct(table, namespace, document_id, at)
    if found is None:
        raise CommandError(f"the table has nothing of this document up to then: {location}", exit_codes.NOT_FOUND)
    if isinstance(found.document, Unknown):
        raise CommandError(f"the table cannot tell it: {found.document.reason}", exit_codes.UNKNOWN)
    if found.document is None:
        raise CommandError("the document was not there then.", exit_codes.NOT_FOUND)
    return found.document


def _reaches(position: LakePosition | None) -> str:
    if position is None:
        return "unknown; the next exporter compares all of it with the history"
    if position.scanned is not None:
        return "not all of what was there when it was begun; the next exporter goes on"
    found = token_time(to_raw({"_data": position.token})[1])
    return times.asked(found.timestamp, None) if found is not None else "unknown"


@contextmanager
def _feed(context: Context) -> Iterator[LakeFeed]:
    where = context.connection()
    with open_client(history_uri(where)) as client:
        yield LakeFeed(client[where.history_database])


@contextmanager
def _errors() -> Iterator[None]:
    """Turn what can go wrong into advice."""
    try:
        yield
    except NoDeltaError as error:
        advice = f"{sys.executable} -m pip install deltalake pyarrow (the extra mongo-change-watcher[lake] brings them)"
        raise CommandError(f"{error}; install it: {advice}", exit_codes.USAGE) from error
    except OtherWriterError as error:
        raise CommandError(str(error), exit_codes.BUSY) from error
    except LakeError as error:
        raise CommandError(str(error), exit_codes.FATAL) from error
    except StoreError as error:
        reason = f"the store does not answer, or refuses: {error}"
        advice = "Is the location right, and do --store or AWS_… name the endpoint and the keys?"
        raise CommandError(f"{reason}\n{advice}", exit_codes.UNREACHABLE) from error
    except AbortedError as error:
        raise CommandError("ended at once; the same command goes on where it was.", exit_codes.ABORTED) from error
