"""What is lost is said, exactly once and with its bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.daemon import eventually
from tests.support.servers import overrun
from watcher.cli import exit_codes

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.daemon import Daemon
    from watcher.embedded.mongod import Mongod


@pytest.mark.parametrize("on_gap", ["record", "stop"])
def test_an_overrun_oplog_is_one_gap_with_its_bounds_or_a_stop(
    own_server: Callable[..., Mongod], make_daemon: Callable[..., Daemon], on_gap: str
) -> None:
    """Never a silent skip: the position fell off the oplog while the daemon was down."""
    server = own_server(oplog_mb=4, extra_args=("--syncdelay", "1"))
    daemon = make_daemon(server.uri, "shop", on_gap=on_gap).start().ready()
    shop = daemon.client.shop
    shop.a.insert_one({"_id": "before"})
    daemon.recorded("shop.a", "before")
    assert daemon.stop() == exit_codes.OK
    position = daemon.database.checkpoints.find_one()
    assert position is not None
    shop.a.insert_one({"_id": "lost"})
    overrun(daemon.client)

    daemon.start()
    if on_gap == "stop":
        assert daemon.wait() == exit_codes.POSITION_LOST
        assert "ChangeStreamHistoryLost (286)" in daemon.log()
        assert "WATCHER_ON_GAP=record" in daemon.log()
        kept = daemon.database.checkpoints.find_one()
        assert kept is not None
        assert kept["token"] == position["token"]
        return
    eventually(lambda: daemon.database.history.find_one({"operation": "gap"}), "the gap")
    shop.a.insert_one({"_id": "after"})
    after = daemon.recorded("shop.a", "after")
    assert daemon.stop() == exit_codes.OK
    daemon.start()
    shop.a.insert_one({"_id": "later"})
    daemon.recorded("shop.a", "later")

    (gap,) = daemon.database.history.find({"operation": "gap"})
    assert gap["description"]["from"] == position["cluster_time"]
    assert position["cluster_time"] < gap["description"]["to"] < after["cluster_time"]
    assert gap["description"]["cause"] == "ChangeStreamHistoryLost (286)"
    assert daemon.database.history.find_one({"document_id": "lost"}) is None
    assert any(line["level"] == "error" and "gap" in line["event"] for line in daemon.log_lines())
