"""Runs all checks in their order. A failing check never hides the findings of the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pymongo.errors import ConnectionFailure

from watcher.doctor import (
    actors,
    clocks,
    coverage,
    embedded,
    features,
    history,
    installation,
    leader,
    oplog,
    position,
    pre_images,
    privileges,
    reach,
    seals,
)
from watcher.doctor.finding import Status, could_not, unchecked
from watcher.doctor.subject import HISTORY, WATCHED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from watcher.doctor.finding import Finding
    from watcher.doctor.subject import Subject


class Check(NamedTuple):
    """A check, and the deployments that it queries.

    Attributes:
        name: name of the check, reported if it cannot be run.
        asks: names of the deployments, as in `subject`.
        look: runs the check.
        applies: returns whether the check applies.
    """

    name: str
    asks: tuple[str, ...]
    look: Callable[[Subject], Iterable[Finding]]
    applies: Callable[[Subject], bool] = lambda _: True


_WATCHED, _HISTORY, _BOTH = (WATCHED,), (HISTORY,), (WATCHED, HISTORY)

CHECKS = (
    Check(embedded.BINARY, (), embedded.check, lambda subject: subject.settings.mongodb_uri is None),
    Check(installation.NAME, (), installation.check),
    Check("replica set", _WATCHED, reach.kind),
    Check(privileges.WATCHED, _WATCHED, privileges.watched),
    Check(privileges.HISTORY, _HISTORY, privileges.history),
    Check(features.NAME, _WATCHED, features.check),
    Check("clock of the watched deployment", _WATCHED, clocks.watched),
    Check("clock of the history deployment", _HISTORY, clocks.history, lambda subject: not subject.one_user),
    Check(position.CHECKPOINT, _HISTORY, position.checkpoint),
    Check(coverage.NAME, _WATCHED, coverage.check),
    Check(coverage.EXACT, _WATCHED, coverage.exact, lambda subject: bool(subject.scope.exact)),
    Check(coverage.PATHS, _WATCHED, coverage.paths, lambda subject: bool(subject.scope.exclude)),
    Check(
        coverage.RULES,
        _BOTH,
        coverage.rules,
        lambda subject: bool(subject.settings.redact or subject.settings.retention),
    ),
    Check(pre_images.NAME, _WATCHED, pre_images.check),
    Check(pre_images.KEPT, _WATCHED, pre_images.expiry_findings),
    Check(oplog.NAME, _WATCHED, oplog.check),
    Check(position.NAME, _BOTH, position.check),
    Check(leader.NAME, _HISTORY, leader.check),
    Check(history.INDEXES, _HISTORY, history.indexes),
    Check(history.VIEW_CHECK, _HISTORY, history.view),
    Check(history.TTL, _HISTORY, history.expiring),
    Check(history.BEGINNINGS, _HISTORY, history.beginnings),
    Check(history.COMPLETE, _HISTORY, history.complete),
    Check(seals.NAME, _HISTORY, seals.check),
    Check(actors.NAME, _BOTH, actors.check),
)


def examine(subject: Subject, at_work: Callable[[str], None]) -> Iterator[Finding]:
    """Run all checks.

    Args:
        at_work: called with the name of each check before it is run.
    """
    deployments = {WATCHED: subject.watched_uri, HISTORY: subject.history_uri}
    for name, uri in deployments.items():
        if name == HISTORY and subject.one_user:
            continue
        at_work(name)
        answer = reach.answers(name, subject, uri)
        yield answer
        if answer.status is not Status.OK:
            _gone(subject, (name,))
    for check in [each for each in CHECKS if each.applies(subject)]:
        away = [name for name in check.asks if name in subject.away]
        if away:
            yield unchecked(check.name, f"the {away[0]} cannot be asked")
            continue
        at_work(check.name)
        try:
            yield from check.look(subject)
        except Exception as error:  # noqa: BLE001 - whatever it is, the others are still to be done
            yield could_not(check.name, error)
            if isinstance(error, ConnectionFailure) and len(check.asks) == 1:
                _gone(subject, check.asks)


def _gone(subject: Subject, names: Iterable[str]) -> None:
    """Mark deployments as unreachable, so that the report does not wait for a timeout in every check."""
    subject.away |= {WATCHED, HISTORY} if subject.one_user else {*names}
