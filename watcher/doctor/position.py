"""Checks whether the daemon could resume from its checkpoint, by opening the same stream there and reading once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bson import Timestamp

from config.settings import OnGap
from watcher.doctor.finding import many, ok, problem
from watcher.errors import FatalError, NotInitiatedError, PositionLostError, PositionRefusedError
from watcher.operations.repartition import Layout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from watcher.doctor.finding import Finding
    from watcher.doctor.subject import Subject

CHECKPOINT, NAME = "checkpoint", "position"
_WHAT_FOLLOWS = {
    OnGap.RECONCILE: "`watcher run` will record the gap, go on from now, and reconcile history with the documents",
    OnGap.RECORD: "`watcher run` will record the gap and go on from now",
    OnGap.STOP: "`watcher run` will not start",
}


def checkpoint(subject: Subject) -> Iterator[Finding]:
    """The stream's stored checkpoint."""
    stream, found = subject.settings.checkpoint, subject.checkpoint
    layout = Layout(subject.history, subject.settings.stream)
    try:
        layout.check(subject.settings.recorded_partition)
    except PositionRefusedError as error:
        if subject.settings.recorded_partition is None or not layout.is_open():
            yield problem(CHECKPOINT, error.problem, error.remedy)
            return
    if found is None or "token" not in found:
        others = [str(name) for name in subject.history.checkpoints.distinct("_id") if name != stream]
        also = f"; other streams there: {', '.join(sorted(others))}" if others else ""
        yield ok(CHECKPOINT, f"stream {stream!r} has never run: it will begin from now{also}", streams=sorted(others))
        return
    facts = {"stream": stream, "cluster_time": found.get("cluster_time"), "events": found.get("events", 0)}
    at = found.get("cluster_time")
    stands = f"{at.time}:{at.inc}" if isinstance(at, Timestamp) else "unknown"
    yield ok(CHECKPOINT, f"stream {stream!r} stands at {stands}, {many(facts['events'], 'event')} recorded", **facts)


def check(subject: Subject) -> Iterator[Finding]:
    """Whether the server can resume from there, with the settings' own pipeline."""
    if "token" not in (subject.checkpoint or {}):
        return
    try:
        stored = subject.relocation.stored(whatever_options=True)
        subject.relocation.at_token(stored.position)
    except PositionLostError as error:
        follows = _WHAT_FOLLOWS[subject.settings.on_gap]
        yield problem(
            NAME,
            f"{error.problem.removesuffix('.')}; {follows} (WATCHER_ON_GAP={subject.settings.on_gap})",
            "watcher checkpoint set --now --yes, or --at TIME for as far back as the oplog reaches.",
        )
    except FatalError as error:
        yield problem(NAME, error.problem, error.remedy)
    except NotInitiatedError as error:
        yield problem(NAME, str(error), "Run rs.initiate() once in mongosh.")
    else:
        yield ok(NAME, "the server goes on from there", cluster_time=stored.position.cluster_time.timestamp)
