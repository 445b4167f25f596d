"""As-of where clocks, drops, renames, gaps and rejected events make it hard. Entries of the test's own making."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest
from bson import Binary, Int64, Timestamp

from change_history import UnknownStateError
from change_history.reader import Reader
from change_history.reconstruct.point_in_time import NoSuchVersionError
from tests.support.handmade_events import an_event, at, cluster, entry, gap, inserted, of_collection, updated
from tests.support.recording import make_indexes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bson.raw_bson import RawBSONDocument
    from pymongo.database import Database

    Given = Callable[..., Reader]


@pytest.fixture
def given(database: Database[Any], replica_set_uri: str) -> Iterator[Given]:
    """A function that makes a history out of entries."""
    make_indexes(database)
    with Reader.connect(replica_set_uri, database.name) as history:

        def make(*entries: RawBSONDocument) -> Reader:
            database.history.insert_many(reversed(entries))
            return history

        yield make


def n(history: Reader, when: Any, document_id: Any = 1, namespace: str = "shop.users") -> Any:
    """What the field n was; None: the document was not there."""
    document = history.as_of(namespace, document_id, when)
    return document["n"] if document is not None else None


def test_a_wall_time_is_to_the_millisecond_and_included(given: Given) -> None:
    """Several events in one second, the asked one among them."""
    history = given(inserted(1), *(updated(2, i, i, wall=2 + i / 100) for i in range(1, 60)), updated(9))

    assert [n(history, at(s)) for s in (0.999, 1, 2, 2.009, 2.01, 2.015, 2.02, 2.59, 8, 9)] == [
        None, 1, 1, 1, 1, 1, 2, 59, 59, 9,
    ]  # fmt: skip
    assert n(history, at(2.0101)) == 1  # an instant between two milliseconds


def test_a_cluster_time_is_exact_and_included(given: Given) -> None:
    """And the greatest of all is the last that is recorded."""
    history = given(inserted(1), updated(2, 1, 1), updated(2, 2, 2))

    times = [Timestamp(0, 0), cluster(1, 0), cluster(1), cluster(2, 1), cluster(2, 2), Timestamp(2**32 - 1, 2**32 - 1)]
    assert [n(history, time) for time in times] == [None, None, 1, 1, 2, 2]


def test_clocks_that_disagree_give_the_last_event_that_had_happened(given: Given) -> None:
    """Cluster time ahead of the wall by some seconds, as after a fail-over to a machine whose clock is behind."""
    history = given(inserted(10, wall=3), updated(11, wall=4), updated(12, wall=5), updated(100))

    assert [n(history, at(s)) for s in (2, 3, 4.5, 5, 99, 100)] == [None, 10, 11, 12, 12, 100]


def test_a_wall_clock_that_steps_back_hides_nothing(given: Given) -> None:
    """The order is that of history: an event with an earlier wall time may come later."""
    history = given(inserted(1), updated(5, wall=5.9), updated(6, wall=5.1))

    assert [n(history, at(s)) for s in (5, 5.1, 5.5, 5.9)] == [1, 6, 6, 6]


def test_within_one_cluster_time_the_stream_decides(given: Given) -> None:
    """A transaction that touches a document thrice: its ids are in no order, and BSON compares lengths first."""
    tokens = [b"\x01" * 60, b"\x02" * 50, b"\x03" * 40]
    history = given(inserted(1), *(updated(2, 1, number, token=token) for number, token in enumerate(tokens)))

    assert n(history, at(2)) == 2
    assert n(history, cluster(2)) == 2
    assert [n(history, version) for version in (1, 2, 3, 4, -1, -2, -3, -4)] == [1, 0, 1, 2, 2, 1, 0, 1]
    assert [history.state("shop.users", 1, version).version for version in (1, 2, 3, 4)] == [1, 2, 3, 4]


def test_what_a_backfill_records_stands_after_the_streams_events_of_its_time(given: Given) -> None:
    """With a wall time of its own: the moment at which it was read."""
    history = given(
        inserted(1), updated(2, token=b"z" * 50), entry("baseline", 2, wall=7, token=None, new={"_id": 1, "n": 7})
    )

    assert [n(history, when) for when in (at(2), at(6.9), at(7), cluster(2), 2, 3)] == [2, 2, 7, 7, 2, 7]


def test_a_drop_between_two_events_of_a_document_ends_it_in_time(given: Given) -> None:
    """A drop is no event of the document: found by its timeline alone, it would go on living."""
    history = given(inserted(1), of_collection("drop", 5), inserted(9), of_collection("dropDatabase", 20, "shop"))

    assert [n(history, at(s)) for s in (4, 5, 8, 9, 19, 20, 50)] == [1, None, None, 9, 9, None, None]
    assert [n(history, cluster(s)) for s in (4, 5, 9, 20)] == [1, None, 9, None]
    assert list(history.collection_as_of("shop.users", at(7))) == []
    assert list(history.collection_as_of("shop.users", at(10))) == [{"_id": 1, "n": 9}]
    ended = history.state("shop.users", 1, at(30)).ended_by
    assert ended is not None
    assert ended.operation == "dropDatabase"


def test_a_collection_is_compared_across_a_drop_life_by_life(given: Given) -> None:
    """What came after the drop is no part of what was there before it, though it has the same name and ids."""
    both = [inserted(2, document_id=2), inserted(3, document_id=3)]
    again = [inserted(6, document_id=2), inserted(7, document_id=4)]
    history = given(inserted(1), *both, of_collection("drop", 5), *again)

    found = [
        (c.document_id, c.before is None, c.after is None) for c in history.collection_diff("shop.users", at(4), at(8))
    ]
    assert found == [(1, False, True), (2, False, False), (3, False, True), (4, True, False)]
    back = [
        (c.document_id, c.before is None, c.after is None) for c in history.collection_diff("shop.users", at(8), at(4))
    ]
    assert back == [(1, True, False), (2, False, False), (3, True, False), (4, False, True)]


def test_a_rename_takes_the_documents_along_and_ends_what_was_there(given: Given) -> None:
    """As of before it under the old name, as of after it under the new one."""
    history = given(
        inserted(1),
        inserted(2, namespace="shop.people", document_id=2),
        of_collection("rename", 5, to="shop.people"),
        updated(9, namespace="shop.people"),
    )

    assert [n(history, at(s), 1, "shop.people") for s in (4, 5, 9)] == [None, 1, 9]
    assert [n(history, at(s), 2, "shop.people") for s in (4, 5)] == [2, None]
    assert [n(history, at(s)) for s in (4, 5)] == [1, None]
    found = [list(history.collection_as_of("shop.people", at(s))) for s in (4, 6, 9)]
    assert found == [[{"_id": 2, "n": 2}], [{"_id": 1, "n": 1}], [{"_id": 1, "n": 9}]]
    state = history.state("shop.people", 1, at(6))
    assert state.entry is not None
    assert (state.entry.namespace, state.version) == ("shop.users", 1)
    arrival = history.arrival_after("shop.people", history.state("shop.people", 1, at(4)).position)
    assert arrival is not None
    assert arrival.namespace == "shop.users"


def test_what_a_rename_brings_from_what_was_not_watched_is_unknown(given: Given) -> None:
    """Not empty, and not what had the name before."""
    history = given(
        inserted(1),
        of_collection("rename", 5, namespace="shop.tmp", to="shop.users"),
        inserted(9, document_id=7),
    )

    for document_id in (1, 2):
        with pytest.raises(UnknownStateError, match=r"brought it from shop\.tmp, of which nothing is recorded"):
            history.as_of("shop.users", document_id, at(10))
    assert n(history, at(10), 7) == 9
    assert n(history, at(4)) == 1
    with pytest.raises(UnknownStateError):
        history.collection_as_of("shop.users", at(10))
    collection = history.collection("shop.users", at(10))
    assert [told.document for told in collection.documents()] == [{"_id": 7, "n": 9}]
    assert collection.unknown is not None


def test_an_update_without_anything_before_it_is_unknown_and_said_so(given: Given) -> None:
    """No baseline, no insert: a part of a document is not the document."""
    history = given(updated(1), inserted(2, document_id=2))

    with pytest.raises(UnknownStateError, match="no entry tells the whole document"):
        history.as_of("shop.users", 1, at(5))
    with pytest.raises(UnknownStateError, match="no entry tells the whole document"):
        history.diff("shop.users", 1, at(1), at(5))
    with pytest.raises(UnknownStateError):
        list(history.collection_as_of("shop.users", at(5)))
    assert [(told.document_id, told.unknown is None) for told in history.collection("shop.users").documents()] == [
        (1, False),
        (2, True),
    ]


def test_what_was_there_before_watching_began_is_not_said_to_be_absent(given: Given) -> None:
    """A baseline, or a change of what nobody saw come, tells that it may have been there."""
    history = given(
        entry("baseline", 5, new={"_id": 1, "n": 5}, token=None),
        updated(6, document_id=2),
        inserted(7, document_id=3),
    )

    for document_id, operation in ((1, "baseline"), (2, "update")):
        with pytest.raises(UnknownStateError, match=f"first recorded event is no insert, but {operation}"):
            history.as_of("shop.users", document_id, at(4))
    assert n(history, at(4), 3) is None
    assert n(history, at(4), 4) is None
    assert n(history, at(5)) == 5
    with pytest.raises(UnknownStateError, match="its first recorded event is baseline"):
        history.collection_as_of("shop.users", at(4))
    assert list(history.collection_as_of("shop.users", at(5))) == [{"_id": 1, "n": 5}]
    assert list(history.collection_as_of("shop.other", at(4))) == []


def test_a_rejected_event_makes_the_documents_after_it_unknown(given: Given, database: Database[Any]) -> None:
    """Until something tells them whole again."""
    history = given(inserted(1), inserted(9, document_id=2))
    database.rejected.insert_one({"_id": Binary(b"x" * 16), "namespace": "shop.users", "cluster_time": cluster(5)})

    assert n(history, at(4)) == 1
    with pytest.raises(UnknownStateError, match="rejected"):
        history.as_of("shop.users", 1, at(6))
    assert n(history, at(9), 2) == 9


def rejected(database: Database[Any], second: int, **fields: Any) -> None:
    """An entry of `rejected` of a cluster time."""
    number = database.rejected.count_documents({})
    kept = {"_id": Binary(bytes([number]) * 16), "namespace": "shop.users", "cluster_time": cluster(second)}
    database.rejected.insert_one(kept | {"operation": "update"} | fields)


def told(history: Reader, second: float) -> dict[Any, str | None]:
    """The documents of the collection, and why each is unknown."""
    return {found.document_id: found.unknown for found in history.collection("shop.users", at(second)).documents()}


def test_a_rejected_event_concerns_its_own_document_alone(given: Given, database: Database[Any]) -> None:
    """One document made its whole collection unreadable for ever; the answers about all go on, and name it."""
    history = given(inserted(1), inserted(2, document_id=2), inserted(3, document_id=3))
    rejected(database, 5, document_id=2)
    rejected(database, 6, document_id=4, operation="insert")

    assert (n(history, at(9), 1), n(history, at(9), 3), n(history, at(4), 2)) == (1, 3, 2)
    for document_id in (2, 4):
        with pytest.raises(UnknownStateError, match=f"watcher rejected retry {bytes([document_id // 4]).hex() * 16}"):
            history.as_of("shop.users", document_id, at(9))
    assert history.as_of("shop.users", 4, at(5)) is None
    unknown = told(history, 9)
    assert [document_id for document_id, reason in unknown.items() if reason is None] == [1, 3]
    assert all("rejected" in (unknown[document_id] or "") for document_id in (2, 4))
    assert told(history, 4) == {1: None, 2: None, 3: None}
    changed = history.collection_diff("shop.users", at(4), at(9))
    assert {found.document_id: found.unknown is not None for found in changed} == {2: True, 4: True}


def test_an_older_version_kept_no_id_so_it_is_read_from_the_event(given: Given, database: Database[Any]) -> None:
    """After an update, what was kept before concerns one document, too."""
    history = given(inserted(1), inserted(2, document_id=2))
    kept = an_event("update", ns={"db": "shop", "coll": "users"}, documentKey={"_id": 2}, clusterTime=cluster(5))
    old = {"_id": Binary(b"old rejected one"), "namespace": "shop.users", "cluster_time": cluster(5), "event": kept}
    database.rejected.insert_one(old)

    assert n(history, at(9)) == 1
    assert told(history, 9)[1] is None
    with pytest.raises(UnknownStateError, match="rejected"):
        history.as_of("shop.users", 2, at(9))


def test_a_rejected_drop_concerns_its_whole_collection(given: Given, database: Database[Any]) -> None:
    """None of the documents may be there any more."""
    history = given(inserted(1), inserted(2, document_id=2), inserted(3, namespace="shop.other"))
    rejected(database, 5, operation="drop")

    assert all(told(history, 9).values())
    assert n(history, at(9), namespace="shop.other") == 3


def test_what_cannot_be_read_concerns_what_it_may_and_not_for_ever(given: Given, database: Database[Any]) -> None:
    """An event of an unknown form made every document of every database unreadable for ever."""
    history = given(inserted(1), inserted(30, document_id=2), inserted(2, namespace="shop.other"))
    whole = an_event("update", ns={"db": "shop", "coll": "users"}, documentKey={"_id": 1}, clusterTime=cluster(5))
    cut = whole[: whole.index(b"documentKey")]
    damaged = {"_id": Binary(b"damaged rejected"), "event": cut, "rejected_at": at(6)}
    database.rejected.insert_one(damaged)
    with pytest.raises(UnknownStateError, match="watcher rejected retry " + b"damaged rejected".hex()):
        history.as_of("shop.users", 1, at(9))
    assert n(history, at(40), 2) == 30
    assert n(history, at(9), namespace="shop.other") == 2

    database.rejected.delete_many({})
    database.rejected.insert_one({"_id": Binary(b"nothing to tell."), "event": b"\0", "rejected_at": at(-50)})
    with pytest.raises(UnknownStateError, match="watcher checkpoint set --now"):
        history.as_of("shop.other", 1, at(9))
    assert n(history, at(40), 2) == 30


def test_a_gap_is_named_where_an_answer_reaches_across_it_and_only_there(given: Given) -> None:
    """Before it, and after something told the document whole, it does not matter; nor once history is level."""
    history = given(
        inserted(1), gap(3, 5), inserted(7, document_id=2), gap(10, 12, level=14), inserted(20, document_id=3)
    )

    def gaps(document_id: int, when: float) -> list[int]:
        return [
            found.cluster_time.time - cluster(0).time
            for found in history.state("shop.users", document_id, at(when)).gaps
        ]

    assert [gaps(1, when) for when in (2, 4, 8, 11, 13, 30)] == [[], [3], [3], [3, 10], [3, 10], [3]]
    assert [gaps(2, when) for when in (8, 11, 30)] == [[], [10], []]
    assert gaps(3, 30) == []
    assert n(history, at(30)) == 1
    assert [g.cluster_time for g in history.collection("shop.users", at(13)).gaps] == [cluster(3), cluster(10)]


def test_a_version_that_is_not_there_is_no_other_one(given: Given) -> None:
    """The message says how many there are."""
    history = given(inserted(1), updated(2))

    for number, told in ((3, "no version 3: there are 2 versions"), (-3, "no version -3"), (0, "from 1 to 2")):
        with pytest.raises(NoSuchVersionError, match=told) as raised:
            history.as_of("shop.users", 1, number)
        assert raised.value.count == 2
    with pytest.raises(NoSuchVersionError, match="no version of it is recorded"):
        history.as_of("shop.users", 99, -1)


@pytest.mark.parametrize("document_id", [None, 1.5, {"$in": [1]}, Int64(2**40), True, "1", {"a": {"b": 1}}], ids=repr)
def test_every_id_is_found_by_every_kind_of_moment(given: Given, document_id: Any) -> None:
    """A null is an id, and a document with operators is a value."""
    history = given(inserted(1), inserted(2, document_id=document_id), updated(3, document_id=document_id))

    assert [n(history, when, document_id) for when in (1, 2, -1, at(2), at(3), cluster(2), None)] == [
        2,
        3,
        3,
        2,
        3,
        2,
        3,
    ]
    assert history.state("shop.users", document_id, -1).version == 2


def test_what_is_no_moment_is_refused(given: Given) -> None:
    """A naive time could mean anything, and a truth value is no version."""
    history = given(inserted(1))
    wrong: Any

    with pytest.raises(ValueError, match="time zone"):
        history.as_of("shop.users", 1, datetime(2026, 1, 1))  # noqa: DTZ001 - that is the point
    for wrong in (True, "yesterday", 1.5):
        with pytest.raises(TypeError):
            history.as_of("shop.users", 1, wrong)
    wrong = 3
    with pytest.raises(TypeError, match="no version numbers"):
        history.collection_as_of("shop.users", wrong)


def test_a_deleted_document_is_told_as_of_before_its_deletion(given: Given) -> None:
    """And its deletion is named afterwards."""
    gone = entry("delete", 5, new={})
    history = given(inserted(1), gone, inserted(9))

    assert [n(history, when) for when in (at(4), at(5), at(9), 1, 2, 3)] == [1, None, 9, 1, None, 9]
    state = history.state("shop.users", 1, 2)
    assert state.document is None
    assert state.ended_by is not None
    assert state.ended_by.operation == "delete"
    later = history.first_later(state)
    assert later is not None
    assert later.operation == "insert"
