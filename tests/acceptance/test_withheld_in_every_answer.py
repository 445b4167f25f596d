"""What is withheld is in no answer, no file and no page, and nobody is named by it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from change_history.stored.reading import RAW
from tests.support.daemon import Daemon, watcher
from tests.support.web import Served, path_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pymongo.database import Database

MARK = "Xq9SecretMark"
RULES = "*.*:password=drop,*.*:card=mask,*.*:**.ssn=hash,*.*:profile=drop,*.*:updated_by=drop"


def test_no_secret_gets_out_by_stamps_contexts_files_or_pages(
    replica_set_uri: str, database: Database[Any], make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    """A field that names who wrote may be withheld, a context document have more in it than it should."""
    fields = {"redact": RULES, "redact_key": "sixteen characters", "actor_fields": "updated_by", "log_level": "debug"}
    daemon = make_daemon(replica_set_uri, database.name, **fields).start().ready()
    people, namespace = database["people"], f"{database.name}.people"
    secret = {"password": MARK, "card": MARK, "ssn": MARK, "profile": {MARK: [MARK]}, "updated_by": MARK}
    people.insert_one({"_id": 1, "name": "Ann", **secret})
    with database.client.start_session() as session, session.start_transaction():
        context = {"actor": "alice", "reason": "asked for", "note": MARK, MARK: 1}
        database["watcher_context"].insert_one(context, session=session)
        people.update_one({"_id": 1}, {"$set": {f"profile.{MARK}2": 1, "updated_by": f"{MARK}3"}}, session=session)
    people.insert_one({"_id": "last"})
    daemon.recorded(namespace, "last")

    for name in daemon.database.list_collection_names(filter={"type": "collection"}):
        for stored in daemon.database.get_collection(name, codec_options=RAW).find():
            assert MARK.encode() not in bytes(stored.raw), name
    for words in (
        ("log", namespace, "1"),
        ("show", namespace, "1", "--at", "1"),
        ("diff", namespace, "1", "1", "-1", "--json"),
        ("blame", namespace, "1"),
        ("export", namespace, "--at", "now", "-o", str(tmp_path / "at.parquet")),
        ("export", namespace, "-o", str(tmp_path / "changes.csv")),
        ("lake", "once", "--to", str(tmp_path / "lake")),
    ):
        said = watcher(daemon, *words)
        assert said.returncode == 0, (words, said.stderr)
        assert MARK not in said.stdout + said.stderr, words
    refused = watcher(daemon, "revert", namespace, "1", "--to", "1", "--yes")
    assert refused.returncode != 0
    assert MARK not in refused.stdout + refused.stderr
    kept = people.find_one({"_id": 1})
    assert kept is not None
    assert kept["updated_by"] == f"{MARK}3"

    with Served(tmp_path / "served", uri=replica_set_uri, history_database=daemon.database.name) as served:
        document = f"/api/v1{path_of('collections', namespace, 'documents', '1')}"
        for path in (document, f"{document}/events", f"{document}/versions", f"{document}/blame"):
            answer = served.get(path)
            assert answer.status == 200, (path, answer.body)
            assert MARK.encode() not in answer.body, path
    daemon.stop()
    for file in (each for each in tmp_path.rglob("*") if each.is_file()):
        assert MARK.encode() not in file.read_bytes(), file
