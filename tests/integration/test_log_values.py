"""`--changed-to` and `--changed-from`: the server's own idea of equality, and nothing guessed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from bson import Decimal128, Int64
from bson.raw_bson import RawBSONDocument

from change_history import Selection
from change_history.bson.values import Symbol, Undefined
from change_history.reader import Reader
from change_history.stored import chunks
from change_history.stored.names import PARTS
from change_history.stored.reading import as_query
from models import ABSENT, UNKNOWN
from tests.support.generated.documents import EVERY_TYPE, NUMBERS
from tests.support.handmade_events import change, event_id, seconds, stored, write
from tests.support.recording import make_indexes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo.database import Database

VALUES = [
    *NUMBERS,
    *EVERY_TYPE,
    "sym",
    Symbol("text"),
    True,
    False,
    0.1,
    Decimal128("0.1"),
    Decimal128("1E+2"),
    100,
    [],
    [3],
    [[3]],
    [3, 3],
    [None],
    {"a": 1, "b": 2},
    {"b": 2, "a": 1},
    {"a": 1.0, "b": Int64(2)},
    {"a": Undefined()},
    {"a": None},
]


@pytest.fixture
def history(database: Database[Any], replica_set_uri: str) -> Iterator[Reader]:
    """An empty history with its indexes."""
    make_indexes(database)
    with Reader.connect(replica_set_uri, database.name) as connected:
        yield connected


def changed_to(history: Reader, value: Any, **more: Any) -> list[int]:
    """The seconds of the events that `--changed-to` finds."""
    return seconds(history.stored(Selection("shop.users", changed_to=value, **more)))


def changed_from(history: Reader, value: Any, **more: Any) -> list[int]:
    """The seconds of the events that `--changed-from` finds."""
    return seconds(history.stored(Selection("shop.users", changed_from=value, **more)))


def test_a_value_is_the_servers_equal_and_no_other(history: Reader, database: Database[Any]) -> None:
    """Every value against every other: what the server's own `$eq` says is found, and nothing else.

    A query would call an array equal to its element, and null to what is absent.
    """
    events = [stored(place, 1, change("v", value, value)) for place, value in enumerate(VALUES)]
    database.history.insert_many([*events, stored(len(VALUES), 1, change("v"))])
    first = {"$arrayElemAt": ["$changes", 0]}
    for value in VALUES:
        equal = {"$let": {"vars": {"c": first}, "in": {"$eq": ["$$c.new_value", {"$literal": value}]}}}
        if isinstance(value, Undefined):  # to `$eq` it is the same as absent; here it is not
            equal = {"$let": {"vars": {"c": first}, "in": {"$eq": [{"$type": "$$c.new_value"}, "undefined"]}}}
        asked = [as_query({"$match": {"$expr": equal}}), {"$sort": {"_id": 1}}, {"$project": {"_id": 1}}]
        expected = seconds(database.history.aggregate(asked))

        assert expected, value
        assert changed_to(history, value) == expected, value
        assert changed_from(history, value) == expected, value
        assert changed_to(history, value, field="v") == expected, value


def test_what_is_unknown_is_neither_found_nor_passed_over_in_silence(history: Reader, database: Database[Any]) -> None:
    """It may have been the value asked for; who asks is told how many such events there are."""
    unknown = {"old_value_from": "unknown"}
    write(database, 1, 1, change("n", 1, 2))
    write(database, 2, 1, change("n", UNKNOWN, 3, **unknown))
    write(database, 3, 1, change("n", UNKNOWN, 3, **unknown), change("m", 1, 2))
    write(database, 4, 1, change("", path=[], **unknown), operation="delete")
    write(database, 5, 1, change("other", UNKNOWN, 3, **unknown))
    write(database, 6, 1, change("l", [1, 2, 3], truncated_to=1))
    left_out: list[None] = []

    def count(**asked: Any) -> tuple[list[int], int]:
        left_out.clear()
        selection = Selection("shop.users", 1, **asked)
        found = seconds(history.stored(selection, on_unknown=lambda: left_out.append(None)))
        return found, len(left_out)

    assert count(changed_from=1) == ([1, 3], 3)
    assert count(changed_from=1, field="n") == ([1], 3)
    assert count(changed_from=1, changed_to=3) == ([], 3)
    assert count(changed_from=1, changed_to=4) == ([], 0)
    assert count(changed_to=[1]) == ([], 1)
    assert count(changed_from=[1, 2, 3]) == ([6], 4)


def test_null_is_not_absent(history: Reader, database: Database[Any]) -> None:
    """A field that was set to null, one that was removed, one that was new."""
    write(database, 1, 1, change("n", 1, None))
    write(database, 2, 1, change("n", 1, ABSENT))
    write(database, 3, 1, change("n", ABSENT, 1))

    assert changed_to(history, None) == [1]
    assert changed_from(history, None) == []


def test_one_change_must_have_both_values(history: Reader, database: Database[Any]) -> None:
    """Not one field the old value and another the new one."""
    write(database, 1, 1, change("a", 1, 2), change("b", 3, 4))
    write(database, 2, 1, change("a", 1, 4))

    assert seconds(history.stored(Selection("shop.users", changed_from=1, changed_to=4))) == [2]


def test_of_a_change_above_the_field_only_its_part_is_compared(history: Reader, database: Database[Any]) -> None:
    """`$set: {address: …}` sets the city too; a change beside the field does not count."""
    write(database, 1, 1, change("address", ABSENT, {"city": "Bonn", "zip": 1}), operation="insert")
    write(database, 2, 1, change("address", {"city": "Bonn", "zip": 1}, {"city": "Bonn", "zip": 2}))
    write(database, 3, 1, change("address.city", "Bonn", "Ulm"), change("town", "Ulm", "Bonn"))
    write(database, 4, 1, change("address", {"city": "Ulm"}, {"city": "Bonn"}))
    write(database, 5, 1, change("address.city", path=["address.city"], new="Bonn"))

    assert changed_to(history, "Bonn", field="address.city") == [1, 4, 5]
    assert changed_to(history, "Bonn", field="address") == []
    assert changed_to(history, {"city": "Bonn"}, field="address") == [4]
    assert changed_from(history, "Bonn", field="address") == [3]
    (shown,) = Selection("shop.users", field="address", changed_from="Bonn").changes_of(
        next(history.log("shop.users", field="address", changed_from="Bonn"))
    )
    assert shown.field == "address.city"


@pytest.mark.parametrize("field", [None, "big"])
def test_a_document_in_parts_is_searched_in_its_parts(
    history: Reader, database: Database[Any], field: str | None
) -> None:
    """Its head has no values; what is too large for one document must not be too large to be found."""
    whole = bytes(stored(1, 1, change("n", 1, 2), change("big", 1, "x" * 100)).raw)
    pieces = chunks.cut(event_id(1), whole)
    database[PARTS].insert_many([{"_id": piece.id, "data": piece.data} for piece in pieces])
    database.history.insert_one(RawBSONDocument(chunks.head(whole, pieces)))

    assert changed_to(history, "x" * 100, field=field) == [1]
    assert changed_to(history, "y", field=field) == []
