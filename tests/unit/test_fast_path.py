"""The short way and `watcher.events.record` must write the same history, byte for byte, or none.

Were it another byte, an event recorded before and after an upgrade would be two documents, one of them wrong.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import sysconfig
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bson
import pytest
from bson.raw_bson import RawBSONDocument
from hypothesis import given
from hypothesis import strategies as st

from change_history.bson import raw
from change_history.bson.values import to_raw
from tests.support.generated.documents import IDS, documents, keys, values
from tests.support.generated.events import Events
from tests.support.handmade_events import TOKEN, an_event
from watcher.events import event, fast_path, record
from watcher.stream.batch import Entry

if TYPE_CHECKING:
    from tests.support.generated.documents import Draw

_UPDATED = ["a", "b", "n", "l", "new"]
_SECTIONS = ["u", "i", "d", "u", "i", "d", "sa", "sl", "s", "x", "ub"]
_TRANSACTION = {"lsid": {"id": bson.Binary(b"s" * 16, 4), "uid": b"u" * 32}, "txnNumber": bson.Int64(3)}
_DAMAGES = [0, 1, 2, 3, 4, 5, 7, 0x0B, 0x0C, 0x0F, 0x10, 0x13, 0x7F, 0x80, 0xFF]

ROOT = Path(__file__).resolve().parent.parent.parent

compiled = pytest.mark.skipif(not fast_path.COMPILED, reason="installed without a C compiler")


def as_pairs(document: dict[str, Any]) -> list[tuple[bytes, raw.Value]]:
    """The elements of a document."""
    return [(key.encode(), to_raw(value)) for key, value in document.items()]


def rarely(draw: Draw, ordinary: Any, *others: Any) -> Any:
    """Mostly the one, now and then one of the others."""
    return draw(st.sampled_from(others)) if draw(st.integers(0, 15)) == 15 else ordinary


def rarely_other(ordinary: st.SearchStrategy[Any], other: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Mostly from the one, now and then from the other."""
    return st.integers(0, 7).flatmap(lambda number: other if number == 7 else ordinary)


@st.composite
def images(draw: Draw) -> bytes:
    """A document; rarely with strange keys, and with a key that is there twice."""
    plain = st.dictionaries(st.sampled_from(_UPDATED), values, max_size=4)
    contents = draw(rarely_other(plain, documents()))
    pairs = as_pairs({**rarely(draw, {"_id": draw(st.sampled_from(IDS))}, {}), **contents})
    return raw.from_fields([*pairs, *rarely(draw, [], pairs[:1], as_pairs(draw(plain)))])


@st.composite
def section(draw: Draw) -> bytes:
    """Fields that are set, hostile names among them, now and then one twice."""
    pairs = as_pairs(
        draw(st.dictionaries(draw(rarely_other(st.just(st.sampled_from(_UPDATED)), st.just(keys))), values))
    )
    return raw.from_fields([*pairs, *rarely(draw, [], pairs[:1])])


def inner(draw: Draw, name: str) -> bytes:
    """What a section of a delta holds."""
    if name.startswith("s"):
        flag = [(b"a", (raw.BOOLEAN, b"\x01"))] if draw(st.booleans()) else []
        return raw.from_fields([*flag, (draw(st.sampled_from([b"u", b"i", b"u0"])), (raw.DOCUMENT, draw(section())))])
    return draw(section())  # type: ignore[no-any-return]


@st.composite
def descriptions(draw: Draw) -> bytes:
    """Mostly the usual one; also every other section, no section, other versions, and more than a delta."""
    usual = st.sampled_from([["u"], ["i"], ["d", "u"], ["u", "i"], ["d", "u", "i"]])
    named = draw(rarely_other(usual, st.lists(st.sampled_from(_SECTIONS), max_size=3)))
    diff = raw.from_fields([(name.encode(), (raw.DOCUMENT, inner(draw, name))) for name in named])
    described = [*as_pairs({"$v": rarely(draw, 2, 1, 2.0, None)}), (b"diff", (rarely(draw, 3, 4), diff))]
    more = rarely(draw, None, described[0], described[1], (b"more", raw.NULL_VALUE))
    return raw.from_fields(described if more is None else [*described, more])


@st.composite
def events(draw: Draw) -> bytes:
    """An event as a server could send it: usual, unusual, or such as none should send."""
    operation = rarely(draw, draw(st.sampled_from(["update", "insert", "delete"])), "replace", "invalidate", "updated")
    more: dict[str, Any] = {}
    if operation == "update":
        more["rawUpdateDescription"] = RawBSONDocument(draw(descriptions()))
    if operation != "insert":
        more["fullDocumentBeforeChange"] = rarely(draw, RawBSONDocument(draw(images())), None, "left out")
        if more["fullDocumentBeforeChange"] == "left out":
            del more["fullDocumentBeforeChange"]
    if operation in {"insert", "replace"}:
        more["fullDocument"] = rarely(draw, RawBSONDocument(draw(images())), None)
    more["documentKey"] = rarely(draw, {"_id": draw(st.sampled_from(IDS))}, {"shard": 1, "_id": 2}, {})
    more |= rarely(draw, {}, {"collectionUUID": bson.Binary(b"c" * 16, 4)}, {"valuesLeftOut": True}, {"new": 1})
    more |= draw(st.sampled_from([{}, _TRANSACTION, rarely(draw, {}, {"lsid": 1}, {"txnNumber": None})]))
    more |= rarely(draw, {}, {"ns": {"db": "shop"}}, {"ns": {}}, {"ns": None}, {"ns": {"db": 1, "coll": "c"}})
    more |= rarely(draw, {}, {"wallTime": 1.5}, {"clusterTime": 1.5}, {"updateDescription": {"updatedFields": {}}})
    more |= rarely(draw, {}, *[{"_id": token} for token in ({"_data": "8"}, {"_data": "8G"}, {"_data": " 82"}, {}, 1)])
    more |= rarely(draw, {}, {"_id": {"_data": TOKEN.hex()}}, {"_id": {"_data": TOKEN.hex(), "_typeBits": b"1"}})
    return an_event(operation, **more)


def short(data: bytes) -> Any:
    """What the short way makes of an event, or None."""
    return fast_path._compiled.read(data) if fast_path._compiled is not None else None


def same(data: bytes, known: bytes | None = None) -> bool:
    """Both ways write the same, or the short one declines; it raises nothing, whatever it is given.

    Returns:
        Whether the short one did all of it.
    """
    read = short(data)
    if read is None:
        return False
    happened = event.parse(data)
    assert (read.namespace, read.operation, read.position) == (
        happened.namespace,
        happened.operation,
        happened.position,
    )
    assert (read.document_id(), read.lacks_pre_image) == (happened.document_id(), happened.lacks_pre_image)
    history, followed = read.history(known), read.followed(known)
    assert history is None or history == record.document(happened, known)
    assert followed is None or followed == record.followed(happened, known)
    quiet = fast_path.quiet([data], Entry)
    assert (quiet is None) == (read.lacks_pre_image or history is None)
    if quiet is not None:
        whole = record.document(happened)
        assert quiet == (
            [Entry(whole, data)],
            {(happened.namespace, happened.operation): 1},
            len(whole),
            read.in_transaction - 1,
        )
    return followed is not None


def test_it_is_compiled_wherever_it_can_be() -> None:
    """Else every comparison here is left out, and nobody notices that the daemon has become slow."""
    headers = Path(sysconfig.get_path("include"), "Python.h").exists()
    assert fast_path.COMPILED or not (os.environ.get("CI") or (headers and shutil.which("cc")))


@compiled
@given(events())
def test_the_short_way_writes_what_the_general_way_writes(data: bytes) -> None:
    """Whatever is in the event."""
    same(data)


@compiled
@given(events(), st.data())
def test_a_damaged_event_is_understood_by_both_alike_or_declined(data: bytes, draw: st.DataObject) -> None:
    """It must be set aside whole; half understood, it would be a wrong history that nobody notices."""
    damaged = bytearray(data)
    for _ in range(draw.draw(st.integers(1, 3))):
        place = draw.draw(st.integers(0, len(data) - 1))
        damaged[place] = draw.draw(st.sampled_from([*_DAMAGES, damaged[place] ^ 1, damaged[place] + 1 & 0xFF]))
    same(bytes(damaged[: draw.draw(rarely_other(st.none(), st.integers(0, len(data))))]))


FUZZED = int(os.environ.get("WATCHER_TEST_FUZZED_EVENTS", "2000"))


@compiled
@pytest.mark.parametrize("seed", range(4))
def test_every_event_that_fits_its_document_takes_the_short_way_to_the_same_history(seed: int) -> None:
    """Nested fields, arrays, replacements, odd keys: were one of them left out, half of the speed would be gone."""
    events = Events(random.Random(seed))
    declined = [data for data, known in (events.event() for _ in range(FUZZED)) if not same(data, known)]
    assert not declined


@compiled
@pytest.mark.parametrize("seed", range(4))
def test_no_event_makes_the_short_way_write_something_else_however_odd_or_damaged(seed: int) -> None:
    """Repeated keys, deltas that do not fit, documents that history tells wrongly, bytes that are no BSON."""
    dice = random.Random(seed)
    events = Events(dice, odd=0.5)
    for _ in range(FUZZED):
        data, known = events.event()
        same(data, known)
        same(_damaged(dice, data), _damaged(dice, known) if known is not None and dice.random() < 0.5 else known)


def _damaged(dice: random.Random, data: bytes) -> bytes:
    """Some bytes are others; now and then the end is missing."""
    damaged = bytearray(data)
    for _ in range(dice.randrange(1, 4)):
        place = dice.randrange(len(data))
        damaged[place] = dice.choice([*_DAMAGES, damaged[place] ^ 1, dice.randrange(256)])
    return bytes(damaged[: dice.randrange(len(data))] if dice.random() < 0.1 else damaged)


def an_update(delta: dict[str, Any], before: dict[str, Any], **more: Any) -> bytes:
    """An update in place, with its pre-image."""
    return an_event(
        "update", rawUpdateDescription={"$v": 2, "diff": {"u": delta}}, fullDocumentBeforeChange=before, **more
    )


_DOCUMENT = {"_id": 7, "n": 1, "address": {"city": "Oslo"}, "tags": ["a"], "nothing": None}


@compiled
@pytest.mark.parametrize(
    "data",
    [
        an_update({"items": 3, "city": "Oslo", "tags": [1]}, {"_id": 7, "items": 2, "city": None}),
        an_update({"n": 1}, {"_id": 7}, **_TRANSACTION),
        an_update({f"field_{number}": number for number in range(64)}, {"_id": 7}),
        an_event(
            "update",
            rawUpdateDescription={"$v": 2, "diff": {"d": {"gone": False}, "u": {"n": 1}, "i": {"new": 2, "back": 3}}},
            fullDocumentBeforeChange={"_id": 7, "gone": 1, "back": 1},
        ),
        an_event("insert", fullDocument=_DOCUMENT),
        an_event("insert", fullDocument={"_id": 7, **{f"field_{number}": number for number in range(1234)}}),
        an_event("delete", fullDocumentBeforeChange=_DOCUMENT, collectionUUID=bson.Binary(b"c" * 16, 4)),
        an_event("delete", fullDocumentBeforeChange=_DOCUMENT, documentKey={"shard": 1, "_id": {"a": 1}}),
    ],
)
def test_the_usual_event_takes_the_short_way(data: bytes) -> None:
    """Otherwise the comparisons compare nothing, and the daemon is slow."""
    assert same(data)


@compiled
@pytest.mark.parametrize("beyond", [1, 2, 5, 999, 1001, 1002, 20_000])
def test_the_nulls_that_fill_an_array_are_changes_in_both_ways(beyond: int) -> None:
    """No delta names them; a million of them is not told one by one."""
    delta = {"diff": {"sa": {"a": True, "s0": {"a": True, f"u{beyond}": 1}, "u1": 2, f"u{beyond + 4}": 3}}}
    image = {"_id": 1, "a": [[0]]}
    data = an_event("update", rawUpdateDescription=delta, fullDocumentBeforeChange=image)

    same(data)
    changes = bson.decode(record.record(data))["changes"]
    inner = [change for change in changes if change["field"].startswith("a.0.")]
    assert len(inner) == min(beyond - 1, 1000) + 1
    assert all(change["new_value"] is None and "old_value" not in change for change in inner[:-1])


@compiled
@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 200])
def test_an_update_of_many_fields_loses_none(count: int) -> None:
    """The short way has room for so many; what is beyond must not be cut off."""
    same(an_update({f"field_{number}": number for number in range(count)}, {"_id": 7, "field_0": "x", "field_64": "y"}))


@compiled
@pytest.mark.parametrize("name", ["", "a.b", "a.", ".", "_id", "x" * 300, "0", "$set", "é"])
@pytest.mark.parametrize("existing", [True, False])
def test_a_name_that_could_be_a_path_is_told_as_by_the_general_way(name: str, *, existing: bool) -> None:
    """`a.b` as a key and as a path are two fields; `_id` never changes."""
    before = {"_id": 7, **({name: 0} if existing else {})}
    same(an_update({name: 1, "n": 2}, before))
    same(an_event("insert", fullDocument=before))
    same(an_event("delete", fullDocumentBeforeChange=before))


@compiled
@pytest.mark.parametrize("depth", [1, 5, 127, 128, 129, 300])
def test_a_deep_document_neither_overflows_the_stack_nor_is_told_otherwise(depth: int) -> None:
    """A server allows some two hundred levels; bytes that only look like an event may have any number."""
    before, after = bson.encode({"_id": 7, "n": 1}), bson.encode({"_id": 7, "n": 2})
    diff = bson.encode({"u": {"n": 2}})
    identity = (b"_id", (raw.INT32, raw.int32(7)))
    for _ in range(depth):
        before, after = (raw.from_fields([identity, (b"a", (raw.DOCUMENT, each))]) for each in (before, after))
        diff = raw.from_fields([(b"sa", (raw.DOCUMENT, diff))])
    images = {"fullDocumentBeforeChange": RawBSONDocument(before)}
    description = raw.from_fields([(b"$v", (raw.INT32, raw.int32(2))), (b"diff", (raw.DOCUMENT, diff))])
    assert same(an_event("update", rawUpdateDescription=RawBSONDocument(description), **images)) == (depth < 128)
    assert same(an_event("replace", fullDocument=RawBSONDocument(after), **images)) == (depth < 128)


@compiled
@pytest.mark.parametrize("fields", [24, 25, 300])
def test_a_replacement_of_a_wide_document_is_told_alike(fields: int) -> None:
    """Names are looked up in another way where there are many."""
    before = {"_id": 7, **{f"field_{number}": number for number in range(fields)}}
    after = {"_id": 7, **{f"field_{number}": number + number % 3 for number in reversed(range(1, fields))}, "new": 1}
    assert same(an_event("replace", fullDocument=after, fullDocumentBeforeChange=before))
    twice = raw.from_fields([*raw.fields(bson.encode(after)).items(), (b"field_3", raw.NULL_VALUE)])
    assert not same(an_event("replace", fullDocument=RawBSONDocument(twice), fullDocumentBeforeChange=before))


@compiled
def test_there_is_room_for_the_worst_of_updates() -> None:
    """Short names with little values: what is around them counts most. Memory that is not ours would be overwritten."""
    names = [f"{first}{second}" for first in "abcdefgh" for second in "ijklmnop"]
    before = {"_id": 7, **dict.fromkeys(names)}
    description = {"$v": 2, "diff": {"i": dict.fromkeys(names)}}
    worst = an_event(
        "update",
        rawUpdateDescription=description,
        fullDocumentBeforeChange=before,
        _id={"_data": (b"\x82" * 2048).hex()},
        **_TRANSACTION,
    )
    assert same(worst)


@compiled
@pytest.mark.parametrize("size", [1, 53, 127, 128, 129, 255, 256, 257, 384, 2040, 2047, 2048, 2049, 5000])
def test_a_long_token_is_not_cut_off(size: int) -> None:
    """It holds the document's `_id`, which may be as long as an application likes; it is digested in blocks."""
    same(an_update({"n": 1}, {"_id": 7}, _id={"_data": (b"\x82" * size).hex()}))


@compiled
@pytest.mark.parametrize("seed", range(2))
def test_a_batch_of_usual_events_is_recorded_as_they_are_one_by_one(seed: int) -> None:
    """Of several collections and operations, in their order; one event that is to be looked at stops it."""
    dice = random.Random(seed)
    made = (Events(dice).event()[0] for _ in range(FUZZED))
    usual = [data for data in made if fast_path.quiet([data], Entry) is not None]
    names = [b"users", b"items", b"users", b"boxes"]
    renamed = [data.replace(b"users\x00", dice.choice(names) + b"\x00", 1) for data in usual]
    found = fast_path.quiet(renamed, Entry)

    assert found is not None
    entries, counts, size, begun = found
    assert len(usual) > FUZZED // 4
    assert entries == [Entry(record.document(event.parse(data)), data) for data in renamed]
    happened = [event.parse(data) for data in renamed]
    assert counts == Counter((each.namespace, each.operation) for each in happened)
    assert size == sum(len(entry.document) for entry in entries)
    odd = an_event("drop", documentKey={})
    assert fast_path.quiet([*renamed[:3], odd], Entry) is None
    assert fast_path.quiet([], Entry) == ([], {}, 0, -1)
    assert begun == _begun(renamed)


@compiled
def test_of_a_batch_of_transactions_it_is_known_where_the_last_one_begins() -> None:
    """A context document in the next batch names whoever made all of it, and nobody else's changes before it."""
    first, second, other = (
        [an_event("insert", fullDocument={"_id": 7}, lsid={"id": session}, txnNumber=bson.Int64(number))] * 2
        for session, number in ((1, 1), (1, 2), (2, 2))
    )
    alone = [an_event("insert", fullDocument={"_id": 7})]
    batches = [alone, first, [*first, *second], [*second, *other], [*first, *alone, *first], [*first, *alone]]
    for batch in batches:
        found = fast_path.quiet(batch, Entry)
        assert found is not None
        assert found[3] == _begun(batch)


def _begun(batch: list[bytes]) -> int:
    """The number of the first event of the transaction that the last one is in."""
    transactions = [event.parse(data).transaction() for data in batch]
    if transactions[-1] is None:
        return -1
    others = (number for number, each in enumerate(transactions) if each != transactions[-1])
    return max(others, default=-1) + 1


@compiled
def test_what_is_no_event_is_declined() -> None:
    """It would be read beyond its end."""
    for data in (b"", b"\x05", b"\x05\x00\x00\x00\x00", b"\xff" * 64, bytes(3), bson.encode({"a": 1})):
        assert short(data) is None


@given(st.lists(images(), max_size=5), st.data())
def test_a_batch_is_taken_apart_into_the_same_events(events: list[bytes], draw: st.DataObject) -> None:
    """An event cut off or passed over is lost; also where the reply is damaged."""
    array = raw.from_items([(raw.DOCUMENT, data) for data in events])
    assert fast_path.documents(array) == events
    assert fast_path.documents(b"before" + array + b"behind", 6, 6 + len(array)) == events

    damaged = bytearray(array)
    damaged[draw.draw(st.integers(0, len(array) - 1))] = draw.draw(st.sampled_from(_DAMAGES))
    try:
        expected = [data for _, data in raw.items(bytes(damaged))]
    except raw.MalformedBSON:
        with pytest.raises(raw.MalformedBSON):
            fast_path.documents(bytes(damaged))
    else:
        assert fast_path.documents(bytes(damaged)) == expected


def test_a_fast_path_of_other_sources_is_not_used(tmp_path: Path) -> None:
    """After an update of a checkout it would write what history was like before."""
    for package in ("change_history", "config", "models", "watcher"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    program = "from watcher.events import fast_path; print(fast_path.__file__, fast_path.COMPILED)"

    def imported() -> str:
        done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    assert imported() == f"{tmp_path}/watcher/events/fast_path.py {fast_path.COMPILED}"
    with (tmp_path / "watcher" / "events" / "_read.pxd").open("a") as source:
        source.write("# another\n")
    assert imported() == f"{tmp_path}/watcher/events/fast_path.py False"
