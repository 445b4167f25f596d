"""All checks in their order. What one of them runs into never hides what the others find."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pymongo.errors import ConnectionFailure

from watcher.doctor import (
    clocks,
    coverage,
    embedded,
    features,
    images,
    installation,
    keeping,
    leader,
    oplog,
    position,
    reach,
    rights,
)
from watcher.doctor.finding import Status, could_not, unchecked
from watcher.doctor.patient import HISTORY, WATCHED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from watcher.doctor.finding import Finding
    from watcher.doctor.patient import Patient


class Check(NamedTuple):
    """A check, and the deployments that it asks.

    Attributes:
        name: said where it cannot be done.
        asks: names of deployments, as of `patient`.
        look: does it.
        applies: whether there is anything to look at.
    """

    name: str
    asks: tuple[str, ...]
    look: Callable[[Patient], Iterable[Finding]]
    applies: Callable[[Patient], bool] = lambda _: True


_WATCHED, _HISTORY, _BOTH = (WATCHED,), (HISTORY,), (WATCHED, HISTORY)

CHECKS = (
    Check(embedded.BINARY, (), embedded.check, lambda patient: patient.settings.mongodb_uri is None),
    Check(installation.NAME, (), installation.check),
    Check("replica set", _WATCHED, reach.kind),
    Check(rights.WATCHED, _WATCHED, rights.watched),
    Check(rights.HISTORY, _HISTORY, rights.history),
    Check(features.NAME, _WATCHED, features.check),
    Check("clock of the watched deployment", _WATCHED, clocks.watched),
    Check("clock of the history deployment", _HISTORY, clocks.history, lambda patient: not patient.one_user),
    Check(position.CHECKPOINT, _HISTORY, position.checkpoint),
    Check(coverage.NAME, _WATCHED, coverage.check),
    Check(coverage.EXACT, _WATCHED, coverage.exact, lambda patient: bool(patient.scope.exact)),
    Check(images.NAME, _WATCHED, images.check),
    Check(images.KEPT, _WATCHED, images.kept),
    Check(oplog.NAME, _WATCHED, oplog.check),
    Check(position.NAME, _BOTH, position.check),
    Check(leader.NAME, _HISTORY, leader.check),
    Check(keeping.INDEXES, _HISTORY, keeping.indexes),
    Check(keeping.VIEW_CHECK, _HISTORY, keeping.view),
    Check(keeping.HOLES, _HISTORY, keeping.holes),
)


def examine(patient: Patient, at_work: Callable[[str], None]) -> Iterator[Finding]:
    """Do all checks.

    Args:
        patient: what is examined.
        at_work: told the name of each check before it is done.
    """
    deployments = {WATCHED: patient.watched_uri, HISTORY: patient.history_uri}
    for name, uri in deployments.items():
        if name == HISTORY and patient.one_user:
            continue
        at_work(name)
        answer = reach.answers(name, patient, uri)
        yield answer
        if answer.status is not Status.OK:
            _gone(patient, (name,))
    for check in [each for each in CHECKS if each.applies(patient)]:
        away = [name for name in check.asks if name in patient.away]
        if away:
            yield unchecked(check.name, f"the {away[0]} cannot be asked")
            continue
        at_work(check.name)
        try:
            yield from check.look(patient)
        except Exception as error:  # noqa: BLE001 - whatever it is, the others are still to be done
            yield could_not(check.name, error)
            if isinstance(error, ConnectionFailure) and len(check.asks) == 1:
                _gone(patient, check.asks)


def _gone(patient: Patient, names: Iterable[str]) -> None:
    """Ask a deployment nothing more, so that the report does not take a time-out for every check."""
    patient.away |= {WATCHED, HISTORY} if patient.one_user else {*names}
