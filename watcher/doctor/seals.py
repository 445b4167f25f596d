"""Checks whether history is sealed as the settings require: the key, the end of the seals, unprocessed notes."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, NamedTuple

from bson import Binary

from change_history.bson.cluster_time import ClusterTime
from change_history.seals.store import Store
from change_history.stored.names import AMENDMENTS, HISTORY
from config.settings import Seal
from watcher.doctor.finding import many, ok, problem, span, warning

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from change_history.seals.seal import Sealed
    from watcher.doctor.finding import Finding
    from watcher.doctor.subject import Subject

NAME = "seals"
LATE_S = 180.0
"""Age of the last seal, in seconds, above which it is late: new entries are sealed at least every minute."""
MANY_NOTES = 1000
_MOST_NOTES = 100_000
_FORGOTTEN_AFTER = dt.timedelta(days=2)
_LOOKED_AT = 200
_OTHERS = 0o077
_ON = "Set WATCHER_SEAL=on for every daemon that records into this history."
_LOG = "See in the daemon's log what keeps it from sealing; `watcher seal` makes a seal now."


class SealingState(NamedTuple):
    """The state of sealing.

    Attributes:
        sealing: whether the settings enable it.
        signs: whether they name a key.
        last: the last seal; None: there is none.
        age_s: age of the last seal in seconds.
        unsealed: whether there are entries after those it covers.
        notes: number of notes of amendments that wait to be sealed.
    """

    sealing: bool
    signs: bool
    last: Sealed | None
    age_s: float
    unsealed: bool
    notes: int


def check(subject: Subject) -> Iterator[Finding]:
    """The key, and the seals in the history database."""
    file, sealing = subject.settings.seal_key_file, subject.settings.seal is Seal.ON
    if file is not None and file.exists() and (found := judge_key(file)) is not None:
        yield found
    store = Store(subject.history)
    try:
        last = store.last()
    except ValueError as error:
        remedy = (
            "Look at it with `watcher verify`; without the last seal (db.seals) sealing goes on from the one before."
        )
        yield problem(NAME, f"the last seal cannot be read, so nothing more is sealed: {error}", remedy)
        return
    age_s = 0.0
    if last is not None:
        age_s = (dt.datetime.now(dt.UTC) - dt.datetime.fromisoformat(last.seal.time)).total_seconds()
    # The daemon forgets notes of more than a day where nothing was ever sealed.
    since = {"at": {"$lt": dt.datetime.now(dt.UTC) - _FORGOTTEN_AFTER}} if last is None and not sealing else {}
    notes = subject.history[AMENDMENTS].count_documents(since, limit=_MOST_NOTES)
    yield from judge(SealingState(sealing, file is not None, last, age_s, _unsealed(subject, store, last), notes))


def _unsealed(subject: Subject, store: Store, last: Sealed | None) -> bool:
    """Whether there are entries behind what this stream has sealed, among the next ones, of which no seal knows."""
    after: dict[str, Any] = {}
    if last is not None:
        seconds, _, increment = last.seal.streams.get(subject.settings.checkpoint, "0:0").partition(":")
        after = {"_id": {"$gt": Binary(ClusterTime((int(seconds) << 32) | int(increment)).last_id)}}
    found = subject.history[HISTORY].find(after, {"_id": 1}, sort=[("_id", 1)], limit=_LOOKED_AT)
    ids = [bytes(each["_id"]) for each in found if isinstance(each["_id"], bytes)]
    return bool(ids) if last is None else len(store.records_of(ids)) < len(ids)


def judge_key(file: Path) -> Finding | None:
    """Judge who may read a private key; None: nobody else."""
    mode = file.stat().st_mode & 0o777
    if not mode & _OTHERS:
        return None
    return warning(
        NAME,
        f"others than its owner may read or write {file} (mode {mode:o}): whoever can read it can sign",
        f"chmod 600 {file}; where the key may have been copied, make a new one.",
        mode=f"{mode:o}",
    )


def judge(standing: SealingState) -> Iterator[Finding]:
    """Judge how sealing stands; nothing, where it never was on and nothing comes of that."""
    last, facts = standing.last, {"notes": standing.notes}
    if last is not None:
        facts |= {"last": last.seal.number, "signed": bool(last.seal.key)}
    if not standing.sealing:
        if last is not None:
            yield warning(NAME, "history is sealed, but WATCHER_SEAL is off: what is recorded now is not", _ON, **facts)
        elif standing.notes > MANY_NOTES:
            said = f"{many(standing.notes, 'note')} of amendments wait for a seal, and nothing was ever sealed"
            yield warning(
                NAME,
                said,
                "`watcher run` forgets them after a day, if its user may remove from `amendments`: `watcher roles "
                "daemon --update`; `watcher seal` seals history and settles them.",
                **facts,
            )
        return
    if last is None:
        if standing.unsealed:
            yield warning(NAME, "WATCHER_SEAL is on, and nothing was ever sealed", f"{_ON} {_LOG}", **facts)
        else:
            yield ok(NAME, "nothing is recorded that could be sealed", **facts)
        return
    if last.seal.key and not standing.signs:
        said = f"seal {last.seal.number} is signed, and those to come are not: `watcher verify` will object to them"
        yield problem(NAME, said, "Let WATCHER_SEAL_KEY_FILE name the key.", **facts)
    if standing.unsealed and standing.age_s > LATE_S:
        yield warning(NAME, f"there are events to seal, and the last seal is {span(standing.age_s)} old", _LOG, **facts)
    else:
        signed = "signed" if last.seal.key else "not signed"
        yield ok(NAME, f"seal {last.seal.number} of {last.seal.time}, {signed}", **facts)
