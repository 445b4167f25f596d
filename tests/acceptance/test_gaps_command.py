"""Who reads history is told where it has holes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from bson import json_util

from tests.support.daemon import eventually, watcher
from tests.support.servers import overrun
from watcher.cli import exit_codes

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.daemon import Daemon
    from watcher.embedded.mongod import Mongod


@pytest.fixture
def holed(own_server: Callable[..., Mongod], make_daemon: Callable[..., Daemon]) -> Daemon:
    """A daemon whose oplog was overrun while it was down; history has an event before the gap and one after it."""
    server = own_server(oplog_mb=4, extra_args=("--syncdelay", "1"))
    daemon = make_daemon(server.uri, "shop", on_gap="record").start().ready()
    shop = daemon.client.shop
    shop.a.insert_one({"_id": 1, "name": "before"})
    daemon.recorded("shop.a", 1)
    assert daemon.stop() == exit_codes.OK
    shop.a.update_one({"_id": 1}, {"$set": {"name": "lost"}})
    overrun(daemon.client)
    daemon.start()
    eventually(lambda: daemon.database.history.find_one({"operation": "gap"}), "the gap")
    shop.a.update_one({"_id": 1}, {"$set": {"name": "after"}})
    eventually(lambda: daemon.database.history.find_one({"operation": "update"}), "the event after it")
    return daemon


def test_a_lost_interval_is_listed_and_stands_in_every_answer_across_it(holed: Daemon) -> None:
    """A log that looks whole and is not would be worse than none."""
    stored: Any = holed.database.history.find_one({"operation": "gap"})

    listed = watcher(holed, "gaps", "--utc")
    assert listed.returncode == exit_codes.OK
    assert "ChangeStreamHistoryLost (286)" in listed.stdout
    assert "shop.*" in listed.stdout
    (line,) = watcher(holed, "gaps", "--json").stdout.splitlines()
    assert json_util.loads(line)["description"]["from"] == stored["description"]["from"]

    for asked in (["shop.a"], ["shop.a", "1"], ["shop.a", "1", "--field", "name"]):
        shown = watcher(holed, "log", *asked, "--utc").stdout
        assert shown.count("what happened in it is not known; cause: ChangeStreamHistoryLost (286)") == 1
        assert shown.index("insert") < shown.index("gap  until") < shown.index("update")
    lines = [json_util.loads(line) for line in watcher(holed, "log", "shop.a", "1", "--json").stdout.splitlines()]
    assert [line["operation"] for line in lines][:1] == ["insert"]
    assert [line["operation"] for line in lines].count("gap") == 1
    assert "gap" not in watcher(holed, "log", "filler.a").stdout


def test_nothing_recorded_is_not_nothing_happened(holed: Daemon) -> None:
    """An empty answer says that events of it may be lost."""
    found = watcher(holed, "log", "shop.a", "2")

    assert (found.returncode, found.stdout) == (exit_codes.NOT_FOUND, "")
    assert "Events of it may be lost, in " in found.stderr
    assert "watcher gaps" in found.stderr


def test_a_whole_history_says_so(daemon: Daemon) -> None:
    """No output could also mean that the command is broken."""
    found = watcher(daemon, "gaps")

    assert (found.returncode, found.stdout) == (exit_codes.OK, "no gaps\n")
    assert watcher(daemon, "gaps", "--json").stdout == ""
