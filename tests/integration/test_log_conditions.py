"""Conditions of a log on a real server: each from an index, each exact, in any combination."""

from __future__ import annotations

from itertools import islice
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest

from change_history import Selection
from change_history.bson.values import document_to_python
from change_history.query import gaps, timeline, transactions
from change_history.reader import Reader
from change_history.stored.event import Transaction
from change_history.stored.reading import as_query, history_collection
from models import ABSENT
from tests.support import query_plans
from tests.support.handmade_events import START, at, change, event_id, seconds, stored, transaction
from tests.support.recording import make_indexes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo.database import Database


FIRST, SECOND, NAMESAKE = transaction(0xABCD1234, 7), transaction(0xABCD9999, 7), transaction(0xABCD1234, 8)


@pytest.fixture
def history(database: Database[Any], replica_set_uri: str) -> Iterator[Reader]:
    """A hundred documents that are inserted, updated and deleted; some events in three transactions."""
    make_indexes(database)
    events: list[Any] = [gap_of(700)]
    for number in range(100):
        events += [
            stored(number, number, change("n", ABSENT, number), operation="insert"),
            stored(200 + number, number, change("n", number, number + 1), change("s", ABSENT, "new")),
            stored(400 + number, number, change("n", number + 1), operation="delete", namespace="shop.gone"),
        ]
    for place, (document_id, namespace) in enumerate([(1, "shop.users"), (2, "shop.users"), (1, "shop.orders")]):
        for second, owner in ((600, FIRST), (601, SECOND), (602, NAMESAKE)):
            about = {"place": place, "namespace": namespace, "transaction": owner}
            events.append(stored(second, document_id, change("n", 1, second - 595), **about))
    for place, alone in enumerate((transaction(1, 1), None)):  # one cluster time, as servers from 8.0 on may have it
        events.append(stored(610, 1, place=place, namespace="shop.others", transaction=alone))
    database.history.insert_many(events)
    with Reader.connect(replica_set_uri, database.name) as connected:
        yield connected


def gap_of(second: int) -> dict[str, Any]:
    """A gap, as far as these tests look at it."""
    return {"_id": event_id(second), "operation": "gap", "description": {}}


def the(name: str, history: Reader) -> Transaction:
    """A transaction by its name."""
    return history.transaction(name)


def in_first() -> Transaction:
    """The first transaction, known beforehand."""
    return Transaction(dict(FIRST.session), 7)


FORMS = [
    ("namespace_timeline", 206, Selection("shop.users", operations=("insert",))),
    ("namespace_timeline", 206, Selection("shop.users", operations=("insert", "delete"), since=at(1))),
    ("document_timeline", 5, Selection("shop.users", 1, operations=("update",))),
    ("namespace_timeline", 206, Selection("shop.users", changed_to="new")),
    ("namespace_timeline", 206, Selection("shop.users", changed_from=None)),
    ("namespace_timeline", 206, Selection("shop.users", field="n", changed_from=1, changed_to=5)),
    ("document_timeline", 5, Selection("shop.users", 1, field="n", changed_to=2, since=at(0), until=at(300))),
    ("transaction", 3, Selection(None, transaction=in_first())),
    ("transaction", 3, Selection("shop.users", transaction=in_first())),
    ("transaction", 3, Selection("shop.users", 1, "n", transaction=in_first(), operations=("update",), changed_to=5)),
    ("_id_", 312, Selection(None)),
    ("_id_", 12, Selection(None, since=at(600), until=at(602), changed_to=5)),
]


@pytest.mark.parametrize(("index", "most", "selection"), FORMS)
@pytest.mark.parametrize("newest_first", [False, True])
def test_every_condition_is_answered_from_an_index(
    history: Reader, database: Database[Any], index: str, most: int, selection: Selection, *, newest_first: bool
) -> None:
    """The expected one, in its order, without reading what the index excludes."""
    cursor = timeline.find(history_collection(database), selection, newest_first=newest_first)
    explained = document_to_python(cursor.explain())
    plan = query_plans.winning(explained)

    assert query_plans.indexes(plan) == {index}
    assert not query_plans.stages(plan) & {"COLLSCAN", "SORT"}
    assert query_plans.examined(explained) <= most


def test_a_transaction_is_found_by_name_from_an_index(history: Reader, database: Database[Any]) -> None:
    """By the beginning of its session, and by an event's id."""
    collection = history_collection(database)
    by_session = as_query(transactions.session_query(transactions.SessionName("abcd1234", 7)))
    by_event = as_query(transactions.event_query(transactions.EventName(event_id(600).hex()[:20])))
    of_session = document_to_python(
        collection.find(by_session, sort=transactions.TRANSACTIONS[:2], hint=transactions.TRANSACTIONS).explain()
    )
    of_event = document_to_python(collection.find(by_event, sort=[("_id", 1)]).explain())

    assert query_plans.indexes(query_plans.winning(of_session)) == {"transaction"}
    assert query_plans.examined(of_session) <= 3
    assert query_plans.indexes(query_plans.winning(of_event)) == {"_id_"}
    assert query_plans.examined(of_event) == 1
    assert not (
        query_plans.stages(query_plans.winning(of_session)) | query_plans.stages(query_plans.winning(of_event))
    ) & {"COLLSCAN", "SORT"}


def test_gaps_are_read_newest_first_from_their_index(history: Reader, database: Database[Any]) -> None:
    """A reversed log asks for them too."""
    plan = query_plans.winning(document_to_python(gaps.find(history_collection(database), newest_first=True).explain()))

    assert query_plans.indexes(plan) <= {"gaps", "collection_events"}
    assert "IXSCAN" in query_plans.stages(plan)
    assert not query_plans.stages(plan) & {"COLLSCAN", "SORT"}


def test_a_transaction_has_its_events_and_no_others(history: Reader) -> None:
    """Of every collection, or of one; neither those of a namesake nor those of another session of the same number."""
    found = the("abcd1234:7", history)

    assert seconds(history.stored(Selection(None, transaction=found))) == [600, 600, 600]
    assert seconds(history.stored(Selection("shop.users", transaction=found))) == [600, 600]
    assert seconds(history.stored(Selection("shop.users", 2, transaction=found))) == [600]
    assert [e["document_id"] for e in history.stored(Selection(None, transaction=found), limit=2)] == [2, 1]


def test_any_event_of_a_transaction_names_it(history: Reader) -> None:
    """By the whole id, or by its beginning; the session with hyphens and in capitals too."""
    whole = "ABCD1234-0000-0000-0000-000000000007:8"

    assert the(event_id(600, 2).hex(), history) == the("abcd1234:7", history)
    assert the(event_id(601).hex()[:16], history) == the("abcd9999:7", history)
    assert the(whole, history) == the("abcd1234:8", history)


def test_a_name_that_means_several_transactions_is_not_guessed(history: Reader) -> None:
    """The answer names them; what belongs to none is told from what is not there."""
    with pytest.raises(transactions.AmbiguousTransactionError, match=r"abcd1234000.*:7 and abcd9999000.*:7"):
        the("abcd:7", history)
    with pytest.raises(transactions.AmbiguousTransactionError, match="with different transactions"):
        the(event_id(610).hex()[:16], history)
    with pytest.raises(transactions.UnknownTransactionError, match="belongs to no transaction"):
        the(event_id(1).hex(), history)
    with pytest.raises(transactions.UnknownTransactionError, match="no event"):
        the("00" * 8, history)
    with pytest.raises(transactions.UnknownTransactionError, match="no transaction"):
        the("abcd1234:9", history)


def test_newest_first_is_the_exact_reverse(history: Reader) -> None:
    """Also within one cluster time, and where a limit cuts through it."""
    for selection in (Selection("shop.users"), Selection(None), Selection(None, transaction=in_first())):
        forwards = [e["_id"] for e in history.stored(selection)]
        assert [e["_id"] for e in history.stored(selection, newest_first=True)] == forwards[::-1]
        for limit in (1, 2, 5):
            newest = [e["_id"] for e in history.stored(selection, newest_first=True, limit=limit)]
            assert newest == forwards[::-1][:limit]


def test_everything_has_no_gaps_for_events(history: Reader) -> None:
    """A gap is put in its place by who asks for it; as an event it would come twice."""
    assert 700 not in seconds(history.stored(Selection(None)))


def test_python_asks_as_the_command_line_does(history: Reader) -> None:
    """`History.log` has every condition."""
    found = history.log("shop.users", operation="update", changed_from=1, field="n", reverse=True)

    assert [event.cluster_time.time - START for event in found] == [602, 602, 601, 601, 600, 600, 201]
    assert [e.document_id for e in history.log(None, transaction=the("abcd9999:7", history))] == [1, 2, 1]
    with pytest.raises(ValueError, match="within a namespace"):
        history.log(None, 1)


def five(start: int) -> list[Any]:
    """Events that each meet another condition."""
    return [
        stored(start, 1, change("n", 1, 8)),
        stored(start + 1, 1, change("n", 9), operation="delete"),
        stored(start + 2, 1, change("n", 1, 9.0), change("m", 1, 9)),
        stored(start + 3, 1, change("n", 1, 3), transaction=FIRST, namespace="shop.orders"),
        stored(start + 4, 1, change("m", 1, 9)),
    ]


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection("shop.users", since=at(800), operations=("delete",)), [1]),
        (Selection("shop.users", since=at(800), changed_to=9, field="n"), [2]),
        (Selection(None, since=at(800), transaction=in_first()), [3]),
        (Selection(None, since=at(800)), [0, 1, 2, 3, 4]),
    ],
)
def test_every_condition_holds_for_new_events_too(
    history: Reader, database: Database[Any], selection: Selection, expected: list[int]
) -> None:
    """Followed, a log must not begin to show what was not asked for."""
    stop = Event()
    database.history.insert_many(five(800))
    following = history.follow_stored(selection, stop=stop)

    recorded = [second - 800 for second in seconds(islice(following, len(expected)))]
    database.history.insert_many(five(900))
    new = [second - 900 for second in seconds(islice(following, len(expected)))]
    stop.set()

    assert (recorded, new, list(following)) == (expected, expected, [])
