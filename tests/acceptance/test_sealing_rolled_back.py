"""A primary is cut off while a seal is being put into it, and all that only it has is rolled back.

A seal that is given away before a majority has it cannot be taken back: kept elsewhere, it would name a history that
the database has never had, and `watcher verify --against` would accuse whoever runs it.
"""

from __future__ import annotations

import json
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
from pymongo import MongoClient, WriteConcern
from pymongo.errors import PyMongoError
from pymongo.read_concern import ReadConcern

from change_history.seals.store import Store
from change_history.seals.verification import verify
from change_history.stored.names import HISTORY, SEALS
from tests.chaos.cluster import Cluster
from tests.support.background import repeated
from tests.support.daemon import Daemon, eventually, watcher
from tests.support.sealing import sealed_again
from watcher.cli import exit_codes
from watcher.clients import APP_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_ELECTION_MS = 10_000
"""So long the primary that is cut off takes itself for one."""
_HELD_MS = 1500
"""So long the commit of a seal is held, to cut the primary off meanwhile."""
_OF_SERVERS = "internalClient"
"""What servers alone say when they connect."""
_DOCUMENTS = 20


@contextmanager
def written(cluster: Cluster) -> Iterator[None]:
    """Documents are written all the time until the end of the block, whatever becomes of it."""
    with cluster.client() as client:

        def write(number: int) -> None:
            with suppress(PyMongoError):
                client.shop.users.update_one({"_id": number % _DOCUMENTS}, {"$set": {"n": number}}, upsert=True)

        with repeated(write):
            yield


def cut_off_amid_a_seal(cluster: Cluster) -> int:
    """Cut the primary off from the other members, but not from clients, while a seal is about to be committed there."""
    primary = cluster.primary()
    held = {"failCommands": ["commitTransaction"], "blockConnection": True, "blockTimeMS": _HELD_MS}
    before = cluster.fail({"times": 1}, {**held, "appName": APP_NAME}, primary)
    with cluster.direct(primary) as client:
        awaited = {"waitForFailPoint": "failCommand", "timesEntered": before + 1, "maxTimeMS": 60_000}
        client.admin.command(awaited)
    cluster.proxies.cut(_OF_SERVERS, silent=True, only=primary)
    return primary


def only_there(client: MongoClient[Any]) -> dict[str, Any] | None:
    """The last seal that a member has, if a majority does not have it."""
    seals = {
        level: client.kept.get_collection(SEALS, read_concern=ReadConcern(level)).find_one(sort=[("_id", -1)]) or {}
        for level in ("majority", "local")
    }
    return seals["local"] if seals["local"].get("_id", 0) > seals["majority"].get("_id", 0) else None


@pytest.mark.timeout(600)
def test_a_seal_that_is_rolled_back_was_never_given_away(tmp_path: Path) -> None:
    """Of the seals that were, none is missing or another one, and all that they cover is there."""
    file = tmp_path / "seals"
    with Cluster(tmp_path / "set", election_ms=_ELECTION_MS) as cluster, cluster.client() as client:
        client.shop.create_collection("users", changeStreamPreAndPostImages={"enabled": True})
        settings = {"include": "shop.*", "seal": "on", "seal_interval_s": 1, "seal_file": file}
        daemon = Daemon(client, tmp_path / "log", uri=cluster.uri, history_database="kept", **settings)
        with daemon:
            with written(cluster):
                daemon.ready()
                sealed_again(daemon)
                former = cut_off_amid_a_seal(cluster)
                with cluster.direct(former) as alone:
                    lost = eventually(lambda: only_there(alone), f"a seal of the former primary alone\n{daemon.log()}")
                    users = alone.shop.get_collection("users", write_concern=WriteConcern(1))
                    users.insert_one({"_id": "rolled back"})
                assert cluster.primary(but=former) != former
                cluster.proxies.heal()
                cluster.level()
                sealed_again(daemon)
            assert daemon.stop() == exit_codes.OK
        given = [json.loads(line) for line in file.read_text().splitlines()]
        report = verify(daemon.database)
        checked = watcher(daemon, "verify", "--against", str(file))

        assert client.shop.users.find_one({"_id": "rolled back"}) is None
        assert client.kept[HISTORY].find_one({"document_id": "rolled back"}) is None
        assert Store(daemon.database).get(lost["_id"]).digest != lost["digest"]  # type: ignore[union-attr]
        assert checked.returncode == exit_codes.OK, checked.stdout + checked.stderr
        assert (report.findings, report.unsealed) == ([], 0)
        assert [each["seal"]["number"] for each in given] == list(range(1, report.seals + 1))
