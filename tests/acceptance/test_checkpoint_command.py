"""A position is seen and moved by an operator: never by mistake, and never without a trace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from bson import json_util

from tests.support.daemon import eventually, watcher
from tests.support.servers import overrun
from watcher.cli import exit_codes
from watcher.operations.position import CAUSE

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymongo.database import Database

    from tests.support.daemon import Daemon
    from watcher.embedded.mongod import Mongod


@pytest.fixture
def stopped(daemon: Daemon, database: Database[Any]) -> Daemon:
    """A daemon that has recorded one event and was stopped; nobody has touched its checkpoint for a while."""
    database.a.insert_one({"_id": "recorded"})
    daemon.recorded(f"{database.name}.a", "recorded")
    assert daemon.stop() == exit_codes.OK
    rest(daemon)
    return daemon


def rest(daemon: Daemon) -> None:
    """Make the checkpoint look as if it had been saved a minute ago."""
    aged = [{"$set": {"updated_at": {"$subtract": ["$updated_at", 60_000]}}}]
    daemon.database.checkpoints.update_many({}, aged)


def checkpoint(daemon: Daemon) -> Any:
    """The stored checkpoint."""
    return daemon.database.checkpoints.find_one({"_id": "default"})


def gaps(daemon: Daemon) -> list[Any]:
    """The gaps in history."""
    return list(daemon.database.history.find({"operation": "gap"}))


def inserts(daemon: Daemon) -> list[Any]:
    """Ids of inserted documents, as often as they are recorded."""
    return [event["document_id"] for event in daemon.database.history.find({"operation": "insert"}, sort=[("_id", 1)])]


def test_a_position_is_shown_for_people_and_for_machines(stopped: Daemon, database: Database[Any]) -> None:
    """With the token as it can be typed, and what it was made for."""
    shown = watcher(stopped, "checkpoint", "show", "--utc")
    (line,) = watcher(stopped, "checkpoint", "show", "--json").stdout.splitlines()
    stored = checkpoint(stopped)

    assert shown.returncode == exit_codes.OK
    assert f"token       {stored['token']['_data']}\n" in shown.stdout
    assert f"include     {database.name}.*\n" in shown.stdout
    assert stored["replica_set"]["id"] in shown.stdout
    assert f"{stored['cluster_time'].time}:{stored['cluster_time'].inc}" in shown.stdout
    assert json_util.loads(line)["token"] == stored["token"]
    assert watcher(stopped, "checkpoint", "show", "--stream", "other").returncode == exit_codes.NOT_FOUND


def test_without_yes_nothing_is_changed(stopped: Daemon) -> None:
    """Looking must be safe."""
    before = checkpoint(stopped)

    found = watcher(stopped, "checkpoint", "set", "--now")

    assert found.returncode == exit_codes.OK
    assert "Nothing was changed. To do it, add --yes." in found.stdout
    assert "Forward by" in found.stdout
    assert (checkpoint(stopped), gaps(stopped)) == (before, [])


def test_forward_skips_events_and_is_exactly_one_gap(stopped: Daemon, database: Database[Any]) -> None:
    """What an operator skips on purpose is missing all the same."""
    before = checkpoint(stopped)
    database.a.insert_one({"_id": "skipped"})

    found = watcher(stopped, "checkpoint", "set", "--now", "--yes")
    assert (found.returncode, found.stderr) == (exit_codes.OK, "")
    stopped.start()
    database.a.insert_one({"_id": "after"})
    stopped.recorded(f"{database.name}.a", "after")

    assert inserts(stopped) == ["recorded", "after"]
    (gap,) = gaps(stopped)
    assert gap["description"]["cause"] == CAUSE
    assert gap["description"]["from"] <= before["cluster_time"] < gap["description"]["to"]
    last: Any = stopped.database.history.find_one({"document_id": "recorded"})
    assert last["cluster_time"] <= gap["description"]["from"]
    assert checkpoint(stopped)["events"] >= before["events"]
    assert "moved by an operator" in watcher(stopped, "gaps").stdout


def test_what_is_skipped_is_reconciled_like_every_gap(stopped: Daemon, database: Database[Any]) -> None:
    """History is level again afterwards: `WATCHER_ON_GAP` holds for gaps of our own making too."""
    database.a.insert_one({"_id": "skipped"})
    assert watcher(stopped, "checkpoint", "set", "--now", "--yes").returncode == exit_codes.OK
    stopped.start()

    entry = stopped.recorded(f"{database.name}.a", "skipped")
    assert entry["operation"] == "reconcile"


def test_backward_reads_again_and_makes_no_twins(stopped: Daemon, database: Database[Any]) -> None:
    """The same event is the same history document."""
    stopped.start()
    database.a.insert_one({"_id": "second"})
    stopped.recorded(f"{database.name}.a", "second")
    assert stopped.stop() == exit_codes.OK
    rest(stopped)
    history = list(stopped.database.history.find(sort=[("_id", 1)]))
    first: Any = stopped.database.history.find_one({"document_id": "recorded"})
    at = f"{first['cluster_time'].time}:{first['cluster_time'].inc}"

    found = watcher(stopped, "checkpoint", "set", "--at", at, "--yes")
    assert (found.returncode, found.stderr) == (exit_codes.OK, "")
    assert "Backward by" in found.stdout
    assert checkpoint(stopped)["cluster_time"] == first["cluster_time"]
    stopped.database.history.delete_one({"_id": first["_id"]})
    stopped.start()
    stopped.recorded(f"{database.name}.a", "recorded")
    database.a.insert_one({"_id": "third"})
    stopped.recorded(f"{database.name}.a", "third")

    again = list(
        stopped.database.history.find({"_id": {"$in": [event["_id"] for event in history]}}, sort=[("_id", 1)])
    )
    assert again == history
    assert inserts(stopped) == ["recorded", "second", "third"]
    assert gaps(stopped) == []


def test_a_token_of_history_is_a_position(stopped: Daemon) -> None:
    """As it stands in an event, or in a checkpoint, as digits or as JSON."""
    event: Any = stopped.database.history.find_one({"document_id": "recorded"})
    token = event["resume_token"].hex()

    for text in (token, f'{{"_data": "{token.upper()}"}}'):
        found = watcher(stopped, "checkpoint", "set", "--token", text, "--yes", "--force")
        assert (found.returncode, found.stderr) == (exit_codes.OK, "")
        assert checkpoint(stopped)["token"] == {"_data": token.upper()}
        assert checkpoint(stopped)["cluster_time"] == event["cluster_time"]
    for wrong in ("zz", "12", "{", '{"no": "token"}'):
        found = watcher(stopped, "checkpoint", "set", "--token", wrong, "--yes", "--force")
        assert found.returncode == exit_codes.USAGE, wrong
        assert "watcher checkpoint show" in found.stderr


def test_a_running_daemon_is_not_overruled(daemon: Daemon, database: Database[Any]) -> None:
    """It would save its own position over ours a second later, and the gap would be a lie."""
    database.a.insert_one({"_id": 1})
    daemon.recorded(f"{database.name}.a", 1)
    eventually(lambda: checkpoint(daemon)["events"], "a saved position")

    refused = watcher(daemon, "checkpoint", "set", "--now", "--yes")
    looked = watcher(daemon, "checkpoint", "set", "--now")

    assert refused.returncode == exit_codes.BUSY
    assert "--force" in refused.stderr
    assert "Stop it first" in looked.stdout
    assert gaps(daemon) == []


def test_what_cannot_be_is_refused_with_what_to_type(stopped: Daemon) -> None:
    """The future, two wishes at once, no checkpoint, other options."""
    before = checkpoint(stopped)

    future = watcher(stopped, "checkpoint", "set", "--at", "2099-01-01", "--yes")
    both = watcher(stopped, "checkpoint", "set", "--now", "--adopt-options", "--yes")
    none = watcher(stopped, "checkpoint", "set", "--now", "--stream", "other", "--yes")
    options = watcher(stopped, "checkpoint", "set", "--now", "--yes", WATCHER_INCLUDE="elsewhere.*")

    assert (future.returncode, both.returncode) == (exit_codes.USAGE, exit_codes.USAGE)
    far = watcher(stopped, "checkpoint", "set", "--at", "2999-01-01", "--yes")
    for refused in (future, far):
        assert refused.returncode == exit_codes.USAGE
        assert "lies in the future" in refused.stderr
        assert "as of now" not in refused.stderr, "a position is no question, and is not moved to now"
    assert none.returncode == exit_codes.NOT_FOUND
    assert "streams there: default" in none.stderr
    assert options.returncode == exit_codes.POSITION_REFUSED
    assert "watcher checkpoint set --adopt-options" in options.stderr
    assert (checkpoint(stopped), gaps(stopped)) == (before, [])


def test_a_position_older_than_the_oplog_is_refused_and_now_heals(
    own_server: Callable[..., Mongod], make_daemon: Callable[..., Daemon]
) -> None:
    """Saved, it would make the next start fail; and from a lost one there is a way on."""
    server = own_server(oplog_mb=4, extra_args=("--syncdelay", "1"))
    daemon = make_daemon(server.uri, "shop", on_gap="stop").start().ready()
    assert daemon.stop() == exit_codes.OK
    lost = checkpoint(daemon)
    overrun(daemon.client)
    rest(daemon)
    at = f"{lost['cluster_time'].time}:{lost['cluster_time'].inc}"

    for wish in (["--at", at], ["--token", lost["token"]["_data"]]):
        found = watcher(daemon, "checkpoint", "set", *wish, "--yes")
        assert found.returncode == exit_codes.POSITION_LOST
        assert "older than the oplog" in found.stderr
    assert daemon.start().wait() == exit_codes.POSITION_LOST
    assert "watcher checkpoint set --now" in daemon.log()
    rest(daemon)
    assert watcher(daemon, "checkpoint", "set", "--now", "--yes").returncode == exit_codes.OK
    daemon.start()
    daemon.client.shop.a.insert_one({"_id": "after"})
    daemon.recorded("shop.a", "after")
    (gap,) = gaps(daemon)
    assert gap["description"]["from"] <= lost["cluster_time"]


def test_other_options_are_adopted_without_losing_an_event(
    replica_set_uri: str, stopped: Daemon, database: Database[Any], make_daemon: Callable[..., Daemon]
) -> None:
    """A second collection pattern must not cost the history of the first."""
    include = f"{database.name}.a,{database.name}.b"
    database.a.insert_one({"_id": "meanwhile"})
    changed = make_daemon(
        replica_set_uri, database.name, stream="default", include=include, history_database=stopped.database.name
    )
    assert changed.start().wait() == exit_codes.POSITION_REFUSED

    looked = watcher(changed, "checkpoint", "set", "--adopt-options")
    assert f"include: {database.name}.* → {include}" in looked.stdout
    assert "nothing before this position is recorded" in looked.stdout
    assert watcher(changed, "checkpoint", "set", "--adopt-options", "--yes").returncode == exit_codes.OK
    changed.start()

    changed.recorded(f"{database.name}.a", "meanwhile")
    assert gaps(changed) == []
    assert checkpoint(changed)["options"]["include"] == include.split(",")
