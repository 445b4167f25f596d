"""The actor of an event, as it is kept."""

from __future__ import annotations

from typing import Any

import bson
import pytest
from bson import Int64, ObjectId

from change_history import Actor
from change_history.bson import raw
from change_history.bson.cluster_time import ClusterTime
from change_history.bson.values import to_raw
from change_history.stored import actor, chunks
from change_history.stored.event import to_event
from models import HistoryModel
from tests.support.handmade_events import an_event
from tests.support.pipeline_stages import FixedHistory
from watcher.events import record
from watcher.stream.actors.contexts import Contexts
from watcher.stream.batch import Batch, Entry, Position, Recorded
from watcher.stream.pre_image_cache import PreImageCache
from watcher.stream.recorder import Recorder

OBJECT_ID = ObjectId("65f0c0ffee65f0c0ffee65f0")
HISTORY = record.record(an_event("insert", fullDocument={"_id": 7, "actor": {"id": "a field of the document"}}))


def an_actor(identity: Any, reason: str | None = None, request: str | None = None) -> bytes:
    """An actor as it is stored."""
    said = [to_raw(value) if value is not None else None for value in (reason, request)]
    return actor.encode(to_raw(identity), actor.CONTEXT, reason=said[0], request=said[1])


@pytest.mark.parametrize("identity", ["alice", OBJECT_ID, 7, Int64(7), "\x03actor\x00", ""])
def test_an_actor_is_read_as_it_was_written(identity: Any) -> None:
    """Also one whose name looks like the field it stands in; and the event around it is as before."""
    stored = actor.added(HISTORY, an_actor(identity, reason="ticket 7", request="r-1"))
    event = to_event(stored)
    assert event.actor == Actor(id=identity, provenance="context", reason="ticket 7", request="r-1")
    assert type(event.actor.id) is type(identity)
    before = to_event(HISTORY)
    assert before.actor is None
    assert [getattr(event, name) for name in ("id", "changes", "resume_token")] == [
        getattr(before, name) for name in ("id", "changes", "resume_token")
    ]
    assert HistoryModel._from_son(bson.decode(stored)).actor.id == identity


def test_an_actor_that_is_completed_later_has_the_bytes_of_one_known_at_once() -> None:
    """`$set` puts a new field at the end; so does the recorder. Two daemons cannot disagree."""
    who = an_actor("alice")
    stored = actor.added(HISTORY, who)
    assert stored == bson.encode({**bson.decode(HISTORY), "actor": bson.decode(who)})
    assert actor.split(stored) == (HISTORY, who)
    assert actor.split(HISTORY) == (HISTORY, None)


def test_a_document_in_chunks_has_its_actor_in_the_head() -> None:
    """Disaster: an actor that comes later would need other chunks, and the old ones would be orphans."""
    pieces = chunks.cut(raw.fields(HISTORY)[b"_id"][1][5:], HISTORY)
    head = actor.added(chunks.head(HISTORY, pieces), an_actor("alice"))
    event = to_event(head)
    assert event.parts == [piece.id for piece in pieces]
    assert event.actor == Actor(id="alice", provenance="context")


def batch(time: int, events: int, **values: Any) -> Recorded:
    """So much history up to a cluster time."""
    found = Recorded([Entry(HISTORY, b"")] * events, [], Position(b"", ClusterTime(time)))
    for name, value in values.items():
        setattr(found, name, value)
    return found


def test_the_checkpoint_of_joined_batches_stays_before_a_transaction_that_is_not_whole() -> None:
    """Disaster: a kill, and whoever goes on amid the transaction does not know who wrote."""
    whole, begins, goes_on = batch(1, 3), batch(3, 4, safe=Position(b"", ClusterTime(2)), unsafe=3), batch(3, 5)
    goes_on.safe, goes_on.unsafe = None, 5
    begins.join(goes_on)
    assert (begins.position.cluster_time, begins.safe, begins.unsafe) == (3, Position(b"", ClusterTime(2)), 8)
    whole.join(begins)
    assert (whole.safe, whole.unsafe, len(whole)) == (Position(b"", ClusterTime(2)), 8, 12)
    whole.join(batch(4, 1))
    assert (whole.safe, whole.unsafe) == (Position(b"", ClusterTime(4)), 0)


@pytest.mark.parametrize("damaged", [b"\x05\x00\x00\x00\x00", raw.from_fields([(b"_id", (raw.BOOLEAN, b"\x01"))])])
def test_a_damaged_event_before_a_transaction_does_not_end_the_daemon(damaged: bytes) -> None:
    """No position is to be had from it: whoever goes on goes on behind the batch before."""
    within = {"lsid": {"id": 1}, "txnNumber": Int64(1)}
    context = an_event(
        "insert", ns={"db": "shop", "coll": "contexts"}, fullDocument={"_id": 1, "actor": "Ann"}, **within
    )
    recorder = Recorder(PreImageCache(FixedHistory()), Contexts("contexts"))

    recorded = recorder.record(
        Batch([damaged, context, an_event("insert", fullDocument={"_id": 7}, **within)], Position(b"", ClusterTime(0)))
    )

    assert (len(recorded.rejected), len(recorded.entries)) == (1, 1)
    assert (recorded.safe, recorded.unsafe) == (None, 2)
