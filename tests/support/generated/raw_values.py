"""Random raw values of every BSON type: pairs that have much in common, and versions of one document."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import strategies as st

from change_history.bson import raw
from change_history.bson.values import to_raw
from tests.support.generated.documents import EVERY_TYPE, NUMBERS, documents

if TYPE_CHECKING:
    from change_history.bson.raw import Value
    from tests.support.generated.documents import Draw

KEYS = [b"_id", b"a", b"b", b"c", b"0", b"1", b"a.b", b"", b"$x", b"~/", b"-", "é".encode(), b"\xff"]

SCALARS = [to_raw(value) for value in [1, 2, 3, None, "s", *NUMBERS, *EVERY_TYPE]]

scalars = st.integers(0, len(SCALARS) - 1).map(lambda number: SCALARS[number])  # `sampled_from` would print them all
keys = st.sampled_from(KEYS)
identified = st.lists(st.sampled_from(range(8)), unique=True, max_size=6)


def _document(fields: list[tuple[bytes, Value]]) -> Value:
    return raw.DOCUMENT, raw.from_fields(fields)


def _array(items: list[Value]) -> Value:
    return raw.ARRAY, raw.from_items(items)


@st.composite
def elements(draw: Draw) -> Value:
    """An array of documents with an `_id` each, now and then one id twice or one of another type."""
    ids = [to_raw(draw(st.sampled_from([number, number, float(number)]))) for number in draw(identified)]
    found = [_document([(b"_id", one), (b"a", draw(scalars)), (b"v", draw(scalars))]) for one in ids]
    return _array(found + found[: draw(st.sampled_from([0, 0, 0, 1]))])


def _containers(inner: st.SearchStrategy[Value]) -> st.SearchStrategy[Value]:
    fields = st.tuples(keys, inner)
    return st.one_of(
        st.lists(fields, max_size=5, unique_by=lambda field: field[0]).map(_document),
        st.lists(fields, max_size=3).map(_document),  # a key may come twice
        st.lists(inner, max_size=6).map(_array),
        elements(),
        st.lists(fields, max_size=2).map(lambda found: (raw.ARRAY, raw.from_fields(found))),  # an array with odd keys
    )


values = st.recursive(scalars, _containers, max_leaves=12)


def edited(draw: Draw, value: Value) -> Value:
    """A value with some of its parts changed, removed, added or moved."""
    if value[0] not in {raw.DOCUMENT, raw.ARRAY} or draw(st.integers(0, 9)) == 0:
        return draw(values) if draw(st.integers(0, 3)) == 0 else value
    parts = [(key, (kind, payload)) for key, kind, payload in raw.elements(value[1])]
    found = [(key, edited(draw, part)) for key, part in parts if draw(st.integers(0, 7))]
    if not draw(st.integers(0, 3)):
        found.insert(draw(st.integers(0, len(found))), (draw(keys), draw(values)))
    if not draw(st.integers(0, 3)):
        found = draw(st.permutations(found))
    if value[0] == raw.ARRAY and draw(st.integers(0, 9)):
        return _array([part for _, part in found])
    return value[0], raw.from_fields(found)


@st.composite
def pairs(draw: Draw) -> tuple[bytes, bytes]:
    """Two documents, the second mostly made out of the first."""
    usual = documents().map(lambda document: to_raw(document)[1])
    known = st.lists(elements(), min_size=1, max_size=2).map(lambda found: _document([(b"a", _array(found))])[1])
    random = values.filter(lambda value: value[0] == raw.DOCUMENT).map(lambda value: value[1])
    before = draw(st.one_of(usual, known, random))
    if not draw(st.integers(0, 5)):
        return before, draw(usual)
    after = edited(draw, (raw.DOCUMENT, before))
    return before, after[1] if after[0] == raw.DOCUMENT else raw.EMPTY_DOCUMENT


def plain(value: Value) -> Value:
    """The value without repeated keys, its arrays numbered: what folding can tell to the byte."""
    kind, payload = value
    if kind == raw.DOCUMENT:
        return kind, raw.from_fields((key, plain(part)) for key, part in raw.fields(payload).items())
    if kind == raw.ARRAY:
        return kind, raw.from_items(map(plain, raw.items(payload)))
    return value


@st.composite
def versions(draw: Draw) -> list[bytes]:
    """At least two states, each mostly made out of the one before; now and then two are the same."""
    usual = documents().map(lambda document: to_raw(document)[1])
    known = elements().map(lambda found: raw.from_fields([(b"a", found), (b"b", found)]))
    found = [plain((raw.DOCUMENT, draw(st.one_of(usual, known))))]
    for _ in range(draw(st.integers(1, 4))):
        after = plain(edited(draw, found[-1]))
        found.append(after if after[0] == raw.DOCUMENT else found[-1])
    return [_with_id(document) for _, document in found]


def _with_id(document: bytes) -> bytes:
    fields = raw.fields(document)
    fields.pop(b"_id", None)
    return raw.from_fields([(b"_id", (raw.INT32, raw.int32(1))), *fields.items()])
