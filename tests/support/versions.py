"""Random histories of one document, as the states that it had."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import strategies as st

from change_history.bson import raw
from change_history.bson.values import to_raw
from tests.support.documents import documents
from tests.support.pairs import edited, elements

if TYPE_CHECKING:
    from change_history.bson.raw import Value
    from tests.support.documents import Draw


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
