"""Pages that take long: they say that they are at work, and nothing goes on for somebody who went elsewhere."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from tests.support.browser import ESCAPE, Reader
from tests.support.daemon import eventually
from tests.support.recording import Recording
from tests.support.servers import free_port
from tests.support.web import Served
from watcher.clients import APP_NAME
from watcher.embedded.mongod import Mongod

if TYPE_CHECKING:
    from collections.abc import Iterator

STUCK = {"failCommands": ["find", "aggregate"], "blockConnection": True, "blockTimeMS": 60_000, "appName": APP_NAME}
"""A fail point: each query of `watcher serve` takes a minute."""


class Slow(NamedTuple):
    """A server that can be made slow, and who serves its history."""

    client: MongoClient[Any]
    uri: str
    served: Served

    def stick(self) -> None:
        """Let queries take long."""
        self.client.admin.command({"configureFailPoint": "failCommand", "mode": "alwaysOn", "data": STUCK})

    @contextmanager
    def sticking_no_more(self) -> Iterator[None]:
        """Let new queries through; those that are stuck stay so. The command itself returns when they have ended."""
        command = {"configureFailPoint": "failCommand", "mode": "off"}
        with ThreadPoolExecutor(1) as pool:
            done = pool.submit(self.client.admin.command, command)
            eventually(self._answers, "new queries to be let through")
            yield
            done.result()

    def _answers(self) -> bool:
        with MongoClient[Any](self.uri, appname=APP_NAME, timeoutMS=1000) as client:
            try:
                client.slow.orders.find_one()
            except PyMongoError:
                return False
        return True

    def running(self) -> list[Any]:
        """The queries of `watcher serve` that the server is at."""
        found = self.client.admin.aggregate([{"$currentOp": {}}])
        commands = {"aggregate", "find", "getMore"}
        return [op for op in found if op.get("appName") == APP_NAME and commands & op.get("command", {}).keys()]


@pytest.fixture
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slow]:
    """A server of its own."""
    folder = tmp_path_factory.mktemp("slow")
    arguments = ("--setParameter", "enableTestCommands=1")
    with (
        Mongod(folder, free_port(), cache_gb=0.25, oplog_mb=256, extra_args=arguments) as mongod,
        MongoClient[Any](mongod.uri) as client,
        Recording(client, "slow") as recording,
    ):
        client.slow.orders.insert_one({"_id": 1, "status": "new"})
        client.slow.orders.update_one({"_id": 1}, {"$set": {"status": "paid"}})
        recording.catch_up()
        with Served(folder / "log", uri=mongod.uri, history_database=recording.history.name) as served:
            yield Slow(client, mongod.uri, served)


def test_blame_that_takes_long_says_so_and_ends_when_one_goes_elsewhere(slow: Slow, driver: Any) -> None:
    """On the server, too: by a key, by another tab, and by another page."""
    reader = Reader(driver, slow.served.url)
    reader.emulate()
    reader.open("document", ns="slow.orders", id="1")
    slow.stick()
    reader.find(".state .leaf").click()
    eventually(lambda: "Reading who set it" in reader.text("#card"), "who set it to be under way", 60)
    eventually(slow.running, "the query to run")
    reader.type(ESCAPE)
    eventually(lambda: not slow.running(), "the query to end", 30)

    reader.find(".tabs a[href*='view=blame']").click()
    eventually(lambda: "Reading history" in reader.text("#busy"), "the table to be under way", 60)
    assert reader.find("#swap").get_attribute("aria-busy") is not None
    eventually(slow.running, "the query to run")
    with slow.sticking_no_more():
        assert slow.running()
        reader.find(".tabs a[href*='view=changes']").click()
        reader.find(".diff")
        assert reader.text("#busy") == ""
        eventually(lambda: not slow.running(), "the query to end", 30)

    slow.stick()
    reader.find(".tabs a[href*='view=blame']").click()
    eventually(slow.running, "the query to run")
    with slow.sticking_no_more():
        assert slow.running()
        reader.follow_link("Gaps")
        reader.find("h1")
        eventually(lambda: not slow.running(), "the query to end", 30)
    assert "Traceback" not in slow.served.log()
