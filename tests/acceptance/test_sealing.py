"""Daemons that seal: killed, restarted, in partitions, a document erased meanwhile. Only a change is ever found."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

from bson import json_util

from change_history.seals.store import Store
from change_history.seals.verification import verify
from tests.support.background import repeated
from tests.support.daemon import eventually, watcher
from tests.support.sealing import Original, sealed_again, tampered
from watcher.cli import exit_codes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pymongo.collection import Collection
    from pymongo.database import Database

    from tests.support.daemon import Daemon


def write(collection: Collection[Any], number: int) -> None:
    """Write a document, and delete one now and then."""
    collection.update_one({"_id": number % 20}, {"$set": {"n": number, "name": "somebody"}}, upsert=True)
    if not number % 7:
        collection.delete_one({"_id": number % 5 + 10})


def streams(daemon: Daemon) -> dict[str, str]:
    """Up to where each stream is covered by the last seal."""
    last = Store(daemon.database).last()
    return last.seal.streams if last is not None else {}


def named(daemon: Daemon) -> list[dict[str, Any]]:
    """What `watcher verify` finds."""
    ran = watcher(daemon, "verify", "--json")
    lines = [json_util.loads(line) for line in ran.stdout.splitlines()]
    assert (ran.returncode == exit_codes.OK) is (len(lines) == 1), ran.stderr
    return lines[:-1]


def test_a_daemon_that_is_killed_again_and_again_leaves_nothing_unsealed(
    replica_set_uri: str, database: Database[Any], make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    """Neither what was on its way when it was killed, nor what was erased, is ever taken for tampered with."""
    file = tmp_path / "seals"
    database.a.insert_many([{"_id": number} for number in range(20)])
    daemon = make_daemon(replica_set_uri, database.name, seal="on", seal_interval_s=1, seal_file=file)
    with repeated(partial(write, database.a)):
        for _ in range(3):
            daemon.start().ready()
            sealed_again(daemon)
            assert verify(daemon.database).findings == []
            daemon.kill()
            assert verify(daemon.database).findings == []
        daemon.start().ready()
        erased = watcher(daemon, "erase", f"{database.name}.a", "3", "--yes")
        assert erased.returncode == exit_codes.OK, erased.stderr
        assert verify(daemon.database).findings == []
        sealed_again(daemon)
    assert daemon.stop() == exit_codes.OK
    assert watcher(daemon, "seal").returncode == exit_codes.OK
    report = verify(daemon.database)

    assert report.findings == []
    assert (report.unsealed, report.amended) == (0, 0)
    assert report.kinds["erased"]
    assert [json.loads(line)["seal"]["number"] for line in file.read_text().splitlines()] == [
        *range(1, report.seals + 1)
    ]
    assert named(daemon) == []
    target = daemon.database.history.find_one({"operation": "update", "document_id": 4})
    assert target is not None
    with tampered(Original(daemon.database)):
        daemon.database.history.delete_one({"_id": target["_id"]})
        (found,) = named(daemon)
    assert (found["what"], found["event"]) == ("removed", target["_id"].hex())


def test_partitions_seal_into_one_chain(database: Database[Any], parts: Callable[..., list[Daemon]]) -> None:
    """Each with the next number, whoever comes first."""
    database.a.insert_many([{"_id": number} for number in range(20)])
    daemons = parts(2, seal="on", seal_interval_s=1)
    with repeated(partial(write, database.a)):
        for daemon in daemons:
            daemon.start().ready()
        eventually(lambda: len(streams(daemons[0])) == 2, f"seals of both\n{daemons[1].log()}")
        daemons[1].kill()
        before = streams(daemons[0])["default:2/2"]
        daemons[1].start().ready()
        eventually(lambda: streams(daemons[0])["default:2/2"] != before, f"seals of both\n{daemons[1].log()}")
        assert verify(daemons[0].database).findings == []
    assert [daemon.stop() for daemon in daemons] == [exit_codes.OK] * 2
    report = verify(daemons[0].database)

    assert report.findings == []
    assert report.unsealed == 0
    assert len(streams(daemons[0])) == 2
