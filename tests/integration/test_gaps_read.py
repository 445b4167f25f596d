"""Gaps read from a real server: from an index, in their place, and only where they matter."""

from __future__ import annotations

from hashlib import blake2b
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest
from bson import Timestamp
from bson.raw_bson import RawBSONDocument

import models
from change_history import Selection
from change_history.bson.cluster_time import ClusterTime
from change_history.bson.values import document_to_python
from change_history.query import gaps as module
from change_history.reader import Reader
from change_history.stored.event import to_event
from change_history.stored.reading import history_collection
from models import HistoryModel
from watcher.gaps import gap

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo.database import Database

START = 1_700_000_000


def at(second: int) -> Timestamp:
    """A cluster time."""
    return Timestamp(START + second, 1)


def lose(
    database: Database[Any], since: int, until: int, include: str = "shop.*", exclude: tuple[str, ...] = ()
) -> None:
    """Record a gap, as the daemon does."""
    token = repr((since, include)).encode()
    lost = gap.Gap("default", token, ClusterTime.of(at(since)), ClusterTime.of(at(until)), "lost", (include,), exclude)
    database.history.insert_one(RawBSONDocument(gap.document(lost, (START * 1000).to_bytes(8, "little"))))


def happen(database: Database[Any], second: int, namespace: str = "shop.users") -> None:
    """Record an event."""
    token = repr((second, namespace)).encode()
    stored = HistoryModel(
        id=(START + second).to_bytes(4, "big") + (1).to_bytes(4, "big") + blake2b(token, digest_size=8).digest(),
        namespace=namespace,
        document_id=1,
        operation="delete",
        cluster_time=at(second),
        changes=[],
        resume_token=token,
    )
    database.history.insert_one(stored.to_mongo())


@pytest.fixture
def history(database: Database[Any], replica_set_uri: str) -> Iterator[Reader]:
    """Events every ten seconds, and gaps of three scopes between them."""
    models.connect(replica_set_uri, database.name)
    HistoryModel.ensure_indexes()
    models.disconnect()
    for second in range(0, 100, 10):
        happen(database, second)
    lose(database, 20, 25)
    lose(database, 40, 65, include="*.*", exclude=("shop.orders",))
    lose(database, 80, 85, include="crm.*")
    with Reader.connect(replica_set_uri, database.name) as opened:
        yield opened


def starts(history: Reader, *asked: Any, **more: Any) -> list[int]:
    """When the gaps that are found begin."""
    return [module.view(found).since.time - START for found in history.gaps(*asked, **more)]


def told(
    history: Reader, selection: Selection, *, cut: bool = False, limit: int | None = None
) -> list[tuple[str, int]]:
    """An answer with its gaps: operations and seconds."""
    answer = history.with_gaps(selection, history.stored(selection, limit=limit), cut=cut)
    return [(event.operation, event.cluster_time.time - START) for event in map(to_event, answer)]


def test_the_index_answers_so_that_every_log_can_ask(history: Reader, database: Database[Any]) -> None:
    """Otherwise each `watcher log` would read the whole history."""
    cursor = module.find(history_collection(database), since=at(0), until=at(100))
    plan = document_to_python(cursor.explain())
    text = repr(plan["queryPlanner"]["winningPlan"])
    stats = plan["executionStats"]

    assert "'gaps'" in text
    assert "COLLSCAN" not in text
    assert "SORT" not in text
    assert stats["totalDocsExamined"] == 3


def test_gaps_are_found_by_what_was_watched_and_by_time(history: Reader) -> None:
    """A gap of another stream does not spoil an answer; one that merely reaches into the window does."""
    assert starts(history) == [20, 40, 80]
    assert starts(history, "shop.users") == [20, 40]
    assert starts(history, "shop.orders") == [20]
    assert starts(history, "crm.people") == [40, 80]
    assert starts(history, since=at(60)) == [40, 80]
    assert starts(history, since=at(26), until=at(39)) == []
    assert starts(history, "shop.users", until=at(30)) == [20]


def test_a_gap_stands_in_its_place_in_time(history: Reader) -> None:
    """After the last event before it: it begins where history is still whole."""
    answer = told(history, Selection("shop.users"))

    assert [entry for entry in answer if entry[1] in {20, 40}] == [
        ("delete", 20),
        ("gap", 20),
        ("delete", 40),
        ("gap", 40),
    ]
    assert ("gap", 80) not in answer
    assert [second for _, second in answer] == sorted(second for _, second in answer)


def test_an_answer_cut_to_the_newest_keeps_only_gaps_it_reaches_across(history: Reader) -> None:
    """The one that ended before its first event is out of sight, the one that reaches into it is not."""
    assert told(history, Selection("shop.users"), cut=True, limit=4)[:2] == [("gap", 40), ("delete", 60)]


def test_no_field_and_no_id_hides_a_gap(history: Reader) -> None:
    """What happened in it to this field of this document is not known either."""
    assert ("gap", 20) in told(history, Selection("shop.users", 1))
    assert list(history.gaps("shop.users", since=at(90))) == []


def test_a_new_gap_is_followed(history: Reader, database: Database[Any]) -> None:
    """Who watches a log live must learn of a loss as of everything else."""
    stop = Event()
    following = history.follow_stored(Selection("shop.users"), stop=stop)
    for _ in range(12):
        next(following)
    lose(database, 200, 210, include="crm.*")
    lose(database, 300, 310)
    assert to_event(next(following)).cluster_time == at(300)
    stop.set()
    following.close()  # type: ignore[attr-defined]
