"""A change event taken apart."""

from __future__ import annotations

from typing import Any

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from change_history.bson import raw
from change_history.bson.cluster_time import BEGINNING_OF_TIME
from change_history.bson.resume_token import token_bytes
from change_history.bson.values import to_raw
from tests.support.generated.documents import keys, values
from tests.support.handmade_events import TOKEN
from watcher.events import event


@given(st.dictionaries(keys, values, max_size=3), st.booleans(), st.integers(0, 40))
def test_the_id_of_the_document_is_what_its_key_says(key: dict[str, Any], named: bool, cut: int) -> None:  # noqa: FBT001
    """Also where the key has more than an `_id`, as in sharded collections, or is cut off."""
    fields = {"_id": next(iter(key.values())), **key} if named and key else key
    data = raw.from_fields([(name.encode(), to_raw(value)) for name, value in fields.items()])
    for contents in (data, data[: max(5, len(data) - cut)]):
        happened = event.StreamEvent({b"documentKey": (raw.DOCUMENT, contents)}, b"", b"", BEGINNING_OF_TIME, b"")
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
    assert token_bytes(bson.encode({"_data": TOKEN.hex().upper(), **more})) == TOKEN
