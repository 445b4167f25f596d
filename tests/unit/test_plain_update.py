"""The usual update is written by a way of its own: it must say, byte for byte, what the general way says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import bson
import pytest
from bson.raw_bson import RawBSONDocument
from hypothesis import given
from hypothesis import strategies as st

from core import event, plain_update, record
from models import raw
from models.values import to_raw
from tests.documents import KEYS, documents, keys, values
from tests.events import TOKEN, an_event

if TYPE_CHECKING:
    from tests.documents import Draw

_UPDATED = ["a", "b", "n", "l", "new"]
_SECTIONS = ["u", "u", "u", "i", "d", "sa", "sl", "s", "x", "ub"]


def as_pairs(document: dict[str, Any]) -> list[tuple[bytes, raw.Value]]:
    """The elements of a document."""
    return [(key.encode(), to_raw(value)) for key, value in document.items()]


@st.composite
def images(draw: Draw) -> bytes:
    """A pre-image, now and then with a key that is there twice."""
    pairs = as_pairs(draw(documents()))
    twice = as_pairs(draw(st.dictionaries(st.sampled_from(KEYS), values, max_size=2)))
    return raw.from_fields([*pairs, *twice] if draw(st.booleans()) else pairs)


@st.composite
def section(draw: Draw) -> bytes:
    """Fields that are set, hostile names among them, now and then one twice."""
    names = st.sampled_from(_UPDATED) if draw(st.booleans()) else keys
    pairs = as_pairs(draw(st.dictionaries(names, values, max_size=5)))
    return raw.from_fields(pairs + pairs[: draw(st.sampled_from([0, 0, 0, 1]))])


def inner(draw: Draw, name: str) -> bytes:
    """What a section of a delta holds."""
    if name.startswith("s"):
        flag = [(b"a", (raw.BOOLEAN, b"\x01"))] if draw(st.booleans()) else []
        return raw.from_fields([*flag, (draw(st.sampled_from([b"u", b"i", b"u0"])), (raw.DOCUMENT, draw(section())))])
    return draw(section())  # type: ignore[no-any-return]


@st.composite
def descriptions(draw: Draw) -> bytes:
    """Mostly the usual one; also every other section, no section, other versions, and more than a delta."""
    named = ["u"] if draw(st.booleans()) else draw(st.lists(st.sampled_from(_SECTIONS), max_size=3))
    diff = raw.from_fields([(name.encode(), (raw.DOCUMENT, inner(draw, name))) for name in named])
    version = draw(st.sampled_from([2, 2, 2, 1, 2.0, None]))
    described = [*as_pairs({"$v": version}), (b"diff", (draw(st.sampled_from([3, 3, 3, 4])), diff))]
    if draw(st.integers(0, 9)) == 0:
        described.append(draw(st.sampled_from([described[0], described[1], (b"more", raw.NULL_VALUE)])))
    return raw.from_fields(described)


@st.composite
def updates(draw: Draw) -> bytes:
    """An update as a server could send it, with or without its pre-image."""
    more: dict[str, Any] = {"rawUpdateDescription": RawBSONDocument(draw(descriptions()))}
    if draw(st.integers(0, 4)):
        more["fullDocumentBeforeChange"] = RawBSONDocument(draw(images()))
    if draw(st.booleans()):
        more["documentKey"] = draw(st.sampled_from([{"_id": bson.ObjectId()}, {"shard": 1, "_id": 2}, {"_id": "x"}]))
    return an_event("update", **more)


def outcome(data: bytes) -> bytes | tuple[type[Exception], str]:
    """What is recorded of an event, or why nothing is."""
    try:
        return record.record(data)
    except (ValueError, KeyError, IndexError) as error:
        return type(error), str(error)


def general(data: bytes) -> bytes | tuple[type[Exception], str]:
    """The same without the way for the usual."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(plain_update, "changes", lambda *_: None)
        return outcome(data)


@given(updates())
def test_the_short_way_writes_what_the_general_way_writes(data: bytes) -> None:
    """Were it another byte, an event recorded before and after an upgrade would be two documents, one of them wrong."""
    assert outcome(data) == general(data)


@given(updates(), st.data())
def test_what_is_malformed_is_refused_as_by_the_general_way(data: bytes, draw: st.DataObject) -> None:
    """A damaged event must be set aside whole; half understood, it would be a wrong history that nobody notices."""
    damaged = bytearray(data)
    start = data.index(b"rawUpdateDescription") - 1
    for _ in range(draw.draw(st.integers(1, 3))):
        place = draw.draw(st.integers(start, len(data) - 1))
        damaged[place] = draw.draw(st.sampled_from([0, 1, 2, 3, 5, 0x10, 0x7F, 0xFF, damaged[place] ^ 1]))

    assert outcome(bytes(damaged)) == general(bytes(damaged))


def test_the_usual_update_takes_the_short_way() -> None:
    """Otherwise the comparisons above compare the general way with itself."""
    description = bson.encode({"$v": 2, "diff": {"u": {"items": 3, "city": "Oslo", "tags": [1]}}})
    found = plain_update.changes(description, bson.encode({"_id": 1, "items": 2, "city": None}))

    assert found is not None
    assert [bson.decode(change) for _, change in raw.items(found)] == [
        {"field": "items", "old_value": 2, "new_value": 3},
        {"field": "city", "old_value": None, "new_value": "Oslo"},
        {"field": "tags", "new_value": [1]},
    ]


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 200])
def test_an_update_of_many_fields_loses_none(count: int) -> None:
    """The short way has room for so many; what is beyond must not be cut off."""
    diff = {"u": {f"field_{number}": number for number in range(count)}}
    data = an_event("update", rawUpdateDescription={"$v": 2, "diff": diff}, fullDocumentBeforeChange={"_id": 7})

    assert len(bson.decode(record.record(data))["changes"]) == count
    assert outcome(data) == general(data)


@pytest.mark.parametrize("name", ["", "a.b", "a.", ".", "_id", "x" * 300, "0", "$set", "é"])
@pytest.mark.parametrize("existing", [True, False])
def test_a_name_that_could_be_a_path_is_told_as_by_the_general_way(name: str, *, existing: bool) -> None:
    """`a.b` as a key and as a path are two fields; `_id` never changes."""
    data = an_event(
        "update",
        rawUpdateDescription={"$v": 2, "diff": {"u": {name: 1, "n": 2}}},
        fullDocumentBeforeChange={"_id": 7, **({name: 0} if existing else {})},
    )
    assert outcome(data) == general(data)


@given(st.dictionaries(keys, values, max_size=3), st.booleans(), st.integers(0, 40))
def test_the_id_of_the_document_is_what_its_key_says(key: dict[str, Any], named: bool, cut: int) -> None:  # noqa: FBT001
    """Also where the key has more than an `_id`, as in sharded collections, or is cut off."""
    data = raw.from_fields(as_pairs({"_id": next(iter(key.values())), **key} if named and key else key))
    for contents in (data, data[: max(5, len(data) - cut)]):
        happened = event.Event({b"documentKey": (raw.DOCUMENT, contents)}, b"", b"", b"", b"")
        try:
            expected = raw.fields(contents).get(b"_id")
        except raw.MalformedBSON:
            with pytest.raises(raw.MalformedBSON):
                happened.document_id()
        else:
            assert happened.document_id() == expected


@pytest.mark.parametrize("more", [{}, {"_typeBits": b"\x82"}])
def test_a_token_is_read_also_with_something_beside_it(more: dict[str, Any]) -> None:
    """Servers add type bits to it; read as part of the token, the order of events and their ids would be others."""
    assert event.token_bytes(bson.encode({"_data": TOKEN.hex().upper(), **more})) == TOKEN


@given(st.dictionaries(keys, values, max_size=6), st.sets(keys.map(str.encode), max_size=3))
def test_taking_out_some_fields_is_taking_out_all_and_dropping_the_rest(
    document: dict[str, Any], wanted: set[bytes]
) -> None:
    """An old value left behind would be told as absent."""
    data = raw.from_fields(as_pairs(document))
    data = data[:4] + data[4:-1] * 2 + b"\x00"  # every key twice

    assert raw.fields(data, wanted) == {key: value for key, value in raw.fields(data).items() if key in wanted}
