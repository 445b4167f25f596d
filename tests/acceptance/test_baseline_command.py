"""A baseline taken anew: after somebody has removed old history, and what `doctor` says of that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from change_history.reader import Reader
from tests.support.daemon import eventually, watcher

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymongo.database import Database

    from tests.support.daemon import Daemon


def _beheaded(daemon: Daemon, database: Database[Any]) -> str:
    """Have some documents recorded, and remove the beginning of their history; their namespace."""
    users = database["users"]
    users.insert_many([{"_id": n, "n": 0} for n in range(5)])
    users.update_many({}, {"$set": {"n": 1}})
    users.insert_one({"_id": "last"})
    namespace = f"{database.name}.users"
    daemon.recorded(namespace, "last")
    daemon.database["history"].delete_many({"operation": "insert", "document_id": {"$ne": "last"}})
    return namespace


def test_removed_history_is_noticed_and_a_baseline_tells_the_documents_again(
    database: Database[Any], daemon: Daemon
) -> None:
    """`show` would refuse for ever; the daemon may run meanwhile, or start later, or be told one document only."""
    namespace = _beheaded(daemon, database)
    refused = watcher(daemon, "show", namespace, "1")
    assert refused.returncode == 10
    said = watcher(daemon, "doctor")
    assert f"watcher baseline {namespace}" in said.stdout

    one = watcher(daemon, "baseline", namespace, "1")

    assert one.returncode == 0, one.stderr
    assert "Done" in one.stdout
    with Reader(daemon.client, daemon.database.name) as history:
        assert history.as_of(namespace, 1, None) == {"_id": 1, "n": 1}
        assert history.state(namespace, 2, None).unknown is not None
        daemon.stop()
        later = watcher(daemon, "baseline", namespace)
        assert "as soon as it runs" in later.stdout
        database["users"].update_one({"_id": 3}, {"$set": {"n": 7}})
        daemon.start().ready()
        eventually(lambda: daemon.database["baselines"].count_documents({}) == 0, "the baseline")
        for n in range(5):
            assert history.as_of(namespace, n, None) == {"_id": n, "n": 7 if n == 3 else 1}
        database["users"].update_one({"_id": 2}, {"$set": {"n": 9}})
        eventually(lambda: history.as_of(namespace, 2, None) == {"_id": 2, "n": 9}, "an update on top of it")
    assert f"watcher baseline {namespace}" not in watcher(daemon, "doctor").stdout
    assert watcher(daemon, "baseline", "not.watched").returncode == 3


def test_a_collection_that_was_renamed_is_not_said_to_have_no_history(database: Database[Any], daemon: Daemon) -> None:
    """What is recorded under the former name is its history, and nothing has to be recorded anew."""
    database["users"].insert_one({"_id": 1, "n": 1})
    daemon.recorded(f"{database.name}.users", 1)
    database["users"].rename("people")
    eventually(lambda: daemon.database["history"].find_one({"operation": "rename"}) is not None, "the rename")

    done = watcher(daemon, "baseline", f"{database.name}.people", "1")
    nowhere = watcher(daemon, "baseline", f"{database.name}.nowhere", "1")

    assert f"history tells {database.name}.people" in done.stdout
    assert "no history" in nowhere.stdout
    assert daemon.database["history"].count_documents({"namespace": f"{database.name}.people"}) == 0


def test_a_baseline_of_one_document_tells_nothing_that_the_rules_withhold(
    replica_set_uri: str, database: Database[Any], make_daemon: Callable[..., Daemon]
) -> None:
    """Neither where history knows the document nor where it has to be recorded whole."""
    rule = f"{database.name}.*:email=drop"
    daemon = make_daemon(replica_set_uri, database.name, redact=rule).start().ready()
    users, namespace = database["users"], f"{database.name}.users"
    users.insert_many([{"_id": n, "email": f"secret{n}@x", "n": n} for n in range(3)])
    for n in range(3):
        daemon.recorded(namespace, n)
    daemon.database["history"].delete_many({"document_id": 1})
    apply_one = {"op": "u", "ns": namespace, "o2": {"_id": 2}, "o": {"_id": 2, "email": "secret9@x", "n": 9}}
    database.client.admin.command("applyOps", [apply_one])

    for n in range(3):
        assert watcher(daemon, "baseline", namespace, str(n)).returncode == 0

    with Reader(daemon.client, daemon.database.name) as history:
        told = [history.as_of(namespace, n, None) for n in range(3)]
    assert [document and document["n"] for document in told] == [0, 1, 9]
    assert [document and type(document["email"]).__name__ for document in told] == ["Redacted"] * 3
    for name in daemon.database.list_collection_names():
        assert b"secret" not in b"".join(daemon.database[name].find_raw_batches({})), name


def test_a_baseline_of_one_document_is_not_about_what_a_collation_takes_for_it(
    database: Database[Any], daemon: Daemon
) -> None:
    """The document is gone, and another whose `_id` counts as the same is there: history went on telling both."""
    names = database.create_collection("names", collation={"locale": "en", "strength": 1})
    names.insert_one({"_id": "ann", "n": 1})
    namespace = f"{database.name}.names"
    daemon.recorded(namespace, "ann")
    operations = [{"op": "d", "ns": namespace, "o": {"_id": "ann"}}, {"op": "i", "ns": namespace, "o": {"_id": "Ann"}}]
    for operation in operations:
        database.client.admin.command("applyOps", [operation])

    assert watcher(daemon, "baseline", namespace, '"ann"').returncode == 0

    with Reader(daemon.client, daemon.database.name) as history:
        assert list(history.collection_as_of(namespace, None)) == list(names.find()) == [{"_id": "Ann"}]


def test_a_baseline_tells_what_apply_ops_wrote_without_an_event(database: Database[Any], daemon: Daemon) -> None:
    """The command's writes come to no change stream: history would differ from the collection until somebody looks."""
    users = database["users"]
    users.insert_many([{"_id": n, "n": 0} for n in (1, 2)])
    namespace = f"{database.name}.users"
    daemon.recorded(namespace, 2)
    for operation in (
        {"op": "i", "ns": namespace, "o": {"_id": 3, "n": 3}},
        {"op": "u", "ns": namespace, "o2": {"_id": 1}, "o": {"$v": 2, "diff": {"u": {"n": 7}}}},
        {"op": "d", "ns": namespace, "o": {"_id": 2}},
    ):
        assert database.client.admin.command("applyOps", [operation])["results"] == [True]
    users.insert_one({"_id": "last"})
    daemon.recorded(namespace, "last")
    touched = {"namespace": namespace, "document_id": {"$in": [1, 2, 3]}}
    assert daemon.database["history"].count_documents(touched) == 2

    taken = watcher(daemon, "baseline", namespace)

    assert taken.returncode == 0, taken.stderr
    eventually(lambda: daemon.database["baselines"].count_documents({}) == 0, "the baseline")
    with Reader(daemon.client, daemon.database.name) as history:
        for n in (1, 2, 3):
            assert history.as_of(namespace, n, None) == users.find_one({"_id": n}), n


def test_an_index_that_removes_history_is_named(
    replica_set_uri: str, database: Database[Any], make_daemon: Callable[..., Daemon]
) -> None:
    """Nobody would notice until `show` refuses."""
    daemon = make_daemon(replica_set_uri, database.name).start().ready()
    daemon.database["history"].create_index("timestamp", expireAfterSeconds=3600, name="old")

    said = watcher(daemon, "doctor")

    assert said.returncode == 12
    assert "history.old" in said.stdout
    assert 'dropIndex("old")' in said.stdout
