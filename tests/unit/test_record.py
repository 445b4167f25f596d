"""Event → history, on events as a server sends them."""

from __future__ import annotations

import datetime as dt
from hashlib import blake2b
from typing import Any

import bson
import pytest
from bson import Binary, Int64, Timestamp
from bson.raw_bson import RawBSONDocument

from change_history.bson import raw
from change_history.bson.values import document_to_python, to_raw
from change_history.reconstruct import fold
from models import ChangeModel, HistoryModel, TransactionModel
from tests.support.handmade_events import TOKEN, WALL_TIME, an_event
from watcher.events import event, record, update

BEFORE = {"_id": 7, "name": "Ada", "tags": ["a", "b", "c"], "address": {"city": "Rome", "zip": "1"}, "n": 1}


def history_of(operation: str, **more: Any) -> dict[str, Any]:
    """What is recorded of an event."""
    return document_to_python(record.record(an_event(operation, **more)))


def an_update(before: dict[str, Any] | None = BEFORE, **diff: Any) -> list[dict[str, Any]]:
    """The changes recorded of an update with a raw delta."""
    image = {} if before is None else {"fullDocumentBeforeChange": before}
    changes = history_of("update", rawUpdateDescription={"$v": 2, "diff": diff}, **image)["changes"]
    assert isinstance(changes, list)
    return changes


def test_the_same_event_is_the_same_document_however_often_it_is_read() -> None:
    """The identity is cluster time and token alone; otherwise a redelivered event would be recorded twice."""
    found = history_of("insert", fullDocument=BEFORE)

    assert (
        found["_id"]
        == (1_795_467_513).to_bytes(4, "big") + (31).to_bytes(4, "big") + blake2b(TOKEN, digest_size=8).digest()
    )
    assert found["resume_token"] == TOKEN
    assert record.record(an_event("delete")) == record.record(an_event("delete"))


def test_what_is_written_is_what_the_model_would_have_written() -> None:
    """The hot path builds bytes by hand; were they not the model's, `HistoryModel` would read another document."""
    written = record.record(
        an_event(
            "update",
            rawUpdateDescription={
                "$v": 2,
                "diff": {"d": {"n": False}, "u": {"name": None}, "stags": {"a": True, "l": 1}, "i": {"a.b": 1}},
            },
            fullDocumentBeforeChange=BEFORE,
            lsid={"id": Binary(bytes(16), 4), "uid": bytes(32)},
            txnNumber=Int64(9),
        )
    )
    model = HistoryModel(
        id=document_to_python(written)["_id"],
        namespace="shop.users",
        document_id=7,
        operation="update",
        timestamp=WALL_TIME,
        cluster_time=Timestamp(1_795_467_513, 31),
        changes=[
            ChangeModel(field="n", old_value=1),
            ChangeModel(field="name", old_value="Ada", new_value=None),
            ChangeModel(field="tags", old_value=["a", "b", "c"], new_value=["a"], truncated_to=1),
            ChangeModel(field="a.b", path=["a.b"], new_value=1),
        ],
        transaction=TransactionModel(session={"id": Binary(bytes(16), 4), "uid": bytes(32)}, number=Int64(9)),
        resume_token=TOKEN,
    )

    assert bson.encode(model.to_mongo()) == written


def test_unknown_values_are_written_as_the_model_would() -> None:
    """Without a pre-image the old value is unknown: neither null nor absent."""
    written = record.record(an_event("update", rawUpdateDescription={"$v": 2, "diff": {"u": {"n": 2}, "i": {"m": 1}}}))
    stored = document_to_python(written)

    assert stored["changes"] == [
        {"field": "n", "new_value": 2, "old_value_from": "unknown"},
        {"field": "m", "new_value": 1, "old_value_from": "unknown", "at_end": True},
    ]
    assert bson.encode(HistoryModel._from_son(stored).to_mongo()) == written


def test_a_collection_event_is_written_as_the_model_would() -> None:
    """With its description laid open."""
    written = record.record(
        an_event(
            "rename",
            to={"db": "shop", "coll": "people"},
            operationDescription={"to": {"db": "shop", "coll": "people"}, "dropTarget": Binary(bytes(16), 4)},
        ).replace(b"documentKey", b"collectionX")
    )
    stored = document_to_python(written)

    assert stored["operation"] == "rename"
    assert stored["description"]["to"] == {"db": "shop", "coll": "people"}
    assert bson.encode(HistoryModel._from_son(stored).to_mongo()) == written


def test_an_insert_is_recorded_field_by_field() -> None:
    """So that a field's history begins with its insert."""
    assert history_of("insert", fullDocument={"_id": 7, "a": None})["changes"] == [
        {"field": "_id", "new_value": 7},
        {"field": "a", "new_value": None},
    ]


def test_a_delete_keeps_every_last_value() -> None:
    """A deleted document must be recoverable from its delete alone."""
    assert history_of("delete", fullDocumentBeforeChange={"_id": 7, "a": 1})["changes"] == [
        {"field": "_id", "old_value": 7},
        {"field": "a", "old_value": 1},
    ]


def test_a_delete_without_image_says_that_what_it_held_is_unknown() -> None:
    """An empty list of changes would read as a delete of an empty document."""
    assert history_of("delete")["changes"] == [{"field": "", "path": [], "old_value_from": "unknown"}]


def test_a_replacement_that_gives_the_id_another_type_is_recorded_whole() -> None:
    """To the server 1.0 and 1 are one id, and replacing takes the new one; folded as a part it would lose the rest."""
    before, after = {"_id": 1.0, "a": 1, "gone": 2}, {"_id": 1, "a": 1, "new": 3}
    event = an_event("replace", documentKey={"_id": 1.0}, fullDocument=after, fullDocumentBeforeChange=before)

    assert fold.fold(bson.encode(before), [record.record(event)]) == bson.encode(after)
    assert fold.latest([record.record(event)]) == bson.encode(after)


def test_a_replacement_is_recorded_as_the_fields_that_differ() -> None:
    """Not as one change of everything; sub-documents likewise."""
    after = {"_id": 7, "name": "Ada", "tags": ["a"], "address": {"city": "Oslo", "zip": "1"}, "m": 1}
    found = history_of("replace", fullDocument=after, fullDocumentBeforeChange=BEFORE)

    assert found["changes"] == [
        {"field": "n", "old_value": 1},
        {"field": "tags", "old_value": ["a", "b", "c"], "new_value": ["a"]},
        {"field": "address.city", "old_value": "Rome", "new_value": "Oslo"},
        {"field": "m", "new_value": 1},
    ]
    assert "key_order" not in found


def test_a_replacement_that_only_reorders_is_not_lost() -> None:
    """The order of keys is part of the document."""
    found = history_of(
        "replace", fullDocument={"_id": 7, "b": 1, "a": 1}, fullDocumentBeforeChange={"_id": 7, "a": 1, "b": 1}
    )

    assert found["changes"] == []
    assert found["key_order"] == ["_id", "b", "a"]


@pytest.mark.parametrize(
    ("diff", "changes"),
    [
        ({"u": {"name": "Bo"}}, [{"field": "name", "old_value": "Ada", "new_value": "Bo"}]),
        ({"i": {"x": 1}}, [{"field": "x", "new_value": 1}]),
        ({"i": {"n": 2}}, [{"field": "n", "old_value": 1, "new_value": 2, "at_end": True}]),
        ({"d": {"n": False}}, [{"field": "n", "old_value": 1}]),
        ({"saddress": {"u": {"city": "Oslo"}}}, [{"field": "address.city", "old_value": "Rome", "new_value": "Oslo"}]),
        ({"stags": {"a": True, "u1": "B"}}, [{"field": "tags.1", "old_value": "b", "new_value": "B"}]),
        ({"stags": {"a": True, "u3": "d"}}, [{"field": "tags.3", "new_value": "d"}]),
        (
            {"stags": {"a": True, "l": 2, "u0": "A"}},
            [
                {"field": "tags", "old_value": ["a", "b", "c"], "new_value": ["a", "b"], "truncated_to": 2},
                {"field": "tags.0", "old_value": "a", "new_value": "A"},
            ],
        ),
    ],
    ids=["set", "new", "moved", "removed", "nested", "element", "pushed", "truncated and set"],
)
def test_every_kind_of_update_has_its_old_and_new_value(diff: dict[str, Any], changes: list[dict[str, Any]]) -> None:
    """Each section of the server's delta, with old values from the pre-image."""
    assert an_update(**diff) == changes


def test_keys_that_look_like_paths_are_told_apart() -> None:
    """`{"a.b": 1, a: {b: 1, "0": 1}}`: three different places, two of them written `a.b`."""
    before = {"_id": 7, "a.b": 1, "a": {"b": 2, "0": 3}}

    assert an_update(before, u={"a.b": 10}, sa={"u": {"b": 20, "0": 30}}) == [
        {"field": "a.b", "path": ["a.b"], "old_value": 1, "new_value": 10},
        {"field": "a.b", "old_value": 2, "new_value": 20},
        {"field": "a.0", "path": ["a", "0"], "old_value": 3, "new_value": 30},
    ]


@pytest.mark.parametrize("missing", ["_id", "operationType", "clusterTime"])
def test_an_event_without_a_place_in_history_is_an_error(missing: str) -> None:
    """So that it is rejected and kept, rather than recorded wrongly."""
    broken = {key: value for key, value in bson.decode(an_event("insert")).items() if key != missing}

    with pytest.raises(event.UnreadableEventError, match=missing):
        record.record(bson.encode(broken))


@pytest.mark.parametrize(
    "array", [{"l": 2**40}, {"l": -1}, {"l": "1"}, {"u4000000000": 1}, {"u-1": 1}, {"s4000000000": {"u": {"n": 1}}}]
)
def test_an_array_that_cannot_be_is_set_aside(array: dict[str, Any]) -> None:
    """Otherwise such an event ends the daemon, for want of memory or with an error that nobody expects."""
    delta = {"$v": 2, "diff": {"sl": {"a": True, **array}}}
    data = an_event("update", rawUpdateDescription=delta, fullDocumentBeforeChange={"_id": 7, "l": [1]})
    with pytest.raises(update.UnknownUpdateFormatError):
        record.followed(event.parse(data))


def test_an_update_in_an_unknown_form_is_an_error() -> None:
    """A later server's delta must not be half understood."""
    with pytest.raises(update.UnknownUpdateFormatError):
        an_update(z={"what": "ever"})


def test_an_operation_nobody_knows_is_recorded_as_the_server_names_it() -> None:
    """Whatever a later server sends is history too."""
    found = history_of("refineCollectionShardKey", operationDescription={"shardKey": {"a": 1}}, extra=1)

    assert (found["operation"], found["changes"]) == ("refineCollectionShardKey", [])
    assert found["description"] == {"shardKey": {"a": 1}, "extra": 1}


def test_an_event_of_an_old_server_gets_its_time_from_the_cluster() -> None:
    """Before 6.0 there is no wall time."""
    old = {key: value for key, value in bson.decode(an_event("delete")).items() if key != "wallTime"}
    found = document_to_python(record.record(bson.encode(old)))

    assert found["timestamp"] == dt.datetime.fromtimestamp(1_795_467_513, dt.UTC)


def test_an_update_of_a_key_that_is_there_twice_is_recorded_also_without_a_raw_description() -> None:
    """Looking for the path in the images must not set the whole event aside."""
    twice = raw.from_fields([(b"_id", (raw.INT32, raw.int32(7))), *[(b"o", to_raw({"x": 1}))] * 2])
    data = an_event(
        "update",
        updateDescription={"updatedFields": {"o.x": 2}, "removedFields": [], "truncatedArrays": []},
        fullDocumentBeforeChange=RawBSONDocument(twice),
    )
    changes = document_to_python(record.record(data))["changes"]
    assert changes == [{"field": "o.x", "new_value": 2, "old_value_from": "unknown"}]
