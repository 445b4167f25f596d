"""Counting on a real server: what is counted is what is there, from an index, on the days of the person's zone."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from bson import Int64, Timestamp
from bson.raw_bson import RawBSONDocument
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo.errors import OperationFailure

from change_history import History, server_codes
from change_history.bson.paths import dotted_text, is_ambiguous, pattern
from change_history.query import stats
from change_history.query.selection import StatsQuestion
from change_history.query.stats import Numbers
from change_history.stored import chunks
from change_history.stored.event import path_of, to_event
from change_history.stored.names import PARTS
from change_history.stored.reading import as_query
from models import ABSENT, ChangeModel
from tests.support import query_plans
from tests.support.handmade_events import START, change, event_id, stored
from tests.support.recording import make_indexes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo.database import Database

BERLIN = ZoneInfo("Europe/Berlin")
HOUR = 3600
IDS: list[Any] = [1, "1", None, {"$ne": 1}, Int64(2), ABSENT]


def events() -> list[RawBSONDocument]:
    """Two weeks over the end of summer time in Berlin, three collections, ids of many types."""
    begin = int(datetime(2023, 10, 22, tzinfo=UTC).timestamp()) - START
    found = []
    for hour in range(0, 14 * 24, 5):
        document_id = IDS[hour % len(IDS)]
        changes = [change("n", 1, 2), change(f"items.{hour}.qty", 1, 2)][: 1 + hour % 2]
        about = {"operation": "update", "namespace": f"shop.{'abc'[hour % 3]}"}
        if document_id is ABSENT:
            about["operation"], changes = "modify", []
        found.append(stored(begin + hour * HOUR, document_id, *changes, **about))
    found.append(stored(begin, 2, change("n", 1, 2), namespace="shop.a", place=1))  # to the server one id with Int64(2)
    found.append(stored(begin + 1, ABSENT, operation="dropDatabase", namespace="gone"))
    found.append(stored(begin + 2, ABSENT, operation="invalidate", namespace=None))
    found.append(stored(begin + 3, 5, namespace="shop.a", timestamp=None))
    gap = {"_id": event_id(begin + 4), "operation": "gap", "cluster_time": Timestamp(START + begin + 4, 1)}
    return [*found, as_query(gap | {"description": {}})]


@pytest.fixture
def history(database: Database[Any], replica_set_uri: str) -> Iterator[History]:
    """A history with these events."""
    make_indexes(database)
    database.history.insert_many(events())
    with History.connect(replica_set_uri, database.name) as connected:
        yield connected


def counted(about: Any) -> dict[Any, Numbers]:
    """The numbers that ought to be there, by what `about` says of an event."""
    sums: dict[Any, list[int]] = defaultdict(lambda: [0, 0, 0])
    ids: dict[Any, set[str]] = defaultdict(set)
    for stored_event in events():
        event = to_event(stored_event)
        if event.operation == "gap":
            continue
        place = about(event)
        sums[place] = [
            total + more
            for total, more in zip(sums[place], (1, len(event.changes), len(stored_event.raw)), strict=True)
        ]
        if event.document_id is not ABSENT:
            ids[place].add(repr((event.namespace, event.document_id)))
    return {place: Numbers(len(ids[place]), *numbers) for place, numbers in sums.items()}


def when(event: Any) -> datetime:
    """The wall time of an event, or its cluster time where there is none."""
    found: datetime = event.timestamp or event.cluster_time.as_datetime()
    return found


def day_of(event: Any, zone: Any) -> datetime:
    """The beginning of an event's day, in UTC."""
    local = when(event).astimezone(zone)
    return datetime(local.year, local.month, local.day, tzinfo=zone).astimezone(UTC)


def test_numbers_by_collection_are_those_of_the_events(history: History) -> None:
    """Null is an id, no id is none, 2 and Int64(2) are one document; a gap is no event."""
    assert dict(history.stats().by_collection()) == counted(lambda event: event.namespace or "")
    (only,) = history.stats("shop.b").by_collection()
    assert only == ("shop.b", counted(lambda event: event.namespace)["shop.b"])


@pytest.mark.parametrize(
    ("name", "zone"), [("Europe/Berlin", BERLIN), ("UTC", UTC), ("Asia/Kathmandu", ZoneInfo("Asia/Kathmandu"))]
)
def test_days_are_those_of_the_zone(history: History, name: str, zone: Any) -> None:
    """An event late in the evening in Greenwich is of the next day in Berlin; one day has 25 hours."""
    found = {(day.astimezone(UTC), namespace): numbers for day, namespace, numbers in history.stats().by_day(name)}

    assert found == counted(lambda event: (day_of(event, zone), event.namespace or ""))


def test_the_busiest_come_first(history: History) -> None:
    """By events, and fields by changes without their positions."""
    documents = list(history.stats().busiest_documents(3))
    fields = list(history.stats().busiest_fields(100))
    of_documents = counted(lambda event: repr((event.namespace, event.document_id)))
    names = Counter(
        (event.namespace, pattern(path_of(told))) for event in map(to_event, events()) for told in event.changes
    )

    assert [numbers.events for *_, numbers in documents] == sorted(
        (numbers.events for numbers in of_documents.values() if numbers.documents), reverse=True
    )[:3]
    assert all(of_documents[repr((namespace, key))] == numbers for namespace, key, numbers in documents)
    assert {(namespace, field): changes for namespace, field, changes in fields} == names


@pytest.mark.parametrize("namespace", [None, "shop.a", "nobody.knows"])
def test_one_pass_counts_what_each_count_alone_does(history: History, namespace: str | None) -> None:
    """Ids that a sub-document could be taken for, days of a zone, events of no collection."""
    counting = history.stats(namespace)
    found = counting.everything("Europe/Berlin", 4)

    assert found.collections == list(counting.by_collection())
    assert found.days == list(counting.by_day("Europe/Berlin"))
    assert found.documents == list(counting.busiest_documents(4))
    assert found.fields == list(counting.busiest_fields(4))
    assert bool(found.collections) == (namespace != "nobody.knows")


def test_more_days_than_one_document_holds_are_counted_one_after_the_other(
    history: History, database: Database[Any]
) -> None:
    """The answer of one pass is one document."""
    long = "n" * 4000
    rows = [stored(n * 24 * HOUR, 1, namespace=f"db.{long}{n % 97}", place=n) for n in range(5000)]
    database.history.insert_many(rows)
    counting = history.stats()
    with pytest.raises(OperationFailure) as refused:
        list(counting._rows(stats.everything_pipeline(StatsQuestion().match(), "UTC", 2)))
    assert refused.value.code == server_codes.OBJECT_TOO_LARGE
    found = counting.everything("UTC", 2)

    assert len(found.days) >= len(rows)
    assert found.days == list(counting.by_day("UTC"))
    assert found.collections == list(counting.by_collection())


def test_a_window_includes_both_ends(history: History) -> None:
    """Wall times, and cluster times to the increment."""
    first = START + int(datetime(2023, 10, 22, tzinfo=UTC).timestamp()) - START

    def total(**window: Any) -> int:
        return sum(numbers.events for _, numbers in history.stats(**window).by_collection())

    assert total(since=Timestamp(first, 1), until=Timestamp(first + 3, 1)) == 5
    assert total(since=Timestamp(first, 2), until=Timestamp(first + 3, 0)) == 2
    wall = datetime.fromtimestamp(first + 0.5, UTC)
    assert total(since=wall, until=wall) == 2
    assert total(since=wall + timedelta(milliseconds=1), until=wall + timedelta(seconds=1)) == 1


def test_a_document_in_parts_counts_with_all_its_parts(history: History, database: Database[Any]) -> None:
    """Its head alone would make sixteen megabytes look like two hundred bytes."""
    begin = 10**6
    whole = bytes(stored(begin, 9, change("n", 1, 2), change("m", 1, 2), namespace="shop.large").raw)
    pieces = chunks.cut(event_id(begin), whole)
    head = chunks.head(whole, pieces)
    documents = [{"_id": piece.id, "data": piece.data} for piece in pieces]
    database[PARTS].insert_many(documents)
    database.history.insert_one(RawBSONDocument(head))
    size = len(head) + sum(len(as_query(document).raw) for document in documents)

    assert list(history.stats("shop.large").by_collection()) == [("shop.large", Numbers(1, 1, 2, size))]
    assert dict(history.stats().by_collection())["shop.large"] == Numbers(1, 1, 2, size)
    assert [numbers for *_, numbers in history.stats("shop.large").by_day("UTC")] == [Numbers(1, 1, 2, size)]
    assert [field for _, field, _ in history.stats("shop.large").busiest_fields(5)] == ["m", "n"]


QUESTIONS = [
    ("_id_", StatsQuestion()),
    ("_id_", StatsQuestion(since=datetime(2023, 10, 23, tzinfo=UTC), until=Timestamp(1_698_100_000, 0))),
    ("namespace_timeline", StatsQuestion("shop.a")),
    ("namespace_timeline", StatsQuestion("shop.a", since=datetime(2023, 10, 23, tzinfo=UTC))),
]


@pytest.mark.parametrize(("index", "question"), QUESTIONS)
def test_every_count_is_one_walk_along_an_index(
    history: History, database: Database[Any], index: str, question: StatsQuestion
) -> None:
    """Of the events that are asked for, and of no others."""
    counted_events = stats.events_pipeline(question.match(), with_parts=False)
    selected: stats.Pipeline = [{"$match": question.match()}]
    for pipeline in (
        stats.everything_pipeline(question.match(), "UTC", 3),
        stats.collections_pipeline(counted_events),
        stats.days_pipeline(counted_events, "UTC"),
        stats.documents_pipeline(counted_events, 3),
        stats.fields_pipeline(selected, 3),
    ):
        command = {"aggregate": "history", "pipeline": pipeline, "cursor": {}, "hint": dict(question.index)}
        explained = database.command("explain", command, verbosity="executionStats")
        plan = query_plans.winning(explained)

        assert query_plans.indexes(plan) == {index}
        assert not query_plans.stages(plan) & {"COLLSCAN", "SORT"}
        if question.namespace is not None:
            assert query_plans.examined(explained) <= database.history.count_documents(
                {"namespace": question.namespace}
            )


NAMES = st.sampled_from(["a", "b", "a.b", "0", "01", "-1", "+1", "1e3", "", " 1", "$[]", "9" * 30, "é", "\udcff"])
PATHS = st.one_of(
    st.just(()), st.tuples(NAMES), st.tuples(NAMES, st.one_of(NAMES, st.integers(0, 12)), NAMES | st.integers(0, 12))
)


@given(paths=st.lists(PATHS, min_size=1, max_size=20))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_server_leaves_positions_out_as_python_does(
    database: Database[Any], replica_set_uri: str, paths: list[tuple[str | int, ...]]
) -> None:
    """`log --stat` and `stats` must call one field by one name, whatever its keys look like."""
    make_indexes(database)
    database.history.delete_many({})
    changes = [described(path) for path in paths]
    database.history.insert_one(stored(0, 1, *changes))
    with History.connect(replica_set_uri, database.name) as history:
        found = {field: count for _, field, count in history.stats("shop.users").busiest_fields(1000)}

    assert found == Counter(pattern(path_of(told)) for told in to_event(stored(0, 1, *changes)).changes)


def described(path: tuple[str | int, ...]) -> ChangeModel:
    """A change at a path, with `path` where the daemon writes it."""
    encoded = tuple(key if isinstance(key, int) else key.encode("utf-8", "surrogateescape") for key in path)
    return change(dotted_text(path), path=list(path)) if is_ambiguous(encoded) else change(dotted_text(path))
