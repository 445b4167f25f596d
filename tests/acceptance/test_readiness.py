"""Which server is at fault, and that the daemon is not: `/ready` and `/live` while a deployment is away or hangs."""

from __future__ import annotations

import json
import os
import signal
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from pymongo import MongoClient

from tests.support.daemon import PATIENCE_S, eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.daemon import Daemon
    from watcher.embedded.mongod import Mongod

HANGS_S = 180.0
"""An attempt is given up after a minute of silence."""


class Asked(NamedTuple):
    """An answer: its status, and what it says."""

    status: int
    facts: dict[str, Any]


class Watched:
    """A daemon between two servers, and a window to its health.

    Args:
        own_server: starts a server.
        make_daemon: makes a daemon.
        port: where its health is served.
    """

    def __init__(self, own_server: Callable[..., Mongod], make_daemon: Callable[..., Daemon], port: int) -> None:
        test_commands = ("--setParameter", "enableTestCommands=1")
        self.servers = {"watched": own_server(), "history": own_server(extra_args=test_commands)}
        self._port = port
        self._written = 0
        uri = self.servers["watched"].uri
        self.daemon = make_daemon(uri, "shop", history_uri=self.servers["history"].uri, http_port=port).start()
        self.becomes_ready()

    def ask(self, path: str) -> Asked:
        """Ask `/live` or `/ready`."""
        connection = HTTPConnection("127.0.0.1", self._port, timeout=60)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return Asked(answer.status, json.loads(answer.read()))
        except ConnectionRefusedError:
            return Asked(0, {})
        finally:
            connection.close()

    def becomes_ready(self, patience_s: float = PATIENCE_S) -> None:
        """Wait for readiness."""
        eventually(lambda: self.ask("/ready").status == 200, "readiness", patience_s)

    def becomes_unready(self, *, patience_s: float = PATIENCE_S) -> list[str]:
        """Wait for the contrary; the reasons. It is live all the same."""
        asked = eventually(
            lambda: (found := self.ask("/ready")).status == 503 and found, "no readiness any more", patience_s
        )
        assert self.ask("/live") == Asked(200, {"live": True})
        reasons: list[str] = asked.facts["reasons"]
        assert reasons
        return reasons

    def write(self) -> None:
        """Write a document to be recorded."""
        self._written += 1
        with MongoClient[dict[str, Any]](self.servers["watched"].uri) as client:
            client.shop.users.insert_one({"_id": self._written})

    def all_is_recorded(self) -> None:
        """Wait until everything is in history."""
        with MongoClient[dict[str, Any]](self.servers["history"].uri) as client:
            history = client[self.daemon.database.name].history
            eventually(lambda: history.count_documents({"operation": "insert"}) == self._written, "all history")


@pytest.fixture
def watched(own_server: Callable[..., Mongod], make_daemon: Callable[..., Daemon], free_port: int) -> Watched:
    """A daemon that is ready."""
    return Watched(own_server, make_daemon, free_port)


@pytest.mark.parametrize("which", ["watched", "history"])
def test_the_server_that_is_away_is_named_and_no_restart_is_asked_for(watched: Watched, which: str) -> None:
    """Whoever is called at night must know where to look; and restarting the daemon would only hide it."""
    watched.write()
    watched.servers[which].stop()

    reasons = watched.becomes_unready()
    assert all(reason.startswith(f"{which} deployment: ") for reason in reasons), reasons
    assert all("failed, trying again" in reason for reason in reasons), reasons
    if which == "watched":
        eventually(lambda: watched.ask("/ready").facts["lag_seconds"] >= 3, "a growing lag")

    watched.servers[which].start()
    watched.becomes_ready()
    watched.write()
    watched.all_is_recorded()


@pytest.mark.parametrize("which", ["watched", "history"])
def test_a_server_that_is_frozen_is_named(watched: Watched, which: str) -> None:
    """Its port is open and its connections stand; no error comes, only silence."""
    pid = watched.servers[which].pid
    assert pid is not None
    watched.write()
    os.kill(pid, signal.SIGSTOP)
    try:
        reasons = watched.becomes_unready(patience_s=HANGS_S)
        assert all(reason.startswith(f"{which} deployment: ") for reason in reasons), reasons
    finally:
        os.kill(pid, signal.SIGCONT)

    watched.becomes_ready(HANGS_S)
    watched.write()
    watched.all_is_recorded()


def test_a_write_that_is_never_answered_is_named(watched: Watched) -> None:
    """The server is well, answers everything else, and hangs in one write: a full disk, a lock, or the like."""
    blocked = {"failCommands": ["insert"], "blockConnection": True, "blockTimeMS": 45_000}
    with MongoClient[dict[str, Any]](watched.servers["history"].uri) as client:
        data = {**blocked, "appName": "mongo-change-watcher"}
        client.admin.command("configureFailPoint", "failCommand", mode={"times": 1}, data=data)
    watched.write()
    watched.becomes_unready(patience_s=HANGS_S)
    # A moment before, it is the checkpoint that has not moved for as long.
    named = "history deployment: writing history has come to no end for "
    eventually(lambda: str(watched.ask("/ready").facts).count(named), "the step that hangs, named")

    watched.becomes_ready(HANGS_S)
    watched.all_is_recorded()
