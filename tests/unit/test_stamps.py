"""Stamps: a field names the writer only where this very event wrote it. A stale one on a raw write is a lie."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import bson
import pytest
from bson import Decimal128, Int64, ObjectId

from change_history.bson.cluster_time import BEGINNING_OF_TIME
from change_history.bson.values import document_to_python
from change_history.redaction_rules import Rule
from tests.support.actors import NoHistory
from tests.support.handmade_events import an_event
from watcher.events import fast_path, record
from watcher.stream.actors.stamps import Stamps
from watcher.stream.batch import Batch, Position
from watcher.stream.pre_image_cache import PreImageCache
from watcher.stream.recorder import Recorder

BY = {
    "_id": 7,
    "n": 1,
    "updated_by": "alice",
    "updated_at": datetime(2026, 1, 1, tzinfo=UTC),
    "meta": {"user": "ann", "x": 1},
}
LATER = datetime(2026, 1, 2, tzinfo=UTC)


def stamped(event: bytes, *fields: str, known: dict[str, Any] | None = None) -> Any:
    """Who is believed to have stamped an event."""
    before = bson.encode(known) if known is not None else None
    found = Stamps(fields).actor_of(record.record(event, before), event, before)
    if found is None:
        return None
    actor = document_to_python(found)
    assert actor["provenance"] == "stamp"
    return actor["id"]


def update(diff: dict[str, Any], before: dict[str, Any] | None = BY) -> bytes:
    """An update as the oplog has it, of a document as it was."""
    image = {"fullDocumentBeforeChange": before} if before is not None else {}
    return an_event("update", rawUpdateDescription={"$v": 2, "diff": diff}, **image)


def replace(after: dict[str, Any], before: dict[str, Any] | None = BY) -> bytes:
    """A replacement."""
    image = {"fullDocumentBeforeChange": before} if before is not None else {}
    return an_event("replace", fullDocument={"_id": 7, **after}, **image)


INSERT = an_event("insert", fullDocument=BY)


@pytest.mark.parametrize(
    ("event", "who"),
    [
        (INSERT, "alice"),
        (update({"u": {"n": 2, "updated_by": "bob"}}), "bob"),
        (update({"i": {"updated_by": "bob"}}, {"_id": 7}), "bob"),
        (update({"u": {"updated_by": "bob"}}, None), "bob"),
        (replace({"updated_by": "bob"}), "bob"),
        (update({"u": {"n": 2}}), None),  # the stamp is alice's, the write is not
        (update({"u": {"n": 2}}, None), None),
        (update({"d": {"updated_by": False}}), None),
        (update({"u": {"updated_by": None}}), None),
        (update({"u": {"updated_by": {"name": "bob"}}}), None),
        (update({"u": {"updated_by": ["bob"]}}), None),
        (update({"u": {"updated_by": "x" * 5000}}), None),
        (update({"u": {"updated_by": ""}}), None),
        (update({"u": {"updated_by": 1.5}}), None),
        (update({"u": {"updated_by": Decimal128("7")}}), None),
        (replace({"updated_by": "alice", "n": 2}), None),  # read, edited by hand, and saved whole
        (replace({"updated_by": "bob"}, None), None),  # nobody knows whether it was bob's before
        (an_event("delete", fullDocumentBeforeChange=BY), None),
        (an_event("insert", fullDocument={"_id": 7, "n": 1}), None),
        (an_event("drop"), None),
    ],
)
def test_a_stamp_is_believed_only_where_the_event_wrote_it(event: bytes, who: str | None) -> None:
    """Disaster: a raw edit of a document is told of whoever stamped it last."""
    assert stamped(event, "updated_by") == who


@pytest.mark.parametrize(
    ("event", "who"),
    [
        (INSERT, "ann"),
        (update({"smeta": {"u": {"user": "bea"}}}), "bea"),
        (update({"smeta": {"u": {"x": 2}}}), None),
        (update({"u": {"meta": {"user": "bea"}}}), "bea"),
        (update({"u": {"meta": {"user": "ann", "x": 2}}}), None),  # set as a whole, its user as it was
        (update({"u": {"meta": {"user": "bea"}}}, None), None),
        (update({"i": {"meta": {"user": "bea"}}}, {"_id": 7}), "bea"),
        (replace({"meta": {"user": "bea"}}), "bea"),
        (replace({"meta": {"user": "ann"}}), None),
        (update({"u": {"meta": "bea"}}), None),
    ],
)
def test_a_stamp_can_lie_deeper(event: bytes, who: str | None) -> None:
    """Setting what is around it writes it only if it becomes another."""
    assert stamped(event, "meta.user") == who


@pytest.mark.parametrize(
    ("event", "who"),
    [
        (update({"u": {"n": 2, "updated_at": LATER}}), "alice"),  # she stamps again
        (update({"u": {"n": 2, "updated_at": LATER, "updated_by": "bob"}}), "bob"),
        (update({"u": {"n": 2}}), None),
        (update({"u": {"n": 2, "updated_at": LATER}}, None), None),
        (update({"u": {"updated_at": LATER}, "d": {"updated_by": False}}), None),
        (replace({**BY, "updated_at": LATER}), "alice"),
        (replace({**BY, "n": 2}), None),
        (update({"d": {"updated_at": False}}), None),
    ],
)
def test_a_companion_tells_that_the_same_person_stamped_again(event: bytes, who: str | None) -> None:
    """The value is the same, so the server does not name the field; the time beside it is another."""
    assert stamped(event, "updated_by:updated_at") == who


def test_a_companion_is_compared_with_what_history_tells_where_there_is_no_pre_image() -> None:
    """The document before the event is then known from history."""
    assert stamped(update({"u": {"updated_at": LATER}}, None), "updated_by:updated_at", known=BY) == "alice"


@pytest.mark.parametrize("name", [ObjectId(), 7, Int64(7), "é"])
def test_a_name_keeps_its_type(name: Any) -> None:
    """Applications name their users by whatever they have."""
    found = stamped(update({"u": {"updated_by": name}}), "updated_by")
    assert (type(found), found) == (type(name), name)


def test_of_several_fields_the_first_that_was_written_counts() -> None:
    """Each application stamps in its own way."""
    fields = ("updated_by", "meta.user")
    assert stamped(INSERT, *fields) == "alice"
    assert stamped(update({"smeta": {"u": {"user": "bea"}}}), *fields) == "bea"
    assert stamped(update({"u": {"updated_by": None}, "smeta": {"u": {"user": "bea"}}}), *fields) == "bea"


def test_a_stamp_that_a_document_has_twice_names_nobody() -> None:
    """Nobody knows which of the two counts."""
    twice = bson.encode({"_id": 7, "by": "a", "ty": "b"}).replace(b"ty\0", b"by\0")
    event = bson.encode({**bson.decode(an_event("insert")), "fullDocument": bson.raw_bson.RawBSONDocument(twice)})
    assert stamped(event, "by") is None


@pytest.mark.parametrize("rule", ["shop.users:updated_by=drop", "shop.users:updated_by=hash", "*.*:updated_by=mask"])
def test_a_stamp_that_is_withheld_names_nobody(rule: str) -> None:
    """Disaster: what a rule keeps out of the changes stands in the actor. Also where a companion leads to it."""
    redaction = fast_path.redaction([Rule.parse(rule)], b"k" * 32)
    events = [
        INSERT,
        update({"u": {"updated_by": "bob"}}),
        update({"u": {"updated_at": LATER}}),
        replace({**BY, "updated_by": "bob", "updated_at": LATER}),
    ]
    recorder = Recorder(PreImageCache(NoHistory()), None, Stamps(["updated_by:updated_at"]), redaction)
    recorded = recorder.record(Batch(events, Position(b"", BEGINNING_OF_TIME)))
    assert len(recorded.entries) == len(events)
    for entry in recorded.entries:
        assert not any(name in entry.document for name in (b"alice", b"bob", b"\x03actor\x00"))
