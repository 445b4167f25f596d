"""Reading history from a real server: from an index, in order, and all of it."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import pytest
from bson import DatetimeMS, Int64, ObjectId, Timestamp

from change_history import Selection
from change_history.bson.values import Symbol, document_to_python
from change_history.query import timeline
from change_history.reader import Reader
from change_history.stored.reading import history_collection
from models import ABSENT, ChangeModel, HistoryModel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo.database import Database

START = 1_700_000_000
_ZEROS = ObjectId("00" * 12)
IDS: list[Any] = [1, "1", Int64(2**40), _ZEROS, {"$ne": 1}, {"a": 1, "b": 2}, None, True, DatetimeMS(10**15)]


def event(seconds: int, document_id: Any, token: bytes, **values: Any) -> HistoryModel:
    """A stored event; its wall time is half a second after its cluster time."""
    about: dict[str, Any] = {
        "namespace": "shop.users",
        "operation": "update",
        "changes": [ChangeModel(field="n", old_value=ABSENT, new_value=seconds)],
    }
    return HistoryModel(
        id=(START + seconds).to_bytes(4, "big") + (1).to_bytes(4, "big") + blake2b(token, digest_size=8).digest(),
        document_id=document_id,
        timestamp=datetime.fromtimestamp(START + seconds, UTC) + timedelta(milliseconds=500),
        cluster_time=Timestamp(START + seconds, 1),
        resume_token=token,
        **(about | values),
    )


def token(number: int) -> bytes:
    """A resume token; the longer ones come first in the stream."""
    return number.to_bytes(4, "big") + b"\x00" * (1000 - number % 1000)


@pytest.fixture
def history(database: Database[Any], replica_set_uri: str) -> Iterator[Reader]:
    """Twenty events of each id, two namespaces, a transaction of fifty events at second 30, no order on disk."""
    events = [event(s, document_id, token(1000 * i + s)) for i, document_id in enumerate(IDS) for s in range(20)]
    events += [event(30, 1, token(9000 + i), changes=[]) for i in range(50)]
    events += [event(40, ABSENT, token(9500), operation="drop", changes=[])]
    events += [event(s, 1, token(9600 + s), namespace="shop.orders") for s in range(300)]
    random.Random(1).shuffle(events)
    for index in HistoryModel._meta["indexes"]:
        keys = [(key.replace("id", "_id") if key == "id" else key, 1) for key in index["fields"]]
        partial = {k: v for k, v in index.items() if k == "partialFilterExpression"}
        database.history.create_index(keys, name=index["name"], **partial)
    database.history.insert_many([e.to_mongo() for e in events], ordered=False)
    with Reader.connect(replica_set_uri, database.name) as connected:
        yield connected


def at(seconds: float) -> datetime:
    """So many seconds after the first event."""
    return datetime.fromtimestamp(START, UTC) + timedelta(seconds=seconds)


SELECTIONS = [
    Selection("shop.users"),
    Selection("shop.users", field="n"),
    Selection("shop.users", since=at(3), until=at(5)),
    Selection("shop.users", since=Timestamp(START + 3, 1), until=Timestamp(START + 5, 1)),
    *(Selection("shop.users", document_id) for document_id in IDS),
    Selection("shop.users", 1, field="n"),
    Selection("shop.users", 1, since=at(3), until=at(5)),
    Selection("shop.users", 1, "n", Timestamp(START + 3, 1), Timestamp(START + 5, 1)),
]


def stages(plan: Any) -> set[str]:
    """The names of all stages of a query plan."""
    if isinstance(plan, dict):
        return {plan["stage"]} | stages(list(plan.values())) if "stage" in plan else stages(list(plan.values()))
    return set().union(*map(stages, plan)) if isinstance(plan, list) else set()


@pytest.mark.parametrize("selection", SELECTIONS, ids=repr)
@pytest.mark.parametrize("newest_first", [False, True])
def test_no_question_reads_the_whole_history(
    history: Reader, database: Database[Any], selection: Selection, *, newest_first: bool
) -> None:
    """Every kind of question walks an index, sorts nothing in memory, and looks at little it does not return."""
    cursor = timeline.find(history_collection(database), selection, newest_first=newest_first)
    plan = document_to_python(bytes(cursor.explain().raw))
    found = stages(plan["queryPlanner"]["winningPlan"])

    assert "IXSCAN" in found
    assert not found & {"COLLSCAN", "SORT"}
    namesakes = len(IDS) * 20 + 51 if selection.document_id is ABSENT else 71  # of the namespace, of the document
    assert plan["executionStats"]["totalDocsExamined"] <= namesakes


def test_namespaces_are_found_without_reading_events(history: Reader, database: Database[Any]) -> None:
    """A suggestion must not cost a walk through everything."""
    plan = database.command("explain", {"distinct": "history", "key": "namespace"})

    assert "DISTINCT_SCAN" in stages(plan["queryPlanner"]["winningPlan"])
    assert history.namespaces() == ["shop.orders", "shop.users"]


@pytest.mark.parametrize("document_id", IDS, ids=repr)
def test_one_documents_log_has_no_other_documents_events(history: Reader, document_id: Any) -> None:
    """Ids that look alike, look like operators, or are null."""
    found = list(history.log("shop.users", document_id))

    assert len(found) == (70 if document_id == 1 and document_id is not True else 20)
    assert all(e.document_id == document_id and e.namespace == "shop.users" for e in found)


def test_what_mongodb_holds_for_one_id_is_one_document(history: Reader) -> None:
    """3, Int64(3) and 3.0 are one `_id` to the server, a symbol and its string too; so they are one to us."""
    assert [len(list(history.log("shop.users", same))) for same in (1, Int64(1), 1.0)] == [70, 70, 70]
    assert [e.id for e in history.log("shop.users", Symbol("1"))] == [e.id for e in history.log("shop.users", "1")]


def test_a_transactions_events_come_in_the_order_of_the_stream(history: Reader) -> None:
    """Forwards, and where a limit reads backwards and cuts through the transaction."""
    everything = [e.resume_token or b"" for e in history.log("shop.users", 1)]

    assert everything == sorted(everything)
    for limit in (1, 7, 50, 51, 1000):
        assert [e.resume_token for e in history.log("shop.users", 1, limit=limit)] == everything[-limit:]
    assert list(history.log("shop.users", 1, limit=0)) == []


def test_a_window_includes_both_its_ends(history: Reader) -> None:
    """Wall times to the millisecond, cluster times to the increment."""
    wall = history.log("shop.users", "1", since=at(3.5), until=at(5.5))
    narrow = history.log("shop.users", "1", since=at(3.501), until=at(5.499))
    cluster = history.log("shop.users", "1", since=Timestamp(START + 3, 1), until=Timestamp(START + 5, 1))
    after = history.log("shop.users", "1", since=Timestamp(START + 3, 2), until=Timestamp(START + 5, 0))

    assert [e.cluster_time.time - START for e in wall] == [3, 4, 5]
    assert [e.cluster_time.time - START for e in narrow] == [4]
    assert [e.cluster_time.time - START for e in cluster] == [3, 4, 5]
    assert [e.cluster_time.time - START for e in after] == [4]


def test_a_limit_counts_only_what_concerns_the_field(history: Reader, database: Database[Any]) -> None:
    """The newest three changes of the subtree, though other changes came after."""
    insert = database.history.insert_one
    for second, field, path in [(1, "address.city", ABSENT), (2, "address", ABSENT), (3, "address.zip", ABSENT),
                                (4, "address.x", ["address.x"]), (5, "addresses", ABSENT)]:  # fmt: skip
        change = ChangeModel(field=field, path=path, old_value=1, new_value=2)
        insert(event(second, 7, token(20_000 + second), namespace="shop.places", changes=[change]).to_mongo())

    found = history.log("shop.places", 7, field="address", limit=3)

    assert [e.changes[0].field for e in found] == ["address.city", "address", "address.zip"]


def test_a_stored_document_is_given_back_byte_for_byte(history: Reader, database: Database[Any]) -> None:
    """`--json` prints these; fields of a later version included."""
    stored = event(1, 8, token(20_000)).to_mongo() | {"from_the_future": Int64(1)}
    database.history.insert_one(stored)

    (found,) = history.stored(Selection("shop.users", 8))

    assert found["from_the_future"] == 1
    assert list(found) == list(stored)


def test_an_empty_history_is_empty_and_no_error(database: Database[Any], replica_set_uri: str) -> None:
    """Before the daemon's first start there is not even a collection."""
    with Reader.connect(replica_set_uri, database.name) as empty:
        assert list(empty.log("shop.users", 1)) == []
        assert empty.namespaces() == []
        assert not empty.knows("shop.users", 1)
