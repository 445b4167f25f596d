"""A stream in parts: what is shown, what is refused, and what is not done by halves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bson import json_util

from tests.support.daemon import eventually, watcher
from tests.support.several_daemons import positions, started, stopped
from watcher.cli import exit_codes

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymongo import MongoClient
    from pymongo.database import Database

    from tests.support.daemon import Daemon


def test_the_command_says_how_a_stream_is_split_and_what_would_follow(
    database: Database[Any], parts: Callable[..., list[Daemon]]
) -> None:
    """For people and for machines; nothing is done without --yes."""
    (daemon,) = started(parts(1))
    database.a.insert_one({"_id": 1})
    daemon.recorded(f"{database.name}.a", 1)
    shown = watcher(daemon, "partition")
    assert shown.returncode == exit_codes.OK, shown.stderr
    assert "default" in shown.stdout
    assert str(daemon.process.pid if daemon.process else "") in shown.stdout
    busy = watcher(daemon, "partition", "3", "--yes")
    assert busy.returncode == exit_codes.BUSY, busy.stdout
    assert "--force" in busy.stderr
    assert positions(daemon) == ["default"]
    stopped([daemon])
    planned = json_util.loads(watcher(daemon, "partition", "4", "--json").stdout)
    assert planned["target"]["parts"] == 4
    assert planned["done"] is False
    assert positions(daemon) == ["default"]
    same = watcher(daemon, "partition", "1", "--yes")
    assert same.returncode == exit_codes.OK
    assert "Done" not in same.stdout
    assert watcher(daemon, "partition", "65").returncode == exit_codes.USAGE
    done = watcher(daemon, "partition", "4", "--yes")
    assert "--partition I/4" in done.stdout
    assert [part["checkpoint"] for part in json_util.loads(watcher(daemon, "partition", "--json").stdout)["parts"]] == [
        f"default:{number}/4" for number in range(1, 5)
    ]


def test_a_daemon_of_another_division_does_not_start(
    database: Database[Any], parts: Callable[..., list[Daemon]]
) -> None:
    """Disaster: three daemons run as thirds, one as the whole, and everybody's position is wrong."""
    daemons = started(parts(2))
    for other in (*parts(1), *parts(3)):
        assert other.start().wait() == exit_codes.POSITION_REFUSED
        assert "is split into 2 partitions" in other.log()
    assert positions(daemons[0]) == ["default:1/2", "default:2/2"]
    examined = watcher(daemons[0], "doctor", "--partition", "3/3")
    assert examined.returncode == exit_codes.UNHEALTHY
    assert "is split into 2 partitions" in examined.stdout
    assert "default:1/2" in watcher(daemons[0], "doctor").stdout
    shown = watcher(daemons[0], "checkpoint", "show", "--stream", "default").stdout
    assert "default:1/2" in shown
    assert "default:2/2" in shown
    stopped(daemons)


def test_a_transaction_is_not_undone_by_halves_while_a_part_is_behind(
    client: MongoClient[Any], database: Database[Any], parts: Callable[..., list[Daemon]]
) -> None:
    """Disaster: what a stopped part would have told is left as the transaction made it, and nobody is told."""
    database.create_collection("a", changeStreamPreAndPostImages={"enabled": True})
    database.a.insert_many([{"_id": number, "n": 0} for number in range(50)])
    daemons = started(parts(2))
    history = daemons[0].database.history
    eventually(lambda: history.count_documents({"operation": "baseline"}) == 50, "the baseline")
    assert daemons[1].stop() == exit_codes.OK
    with client.start_session() as session, session.start_transaction():
        database.a.update_many({}, {"$set": {"n": 1}}, session=session)
    seen = eventually(lambda: history.find_one({"operation": "update"}), "the first half")
    past = {"_id": "default:1/2", "cluster_time": {"$gte": seen["cluster_time"]}}
    eventually(lambda: daemons[0].database.checkpoints.count_documents(past), "all of the first half")
    name = bytes(seen["_id"]).hex()
    refused = watcher(daemons[0], "revert", "--transaction", name, "--yes")
    assert refused.returncode == exit_codes.UNKNOWN, (refused.stdout, refused.stderr, seen)
    assert "default:2/2 has recorded up to" in refused.stderr
    assert database.a.count_documents({"n": 1}) == 50
    daemons[1].start()
    eventually(lambda: history.count_documents({"operation": "update"}) == 50, "the second half")
    done = eventually(
        lambda: (tried := watcher(daemons[0], "revert", "--transaction", name, "--yes")).returncode == 0 and tried,
        "all of it undone",
    )
    assert done
    assert database.a.count_documents({"n": 0}) == 50
    stopped(daemons)
