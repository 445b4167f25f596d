"""`watcher retention` at work: what the rules say, what is due, and expiring it."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
from bson import Int64
from pymongo import ReadPreference

from change_history.bson import extended_json
from watcher.cli import exit_codes, session
from watcher.cli.rendering import terminal
from watcher.cli.session import CommandError, history_uri, open_client
from watcher.retention.claim import ClaimedError
from watcher.retention.expiry import Pace
from watcher.retention.runner import Due, RetentionRunner
from watcher.words import times
from watcher.words.value_text import number, printable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import tzinfo

    from change_history.bson.cluster_time import ClusterTime
    from config.settings import Settings
    from watcher.retention.runner import Size

_COLUMNS = ("namespace", "rule", "history before has expired", "events", "bytes", "due", "bytes due")
_NO_RULES = "No rules: everything is kept for ever. Set WATCHER_RETENTION, for example shop.sessions=30d,shop.*=2y."


def show(settings: Settings, *, as_json: bool, zone: tzinfo | None) -> None:
    """Print what the rules say of each namespace, and how much there is."""
    with _runner(settings) as runner:
        found = _sized(runner, runner.due())
    session.prepare_output(as_json=as_json)
    _print(found, as_json=as_json, zone=zone)
    if as_json:
        return
    if not settings.retention:
        click.echo(_NO_RULES)
    counting = {str(due.rule) for due, _, _ in found}
    for rule in settings.retention:
        if rule.seconds is not None and str(rule) not in counting:
            click.echo(f"{rule} expires nothing: there is no history that it is the first rule to fit.")


def run(settings: Settings, namespace: str | None, *, yes: bool, as_json: bool, zone: tzinfo | None) -> None:
    """Expire what is due, or with `yes` unset print what would go."""
    with _runner(settings) as runner:
        found = [due for due in runner.due() if namespace in {None, due.namespace}]
        if not found:
            _refuse(settings, namespace)
        sized = _sized(runner, found)
        session.prepare_output(as_json=as_json)
        if not yes:
            _print(sized, as_json=as_json, zone=zone)
            if not as_json:
                click.echo("Nothing was changed. To do it, add --yes.")
            return
        total = sum(gone.events for _, _, gone in sized)
        with terminal.bar("expiring history", total) as advance:
            for due, _, _ in sized:
                removed = _expire(runner, due, settings.retention_rate, advance)
                if as_json:
                    click.echo(extended_json.dumps({"namespace": due.namespace, "removed": Int64(removed)}))
                else:
                    click.echo(f"{printable(due.namespace)}: {number(removed)} events have expired")
            runner.drop_snapshots(_pace(settings.retention_rate))


def _expire(runner: RetentionRunner, due: Due, rate: int, advance: Any) -> int:
    removed = 0
    try:
        for portion in runner.expire(due, _pace(rate)):
            removed += portion
            advance(portion)
    except ClaimedError:
        raise CommandError(
            f"another process is expiring the history of {due.namespace}, most likely the daemon; let it, or try again "
            "in half a minute.",
            exit_codes.BUSY,
        ) from None
    return removed


def _pace(rate: int) -> Pace:
    def wait(seconds: float) -> bool:
        time.sleep(seconds)
        return False

    return Pace(rate, wait)


def _refuse(settings: Settings, namespace: str | None) -> None:
    if not settings.retention:
        raise CommandError(_NO_RULES, exit_codes.NOT_FOUND)
    rules = ",".join(map(str, settings.retention))
    of = f" of {namespace}" if namespace is not None else ""
    raise CommandError(
        f"nothing to expire: no history{of} fits a rule of WATCHER_RETENTION, {rules}. "
        "`watcher retention` shows what each rule fits.",
        exit_codes.NOT_FOUND,
    )


@contextmanager
def _runner(settings: Settings) -> Iterator[RetentionRunner]:
    with open_client(history_uri(settings.connection)) as client:
        database = client.get_database(settings.history_database, read_preference=ReadPreference.PRIMARY)
        yield RetentionRunner(database, settings.retention, settings.snapshot_retention)


Sized = tuple[Due, "Size", "Size"]


def _sized(runner: RetentionRunner, found: list[Due]) -> list[Sized]:
    with terminal.working("measuring history"):
        return [
            (
                due,
                runner.size(due.namespace, None, None),
                runner.size(due.namespace, due.horizon if due.is_complete else None, due.due)
                if due.due is not None
                else runner.size(due.namespace, due.horizon, due.horizon),
            )
            for due in found
        ]


def _print(found: list[Sized], *, as_json: bool, zone: tzinfo | None) -> None:
    if as_json:
        for due, whole, gone in found:
            click.echo(extended_json.dumps(_document(due, whole, gone)))
    elif found:
        terminal.show_table(_COLUMNS, [_row(due, whole, gone, zone) for due, whole, gone in found])


def _row(due: Due, whole: Size, gone: Size, zone: tzinfo | None) -> tuple[str, ...]:
    return (
        printable(due.namespace),
        due.rule.age,
        _when(due.horizon, zone) + ("" if due.is_complete else " (under way)"),
        number(whole.events),
        terminal.size(whole.bytes),
        f"{number(gone.events)} before {_when(due.due, zone)}" if due.due is not None else "-",
        terminal.size(gone.bytes),
    )


def _when(at: ClusterTime | None, zone: tzinfo | None) -> str:
    return times.clock(at.just_after.timestamp, zone) if at is not None else "-"


def _document(due: Due, whole: Size, gone: Size) -> dict[str, Any]:
    return {
        "namespace": due.namespace,
        "rule": str(due.rule),
        "horizon": due.horizon.timestamp if due.horizon is not None else None,
        "complete": due.is_complete,
        "expired": Int64(due.events),
        "events": Int64(whole.events),
        "bytes": Int64(whole.bytes),
        "due": due.due.timestamp if due.due is not None else None,
        "due_events": Int64(gone.events),
        "due_bytes": Int64(gone.bytes),
    }
