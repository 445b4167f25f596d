"""Somebody with full rights on the history database changes it. Whatever it is, `verify` finds it and names it."""

from __future__ import annotations

import datetime as dt
import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from bson import Binary, Int64, Timestamp
from bson.raw_bson import RawBSONDocument

from change_history.bson import raw
from change_history.bson.cluster_time import ClusterTime
from change_history.seals import records, tree
from change_history.seals.records import RECORD_BYTES
from change_history.seals.seal import Seal, digest_of
from change_history.seals.store import Store
from change_history.seals.values import Values
from change_history.seals.verification import verify
from change_history.stored.amendments import AmendmentKind, note
from change_history.stored.reading import RAW
from tests.support import several_daemons
from tests.support.sealing import Original, SealedRecording, a_key, a_sealer, tampered
from watcher.gaps.gap import Gaps
from watcher.sealing.sealer import Terms
from watcher.stream.batch import Lost

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pymongo.database import Database


KEY = a_key()
ANOTHER = a_key()


@pytest.fixture(scope="module")
def base(replica_set_uri: str) -> Iterator[tuple[Database[Any], Original]]:
    """A history in seven seals: baselines, updates, a transaction, a document in pieces, deletes, a gap."""
    from pymongo import MongoClient

    with MongoClient[dict[str, Any]](replica_set_uri) as client:
        name = f"adversary_{os.urandom(4).hex()}"
        watched = client[name]
        watched.create_collection("a", changeStreamPreAndPostImages={"enabled": True})
        with SealedRecording(client, name, key=KEY) as recording, pytest.MonkeyPatch.context() as patch:
            patch.setattr("watcher.stream.writer.LARGEST_DOCUMENT", 50_000)
            patch.setattr("change_history.stored.chunks.LARGEST_DOCUMENT", 50_000)
            several_daemons.own(recording.history, several_daemons.fence(recording.history)).store(
                [several_daemons.entry(number) for number in range(20)]
            )
            for turn in range(6):
                watched.a.insert_many([{"_id": turn * 10 + n, "n": 1, "name": f"name {n}"} for n in range(8)])
                for n in range(8):
                    watched.a.update_one({"_id": turn * 10 + n}, {"$set": {"n": n + 2, "name": "other"}})
                with client.start_session() as session, session.start_transaction():
                    watched.a.update_one({"_id": turn * 10 + 1}, {"$set": {"paid": True}}, session=session)
                    watched.a.update_one({"_id": turn * 10 + 2}, {"$set": {"paid": True}}, session=session)
                if turn == 2:
                    watched.a.insert_one({"_id": "large", "text": "x" * 100_000})
                    watched.a.delete_one({"_id": "large"})
                watched.a.delete_one({"_id": turn * 10})
                recording.record()
                recording.seal()
            gaps = Gaps(recording.history, several_daemons.fence(recording.history), several_daemons.SCOPE)
            gaps.write(Lost(several_daemons.position(3), "a cause"), several_daemons.position(9))
            recording.seal()
            assert recording.history.history_parts.count_documents({})
            report = verify(recording.history, keys=[KEY.public])
            assert report.findings == []
            assert (report.unsealed, report.amended, report.seals) == (0, 0, 7)
            yield recording.history, Original(recording.history)
        client.drop_database(name)


def _update(database: Database[Any], turn: int = 3, number: int = 4) -> dict[str, Any]:
    """The event of an update."""
    found = database.history.find_one({"operation": "update", "document_id": turn * 10 + number})
    assert found is not None
    return dict(found)


def _change(change: dict[str, Any], **query: Any) -> Callable[[Database[Any]], bytes]:
    """An attack that changes one event."""

    def attack(database: Database[Any]) -> bytes:
        target = database.history.find_one(query) if query else _update(database)
        assert target is not None
        assert database.history.update_one({"_id": target["_id"]}, change).modified_count == 1
        return bytes(target["_id"])

    return attack


def _delete(database: Database[Any]) -> bytes:
    target = _update(database)
    database.history.delete_one({"_id": target["_id"]})
    return bytes(target["_id"])


def _delete_all_of_one(database: Database[Any]) -> bytes:
    first = database.history.find_one({"document_id": 34}, sort=[("_id", 1)])
    assert first is not None
    database.history.delete_many({"document_id": 34})
    return bytes(first["_id"])


def _raw(database: Database[Any], entry_id: bytes) -> bytes:
    stored = database.get_collection("history", codec_options=RAW).find_one({"_id": Binary(entry_id)})
    assert stored is not None
    return bytes(stored.raw)


def _put(database: Database[Any], entry: bytes) -> bytes:
    database.history.insert_one(RawBSONDocument(entry))
    return records.id_of(entry)


def _move(database: Database[Any]) -> bytes:
    target = _update(database)
    entry = _raw(database, target["_id"])
    database.history.delete_one({"_id": target["_id"]})
    return _put(database, records.with_id(entry, _earlier(target["_id"])))


def _earlier(entry_id: bytes) -> bytes:
    return (int.from_bytes(entry_id[:8], "big") - (5 << 32)).to_bytes(8, "big") + entry_id[8:]


def _move_consistently(database: Database[Any]) -> bytes:
    target = _update(database)
    fields = raw.fields(_raw(database, target["_id"]))
    moved = _earlier(target["_id"])
    fields[b"_id"] = (raw.BINARY, raw.int32(16) + b"\x00" + moved)
    fields[b"cluster_time"] = (raw.TIMESTAMP, ClusterTime.from_id(moved).payload)
    database.history.delete_one({"_id": target["_id"]})
    return _put(database, raw.from_fields(fields.items()))


def _copy(database: Database[Any]) -> bytes:
    target = _update(database)
    return _put(database, records.with_id(_raw(database, target["_id"]), _earlier(target["_id"])))


def _copy_at_the_same_time(database: Database[Any]) -> bytes:
    target = _update(database)
    return _put(database, records.with_id(_raw(database, target["_id"]), target["_id"][:8] + b"\x01" * 8))


def _insert_again_under_another_id(database: Database[Any]) -> bytes:
    target = _update(database)
    entry = _raw(database, target["_id"])
    database.history.delete_one({"_id": target["_id"]})
    return _put(database, records.with_id(entry, target["_id"][:8] + b"\x02" * 8))


def _odd_id(database: Database[Any]) -> None:
    database.history.insert_one({"_id": "made up", "operation": "update", "changes": []})


def _swap_contents(database: Database[Any]) -> bytes:
    one, other = _update(database, 3, 4), _update(database, 3, 5)
    ids = one["_id"], other["_id"]
    entries = [_raw(database, each) for each in ids]
    database.history.delete_many({"_id": {"$in": list(ids)}})
    _put(database, records.with_id(entries[0], ids[1]))
    _put(database, records.with_id(entries[1], ids[0]))
    return bytes(min(ids))


def _swap_order(database: Database[Any]) -> bytes:
    """Two events of one transaction change places."""
    one, other = database.history.find({"transaction": {"$exists": True}}, sort=[("_id", 1)], limit=2)
    assert one["cluster_time"] == other["cluster_time"]
    database.history.update_one({"_id": one["_id"]}, {"$set": {"resume_token": other["resume_token"]}})
    database.history.update_one({"_id": other["_id"]}, {"$set": {"resume_token": one["resume_token"]}})
    return bytes(one["_id"])


def _rewrite(database: Database[Any], number: int, change: dict[str, Any], *, key: Any = None) -> None:
    """Replace what a seal says, with a digest that fits."""
    stored = database.seals.find_one({"_id": number})
    assert stored is not None
    said = json.loads(stored["seal"]) | change
    text = json.dumps(said, sort_keys=True, separators=(",", ":"))
    digest = digest_of(text)
    signature = key.sign(digest) if key is not None else stored["signature"]
    database.seals.update_one({"_id": number}, {"$set": {"seal": text, "digest": digest, "signature": signature}})


def _seal_text(database: Database[Any]) -> None:
    stored = database.seals.find_one({"_id": 4})
    assert stored is not None
    database.seals.update_one({"_id": 4}, {"$set": {"seal": stored["seal"].replace('"count":', '"count":1')}})


def _leaf(database: Database[Any], entry_id: bytes) -> tuple[dict[str, Any], int]:
    """The chunk that has the record of an event, and where in it."""
    for chunk in database.seal_leaves.find():
        for at in range(0, len(chunk["records"]), RECORD_BYTES):
            if chunk["records"][at : at + 16] == entry_id:
                return chunk, at
    raise AssertionError("no record")


def _forge_leaf(database: Database[Any], *, seal: bool = False, key: Any = None) -> bytes:
    """Change an event, and commit to what it is now."""
    entry_id = _change({"$set": {"changes.0.new_value": 99}})(database)
    chunk, at = _leaf(database, entry_id)
    record = records.commit([_raw(database, entry_id)])[0]
    forged = chunk["records"][:at] + record + chunk["records"][at + RECORD_BYTES :]
    root = tree.root(tree.leaves(records.in_tree(records.split(forged))))
    database.seal_leaves.update_one({"_id": chunk["_id"]}, {"$set": {"records": Binary(forged), "root": Binary(root)}})
    if seal:
        stored = database.seals.find_one({"leaves": Binary(chunk["_id"][:16])})
        assert stored is not None
        _rewrite(database, stored["_id"], {"root": root.hex()}, key=key)
    return entry_id


def _salt(database: Database[Any], salt: bytes, *, changed: bool = False) -> bytes:
    entry_id = bytes(_update(database)["_id"])
    chunk, at = _leaf(database, entry_id)
    forged = chunk["records"][: at + 49] + salt + chunk["records"][at + 65 :]
    database.seal_leaves.update_one({"_id": chunk["_id"]}, {"$set": {"records": Binary(forged)}})
    if changed:
        _change({"$set": {"changes.0.new_value": 99}})(database)
    return entry_id


def _relabelled(database: Database[Any]) -> None:
    """Delete an event, and have its record say that it has expired."""
    entry_id = _delete(database)
    chunk, at = _leaf(database, entry_id)
    forged = chunk["records"][:at] + records.gone(entry_id, records.EXPIRED) + chunk["records"][at + 65 :]
    database.seal_leaves.update_one({"_id": chunk["_id"]}, {"$set": {"records": Binary(forged)}})


def _noted(kind: AmendmentKind, change: dict[str, Any]) -> Callable[[Database[Any]], bytes]:
    """Change an event with a note that says something harmless of it."""

    def attack(database: Database[Any]) -> bytes:
        entry_id = _change(change)(database)
        note(database, kind, [entry_id])
        return entry_id

    return attack


def _noted_and_sealed(kind: AmendmentKind, change: dict[str, Any]) -> Callable[[Database[Any]], bytes]:
    """The same, and the daemon goes on sealing."""

    def attack(database: Database[Any]) -> bytes:
        entry_id = _noted(kind, change)(database)
        _seal(database)
        return entry_id

    return attack


def _removed_and_noted(
    database: Database[Any], kind: AmendmentKind = AmendmentKind.EXPIRED, *, sealed: bool = False
) -> bytes:
    """Remove an event, and say that it has expired, or was erased, where nothing was."""
    entry_id = _delete(database)
    note(database, kind, [entry_id])
    if sealed:
        _seal(database)
    return entry_id


def _seal(database: Database[Any]) -> None:
    last = Store(database).last()
    assert last is not None
    reached = ClusterTime(max(int(text.split(":")[0]) for text in last.seal.streams.values()) + 10 << 32)
    a_sealer(database, "default", Terms(1.0, KEY), lambda: reached, ClusterTime(0)).now()


def _swap_seals(database: Database[Any]) -> None:
    one, other = database.seals.find({"_id": {"$in": [3, 4]}}, sort=[("_id", 1)])
    database.seals.replace_one({"_id": 3}, other | {"_id": 3})
    database.seals.replace_one({"_id": 4}, one | {"_id": 4})


def _remove_seal(number: int) -> Callable[[Database[Any]], None]:
    def attack(database: Database[Any]) -> None:
        assert database.seals.delete_one({"_id": number}).deleted_count

    return attack


def _remove_first(**query: Any) -> Callable[[Database[Any]], bytes]:
    def attack(database: Database[Any]) -> bytes:
        target = database.history.find_one_and_delete(query)
        assert target is not None
        return bytes(target["_id"])

    return attack


def _remove_leaves(database: Database[Any]) -> None:
    database.seal_leaves.delete_one({"_id": _leaf(database, _update(database)["_id"])[0]["_id"]})


def _reorder_leaves(database: Database[Any]) -> None:
    chunk, _ = _leaf(database, _update(database)["_id"])
    forged = b"".join(reversed(records.split(chunk["records"])))
    database.seal_leaves.update_one({"_id": chunk["_id"]}, {"$set": {"records": Binary(forged)}})


def _cut_off_the_beginning(database: Database[Any]) -> None:
    """Remove the first seals and what they cover."""
    stored = database.seals.find_one({"_id": 1})
    assert stored is not None
    (chunk,) = Store(database).chunks(bytes(stored["leaves"]))
    ids = [Binary(record[:16]) for record in records.split(chunk.records)]
    database.history.delete_many({"_id": {"$in": ids}})
    database.seal_leaves.delete_one({"_id": Binary(chunk.id)})
    database.seals.delete_one({"_id": 1})


def _piece_changed(database: Database[Any]) -> bytes:
    head = database.history.find_one({"parts": {"$exists": True}})
    assert head is not None
    database.history_parts.update_one({"_id": head["parts"][0]}, {"$set": {"data": Binary(b"something else")}})
    return bytes(head["_id"])


def _piece_removed(database: Database[Any]) -> bytes:
    head = database.history.find_one({"parts": {"$exists": True}})
    assert head is not None
    database.history_parts.delete_one({"_id": head["parts"][0]})
    return bytes(head["_id"])


def _lagging(database: Database[Any]) -> bytes:
    """Add an event, and make it seem that a stream is far behind and may have just recorded it."""
    checkpoint = {"cluster_time": Timestamp(1, 1), "updated_at": dt.datetime.now(dt.UTC)}
    database.checkpoints.update_one({"_id": "default"}, {"$set": checkpoint})
    database.checkpoints.insert_one({"_id": "another", **checkpoint})
    return _copy(database)


def _hide(database: Database[Any], entry_id: bytes, **stored: bytes) -> None:
    """Let the record of an event not be found by the bounds that are stored beside it, which nothing signs."""
    chunk, _ = _leaf(database, entry_id)
    hidden = {name: Binary(value) for name, value in (stored or {"last": bytes(16)}).items()}
    database.seal_leaves.update_one({"_id": chunk["_id"]}, {"$set": hidden})


def _removed_and_hidden(database: Database[Any]) -> bytes:
    entry_id = _delete(database)
    _hide(database, entry_id)
    return entry_id


def _changed_and_hidden(database: Database[Any]) -> bytes:
    """Change an event, hide its record, and say that it came late."""
    entry_id = _noted(AmendmentKind.LATE, {"$set": {"changes.0.new_value": 99}})(database)
    _hide(database, entry_id, first=b"\xff" * 16)
    return entry_id


def _bounds_alone(database: Database[Any]) -> None:
    """Whoever erases would not find the salts that are to be removed."""
    _hide(database, bytes(_update(database)["_id"]))


def _stored_root(database: Database[Any]) -> None:
    """Proofs would be made with it."""
    _hide(database, bytes(_update(database)["_id"]), root=bytes(32))


ATTACKS: dict[str, Callable[[Database[Any]], bytes | None]] = {
    "an event removed, and its record hidden": _removed_and_hidden,
    "a value, its record hidden, noted as late": _changed_and_hidden,
    "where a record is found": _bounds_alone,
    "the stored root of a chunk": _stored_root,
    "a new value": _change({"$set": {"changes.0.new_value": 99}}),
    "an old value": _change({"$set": {"changes.0.old_value": 99}}),
    "an old value taken away": _change({"$unset": {"changes.0.old_value": ""}}),
    "a value of another type, and the same number": _change({"$set": {"changes.0.new_value": Int64(6)}}),
    "the name of a field": _change({"$set": {"changes.0.field": "m"}}),
    "a change left out": _change({"$pop": {"changes": 1}}),
    "a change added": _change({"$push": {"changes": {"field": "m", "new_value": 1}}}),
    "a field of our own making": _change({"$set": {"seen": True}}),
    "the time by the clock": _change({"$set": {"timestamp": dt.datetime(2020, 1, 1, tzinfo=dt.UTC)}}),
    "the cluster time": _change({"$set": {"cluster_time": Timestamp(9, 9)}}),
    "an actor put in": _change({"$set": {"actor": {"id": "somebody else"}}}),
    "the namespace": _change({"$set": {"namespace": "other.a"}}),
    "the document": _change({"$set": {"document_id": 35}}),
    "the operation": _change({"$set": {"operation": "replace"}}),
    "the transaction": _change({"$unset": {"transaction": ""}}, transaction={"$exists": True}),
    "the number of a transaction": _change({"$inc": {"transaction.number": 1}}, transaction={"$exists": True}),
    "the position": _change({"$set": {"resume_token": Binary(b"\x82elsewhere")}}),
    "the order within a transaction": _swap_order,
    "a baseline": _change({"$set": {"changes.1.new_value": 99}}, operation="baseline", document_id=7),
    "a delete": _change({"$set": {"operation": "update"}}, operation="delete"),
    "a gap made shorter": _change({"$set": {"description.to": Timestamp(4, 1)}}, operation="gap"),
    "a gap called reconciled": _change({"$set": {"description.level": True}}, operation="gap"),
    "a gap removed": _remove_first(operation="gap"),
    "an event removed": _delete,
    "a baseline removed": _remove_first(operation="baseline"),
    "all events of a document removed": _delete_all_of_one,
    "an event moved": _move,
    "an event moved, and its cluster time with it": _move_consistently,
    "an event copied to another time": _copy,
    "an event copied within its time": _copy_at_the_same_time,
    "an event under another id": _insert_again_under_another_id,
    "something that is no event added": _odd_id,
    "two events that have swapped their contents": _swap_contents,
    "a large event's piece": _piece_changed,
    "a large event's piece removed": _piece_removed,
    "an event added while a stream seems to lag": _lagging,
    "a seal's text": _seal_text,
    "a seal replaced, its digest too": lambda database: _rewrite(database, 4, {"count": 3}),
    "the last seal replaced, its digest too": lambda database: _rewrite(
        database, 7, {"time": "2020-01-01T00:00:00+00:00"}
    ),
    "a seal signed with another key": lambda database: _rewrite(database, 7, {"key": ANOTHER.public}, key=ANOTHER),
    "a signature taken away": lambda database: _rewrite(database, 7, {"key": ""}),
    "a seal removed": _remove_seal(4),
    "the first seal removed": _remove_seal(1),
    "two seals swapped": _swap_seals,
    "the beginning cut off": _cut_off_the_beginning,
    "leaves removed": _remove_leaves,
    "leaves in another order": _reorder_leaves,
    "a leaf that fits a changed event": lambda database: _forge_leaf(database) and None,
    "a leaf, its root and its seal": lambda database: _forge_leaf(database, seal=True) and None,
    "a leaf, its root and its seal, signed with another key": lambda database: (
        _forge_leaf(database, seal=True, key=ANOTHER) and None
    ),
    "a salt": lambda database: _salt(database, b"s" * 16),
    "a salt removed": lambda database: _salt(database, bytes(16)),
    "a salt removed and the event changed": lambda database: _salt(database, bytes(16), changed=True),
    "a record that says that an event has expired": _relabelled,
    "a value, noted as an actor": _noted(AmendmentKind.ACTOR, {"$set": {"changes.0.new_value": 99}}),
    "a value and an actor, noted as an actor": _noted(
        AmendmentKind.ACTOR, {"$set": {"changes.0.new_value": 99, "actor": {"id": "x"}}}
    ),
    "a value, noted as an actor, and sealed on": _noted_and_sealed(
        AmendmentKind.ACTOR, {"$set": {"changes.0.new_value": 99}}
    ),
    "a value, noted as late": _noted(AmendmentKind.LATE, {"$set": {"changes.0.new_value": 99}}),
    "a value, noted as late, and sealed on": _noted_and_sealed(
        AmendmentKind.LATE, {"$set": {"changes.0.new_value": 99}}
    ),
    "a value, noted as a gap": _noted(AmendmentKind.GAP, {"$set": {"changes.0.new_value": 99}}),
    "a value, noted as a gap, and sealed on": _noted_and_sealed(
        AmendmentKind.GAP, {"$set": {"changes.0.new_value": 99}}
    ),
    "an event removed, noted as expired": _removed_and_noted,
    "an event removed, noted as expired, and sealed on": lambda database: _removed_and_noted(database, sealed=True),
    "a value, noted as erased": _noted(AmendmentKind.ERASED, {"$set": {"changes.0.new_value": 99}}),
    "a value, noted as erased, and sealed on": _noted_and_sealed(
        AmendmentKind.ERASED, {"$set": {"changes.0.new_value": 99}}
    ),
    "an event removed, noted as erased": lambda database: _removed_and_noted(database, AmendmentKind.ERASED),
    "an event made a gap, and noted": _noted(AmendmentKind.GAP, {"$set": {"operation": "gap"}}),
}
"""Each changes the database, and gives the event that is to be named; None: a seal is named instead."""


def test_there_are_thirty_attacks_and_more() -> None:
    """They are what proves anything here."""
    assert len(ATTACKS) > 50


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_change_of_history_is_found_and_named(base: tuple[Database[Any], Original], attack: str) -> None:
    """With all rights on the history database, and without the key and the seals that are kept outside."""
    database, original = base
    with tampered(original):
        target = ATTACKS[attack](database)
        report = verify(database, keys=[KEY.public])

    assert report.findings, attack
    named = {found.id for found in report.findings}
    if target is not None and "a leaf" not in attack:
        assert target in named, (attack, report.findings)
    elif "leaf" in attack or target is None:
        assert any(found.seal is not None or found.what == "added" for found in report.findings)
    assert verify(database, keys=[KEY.public]).findings == []
    if target is not None:
        innocent = {found.id for found in report.findings if found.id is not None} - {target}
        assert len(innocent) <= 5, (attack, report.findings)


SAID: list[Any] = [
    None,
    5,
    -1.5,
    True,
    "",
    "x",
    "\ud800",
    [],
    [1],
    {},
    {"default": 5},
    {"default": None},
    {"default": "9:x"},
]


@pytest.mark.parametrize("field", sorted(Seal.__dataclass_fields__))
def test_nonsense_that_a_seal_says_does_not_stop_whoever_verifies(
    base: tuple[Database[Any], Original], field: str
) -> None:
    """A number for a key, or for how far a stream is covered, ended `verify` in a traceback."""
    database, original = base
    for said in SAID:
        with tampered(original):
            entry_id = _delete(database)
            _rewrite(database, 7, {field: said})
            report = verify(database, keys=[KEY.public])
        named = {found.id for found in report.findings} | {found.seal for found in report.findings}
        assert {entry_id, 7} <= named, (field, said, report.findings)


def test_a_seal_that_is_nested_too_deep_to_be_read_is_named(base: tuple[Database[Any], Original]) -> None:
    """It ended `verify` in a `RecursionError`."""
    database, original = base
    with tampered(original):
        database.seals.update_one({"_id": 4}, {"$set": {"seal": "[" * 100_000}})
        report = verify(database, keys=[KEY.public])
    assert any("seal 4 cannot be read" in found.said for found in report.findings)


NONSENSE: list[Any] = [None, 500, 2**40, 1.5, "x", b"x", [b"x"], {}, dt.datetime(9999, 1, 1, tzinfo=dt.UTC)]
PLACES = [
    *[("checkpoints", field) for field in ("_id", "cluster_time", "updated_at", "expires_at", "begun")],
    *[("seals", field) for field in ("_id", "seal", "digest", "signature", "leaves", "at")],
    *[("seal_leaves", field) for field in ("_id", "first", "last", "root", "records", "by", "at")],
    *[("amendments", field) for field in ("_id", "kind", "ids", "at", "had")],
]


@pytest.mark.parametrize("place", PLACES, ids=".".join)
def test_nonsense_beside_history_does_not_stop_whoever_verifies(
    base: tuple[Database[Any], Original], place: tuple[str, str]
) -> None:
    """A checkpoint with a word for a time ended `verify` in a traceback, before it could name what was removed."""
    database, original = base
    name, field = place
    for nonsense in NONSENSE:
        if field == "_id" and isinstance(nonsense, list):
            continue
        with tampered(original):
            entry_id = _delete(database)
            note(database, AmendmentKind.GAP, [bytes(16)])
            stored = database[name].find_one(sort=[("_id", -1)])
            assert stored is not None
            database[name].delete_one({"_id": {"$eq": stored["_id"]}})
            database[name].insert_one({**stored, field: nonsense})
            report = verify(database, keys=[KEY.public])
            Values(database, report).compare(f"{database.name.removesuffix('_history')}.a")
        named = entry_id in {found.id for found in report.findings}
        # Its own record may be what is nonsense now; then the seal is named.
        told = named or (name == "seal_leaves" and any(found.seal for found in report.findings))
        assert told, (place, nonsense, report.findings)
