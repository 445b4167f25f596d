"""`with recorded(session, actor=…)`: the context document is in the transaction, or nothing is."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from pymongo import AsyncMongoClient, MongoClient
from pymongo.errors import DuplicateKeyError, PyMongoError

from change_history import ContextRefusedError, acting, expire_contexts, recorded
from change_history.contexts import Acting, who_acts
from change_history.stored.actor import LONGEST
from tests.support.actors import CONTEXTS, said
from tests.support.servers import Standalone

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from pymongo.client_session import ClientSession
    from pymongo.database import Database


def test_a_block_without_a_transaction_is_one(client: MongoClient[Any], database: Database[Any]) -> None:
    """Committed with its writes at the end; events and context document are of one transaction."""
    database.a.insert_one({"_id": 0})
    with database.watch() as stream:
        with (
            client.start_session() as session,
            recorded(session, actor="alice", reason="ticket 7", database=database.name) as given,
        ):
            assert given is session
            database.a.insert_one({"_id": 1}, session=session)
            database.a.delete_one({"_id": 0}, session=session)
            assert database.a.count_documents({}) == 1  # others do not see it yet

        events = [stream.next() for _ in range(3)]
    assert said(database) == [("alice", "ticket 7", None)]
    assert [(event["operationType"], event["ns"]["coll"]) for event in events] == [
        ("insert", CONTEXTS),
        ("insert", "a"),
        ("delete", "a"),
    ]
    assert len({(str(event["lsid"]), event["txnNumber"]) for event in events}) == 1


def test_a_block_that_raises_leaves_nothing(client: MongoClient[Any], database: Database[Any]) -> None:
    """Neither its writes nor a context document that would be taken for the next transaction's."""
    database.a.insert_one({"_id": 0})
    with client.start_session() as session:
        with pytest.raises(ZeroDivisionError), recorded(session, actor="alice", database=database):
            database.a.insert_one({"_id": 1 / database.a.delete_one({"_id": 1}, session=session).deleted_count})
        with recorded(session, actor="bob", database=database):
            database.a.insert_one({"_id": 1}, session=session)

    assert database.a.count_documents({}) == 2
    assert said(database) == [("bob", None, None)]


def test_a_retried_callback_says_it_once(client: MongoClient[Any], database: Database[Any]) -> None:
    """`with_transaction` runs the callback again; what the first run said was rolled back."""
    runs: list[ClientSession] = []

    def rename(session: ClientSession) -> None:
        with recorded(session, actor="alice", database=database):
            database.a.insert_one({"_id": len(runs)}, session=session)
            runs.append(session)
            if len(runs) == 1:
                raise _transient()

    with client.start_session() as session:
        session.with_transaction(rename)

    assert len(runs) == 2
    assert said(database) == [("alice", None, None)]
    assert database.a.count_documents({}) == 1


def test_the_outer_block_counts_again_after_an_inner_one(client: MongoClient[Any], database: Database[Any]) -> None:
    """Or what follows in the same transaction would be told of the wrong one."""
    with client.start_session() as session, recorded(session, actor="alice", database=database):
        with recorded(session, actor="bob", database=database):
            database.a.insert_one({"_id": 1}, session=session)
        database.a.insert_one({"_id": 2}, session=session)

    assert [actor for actor, *_ in said(database)] == ["alice", "bob", "alice"]


def test_what_follows_an_inner_block_that_raised_is_not_told_of_its_actor(
    client: MongoClient[Any], database: Database[Any]
) -> None:
    """Somebody catches the error and goes on in the same transaction: the outer block counts for that."""
    with client.start_session() as session, recorded(session, actor="alice", database=database):
        with suppress(ZeroDivisionError), recorded(session, actor="bob", database=database):
            raise ZeroDivisionError
        database.a.insert_one({"_id": 1}, session=session)
    assert [actor for actor, *_ in said(database)] == ["alice", "bob", "alice"]

    def write(session: ClientSession) -> None:
        with recorded(session, actor="carol", database=database), recorded(session, actor="dave", database=database):
            database.a.insert_one({"_id": 1}, session=session)

    with client.start_session() as session, pytest.raises(DuplicateKeyError):
        session.with_transaction(write)  # the error of the block itself, not that its transaction is over
    assert len(said(database)) == 3


def test_one_context_document_is_enough_for_two_databases(client: MongoClient[Any], database: Database[Any]) -> None:
    """One that is watched: all events of the transaction carry one session and number."""
    other = client[f"{database.name}_other"]
    try:
        with client.watch([{"$match": {"ns.db": {"$in": [database.name, other.name]}}}]) as stream:
            with client.start_session() as session, recorded(session, actor="alice", database=database.name):
                database.a.insert_one({"_id": 1}, session=session)
                other.a.insert_one({"_id": 1}, session=session)
            events = [stream.next() for _ in range(3)]
        with client.start_session() as session, recorded(session, actor="bob", database=[database.name, other.name]):
            other.a.insert_one({"_id": 2}, session=session)

        assert {event["ns"]["db"] for event in events} == {database.name, other.name}
        assert len({(str(event["lsid"]["id"]), event["txnNumber"]) for event in events}) == 1
        assert [actor for actor, *_ in said(other)] == ["bob"]
    finally:
        client.drop_database(other.name)


def test_who_acts_is_known_to_the_thread_that_said_it_only(client: MongoClient[Any], database: Database[Any]) -> None:
    """A worker that takes another's actor would tell a lie."""
    with acting("alice", reason="ticket 7", request="r1"), ThreadPoolExecutor(1) as pool:
        assert pool.submit(who_acts).result() is None
        with acting("bob"):
            assert who_acts() == Acting(actor="bob")
        with client.start_session() as session, recorded(session, request="r2", database=database):
            database.a.insert_one({"_id": 1}, session=session)
    assert who_acts() is None
    assert said(database) == [("alice", "ticket 7", "r2")]


def test_blocks_that_end_out_of_turn_leave_nobody_behind() -> None:
    """A generator, or the end of a web request, outlasts another's: what is written later would be told of either."""

    def rows(name: str) -> Generator[str]:
        with acting(name):
            yield name

    first, second = rows("alice"), rows("bob")
    next(first)
    next(second)
    first.close()
    assert who_acts() == Acting(actor="bob")
    second.close()
    assert who_acts() is None


def test_a_task_that_outlasts_its_block_acts_for_nobody() -> None:
    """A worker that the first request happened to start would do the work of all others in its name."""

    async def begin() -> list[Acting | None]:
        ended = asyncio.Event()

        async def work() -> list[Acting | None]:
            seen = [who_acts()]
            await ended.wait()
            return [*seen, who_acts()]

        with acting("alice"):
            task = asyncio.create_task(work())
            await asyncio.sleep(0)
        ended.set()
        return await task

    assert asyncio.run(begin()) == [Acting(actor="alice"), None]


def test_tasks_that_run_at_the_same_time_do_not_mix_up_who_acts() -> None:
    """Each keeps its own, however they take turns."""

    async def task(name: str) -> list[str]:
        seen = []
        with acting(name):
            for _ in range(20):
                await asyncio.sleep(0)
                seen.append(getattr(who_acts(), "actor", ""))
        return seen

    async def both() -> list[list[str]]:
        return list(await asyncio.gather(task("alice"), task("bob")))

    assert asyncio.run(both()) == [["alice"] * 20, ["bob"] * 20]


def test_an_asynchronous_session_takes_the_same_block(
    replica_set_uri: str, client: MongoClient[Any], database: Database[Any]
) -> None:
    """Alone, nested, and when it raises."""

    async def write() -> None:
        async with AsyncMongoClient[Any](replica_set_uri) as other, other.start_session() as session:
            there = other[database.name]
            async with recorded(session, actor="alice", database=there):
                await there.a.insert_one({"_id": 1}, session=session)
                async with recorded(session, actor="bob", database=there):
                    await there.a.insert_one({"_id": 2}, session=session)
                with suppress(ZeroDivisionError):
                    async with recorded(session, actor="eve", database=there):
                        raise ZeroDivisionError
            with pytest.raises(ZeroDivisionError):
                async with recorded(session, actor="carol", database=there):
                    raise ZeroDivisionError
            with pytest.raises(TypeError, match="async with"), recorded(session, actor="alice", database=there):
                pass

    asyncio.run(write())
    assert [actor for actor, *_ in said(database)] == ["alice", "bob", "alice", "eve", "alice"]
    assert database.a.count_documents({}) == 2


def test_what_is_missing_is_said_before_anything_is_written(
    replica_set_uri: str, client: MongoClient[Any], database: Database[Any]
) -> None:
    """And names the way out."""
    with client.start_session() as session:
        with pytest.raises(ValueError, match="acting"):
            recorded(session, database=database.name)
        with pytest.raises(ValueError, match="database="):
            recorded(session, actor="alice")
        with pytest.raises(ValueError, match="most"):
            recorded(session, actor="a" * (LONGEST + 1), database=database.name)
        with pytest.raises(ValueError, match="empty"):
            recorded(session, actor="", database=database.name)
        with pytest.raises(TypeError, match="must be str or int or ObjectId"):
            recorded(session, actor=True, database=database.name)
        with pytest.raises(TypeError, match="start_session"):
            recorded(client, actor="alice", database=database.name)  # type: ignore[type-var]
        assert not session.in_transaction
    deployment, _, options = replica_set_uri.partition("?")
    uri = f"{deployment.rstrip('/')}/{database.name}?{options}"
    with MongoClient[Any](uri) as named, named.start_session() as session, recorded(session, actor="alice"):
        named.get_default_database().a.insert_one({"_id": 1}, session=session)
    assert said(database) == [("alice", None, None)]


def test_a_server_without_transactions_is_named(tmp_path: Path, free_port: int) -> None:
    """Instead of the server's words about transaction numbers."""
    with (
        Standalone(tmp_path / "server", free_port, initiate=False, cache_gb=0.25) as alone,
        MongoClient[Any](alone.uri) as bare,
        bare.start_session() as session,
        pytest.raises(ContextRefusedError, match="--replSet"),
        recorded(session, actor="alice", database="shop"),
    ):
        pass


def test_contexts_expire_on_request(database: Database[Any]) -> None:
    """And the age can be changed."""
    expire_contexts(database, timedelta(hours=1))
    expire_contexts(database, timedelta(hours=2))

    index = database[CONTEXTS].index_information()["at_1"]
    assert index["expireAfterSeconds"] == 7200
    with pytest.raises(ValueError, match="below zero"):
        expire_contexts(database, timedelta(seconds=-1))


def _transient() -> PyMongoError:
    error = PyMongoError("another writer came first")
    error._add_error_label("TransientTransactionError")
    return error
