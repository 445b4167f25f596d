"""Filters on documents as they were: the server decides, and what comes out is what history tells, to the byte."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from bson import Decimal128, Int64, ObjectId, Regex

from change_history.bson import raw
from change_history.bson.values import Symbol, Undefined, to_raw
from change_history.reconstruct.filters import MOST_DOCUMENTS, Filter, FilterError
from tests.support.generated.documents import every_type

if TYPE_CHECKING:
    from pymongo.database import Database

ODD: dict[str, Any] = {"_id": 5, "$x": "$y", "a.b": "$$ROOT", "": None, "n": 3, "l": [1, {"q": 2}], "s": "abc"}


def strange() -> bytes:
    """A document of every type, with keys that look like operators and values that look like paths."""
    every = [(key, value) for key, value in raw.fields(every_type()).items() if key != b"_id"]
    fields = raw.fields(to_raw(ODD)[1])
    return raw.from_fields([*fields.items(), *((b"t." + key, value) for key, value in every)])


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"_id": 5.0},
        {"n": Int64(3)},
        {"n": {"$gte": Decimal128("3")}},
        {"l.q": 2},
        {"l": {"$elemMatch": {"q": {"$lt": 3}}}},
        {"s": {"$regex": "^A", "$options": "i"}},
        {"s": Regex("b")},
        {"missing": {"$exists": False}},
        {"$expr": {"$eq": [{"$getField": {"$literal": "$x"}}, {"$literal": "$y"}]}},
        {"$jsonSchema": {"required": ["n"]}},
        {"$or": [{"n": 4}, {"n": {"$type": "int"}}]},
    ],
    ids=repr,
)
def test_the_server_decides_and_the_bytes_are_historys(database: Database[Any], query: dict[str, Any]) -> None:
    """Nothing in a document is taken for an expression, and nothing is lost on the way."""
    document = strange()
    wanted = Filter(database, query)

    assert list(wanted.select([document], bytes)) == [document]
    others = [to_raw({"_id": number, "s": "", "missing": 1})[1] for number in (6, "6")]
    if query:
        assert list(wanted.select([others[0], document, others[1]], bytes)) == [document]


@pytest.mark.parametrize(
    "query",
    [
        {"$text": {"$search": "a"}},
        {"a": {"$near": [1, 2]}},
        {"a": {"$nearSphere": [1, 2]}},
        {"$where": "true"},
        {"a": {"$nope": 1}},
        {"$x": 1},
    ],
    ids=repr,
)
def test_what_the_server_refuses_is_told_before_anything_is_read(database: Database[Any], query: Any) -> None:
    """In its own words."""
    with pytest.raises(FilterError, match="the server refuses the filter: "):
        Filter(database, query)


def test_a_filter_that_fails_on_a_document_says_so(database: Database[Any]) -> None:
    """It is no answer that none matches."""
    wanted = Filter(database, {"$expr": {"$gt": [{"$divide": [1, "$n"]}, 0]}})

    with pytest.raises(FilterError, match="divide by zero"):
        list(wanted.select([to_raw({"_id": 1, "n": 0})[1]], bytes))


def test_ids_of_every_kind_are_told_apart_and_batches_keep_their_order(database: Database[Any]) -> None:
    """Among more than one batch, what is not known passes, and comes where it was."""
    ids: list[Any] = [None, True, "1", 1, ObjectId(), {"a": 1}, float("nan"), Symbol("s"), Undefined()]
    documents = [
        to_raw({"_id": each, "n": number % 2})[1] for number, each in enumerate([*ids, *range(2, MOST_DOCUMENTS)])
    ]
    items: list[bytes | None] = [*documents[:3], None, *documents[3:]]

    found = list(Filter(database, {"n": 0}).select(items, lambda item: item))

    assert found == [
        item
        for number, item in enumerate([*documents[:3], None, *documents[3:]])
        if item is None or raw.fields(item)[b"n"][1] == b"\0" * 4
    ]


def test_a_document_of_the_largest_size_is_decided_too(database: Database[Any]) -> None:
    """Sixteen megabytes are what a server stores, and what a command may hold."""
    large = to_raw({"_id": 1, "pad": "x" * (16 * 1024 * 1024 - 30)})[1]

    assert len(list(Filter(database, {"pad": {"$type": "string"}}).select([large, to_raw(ODD)[1]], bytes))) == 1
