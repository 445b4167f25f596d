"""A filter that is sent to the server holds nothing that the server refuses or reads otherwise."""

from __future__ import annotations

import base64
import json

import bson
import pytest

from watcher.web.api import filters


def in_bytes(document: bytes) -> str:
    """The only field of a document as it is sent where Extended JSON cannot say it."""
    return json.dumps({"$bson": base64.b64encode(document).decode()})


def test_a_filter_in_bytes_is_read() -> None:
    """Clients send this for keys that Extended JSON takes for its own."""
    assert filters.of_mongodb(in_bytes(bson.encode({"": {"x": {"$eq": {"y": 1}}}}))) == {"x": {"$eq": {"y": 1}}}


@pytest.mark.parametrize("damaged", [b"\xff", b"\xc0\x80", b"\xed\xb3\xbf"])
def test_text_that_is_no_utf_8_does_not_reach_the_server(damaged: bytes) -> None:
    """Everywhere else such text keeps its bytes; here it is a mistake of whoever asks."""
    whole = bson.encode({"": {"x": {"$ne": "." * len(damaged)}}})
    with pytest.raises(bson.errors.BSONError):
        filters.of_mongodb(in_bytes(whole.replace(b"." * len(damaged), damaged)))
