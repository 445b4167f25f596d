"""The actor of an event, as it is kept."""

from __future__ import annotations

from typing import Any

import bson
import pytest
from bson import Int64, ObjectId

from change_history import Actor
from change_history.bson import raw
from change_history.bson.values import to_raw
from change_history.stored import actor, chunks
from change_history.stored.event import to_event
from models import HistoryModel
from tests.support.handmade_events import an_event
from watcher.events import record

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
