"""What the daemon tells the service manager, seen from the manager's end of the socket."""

from __future__ import annotations

import signal
import socket
import tempfile
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.daemon import eventually
from tests.support.several_daemons import beside, lease, stands_by

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pymongo.database import Database

    from tests.support.daemon import Daemon

WATCHDOG_S = 0.5


class Manager:
    """The receiving end of sd_notify(3).

    Args:
        received: where datagrams come in.
    """

    def __init__(self, received: socket.socket) -> None:
        self._socket = received
        self.told: list[str] = []

    def hears(self, message: str) -> bool:
        """Whether a message has come by now."""
        while True:
            try:
                self.told.append(self._socket.recv(4096, socket.MSG_DONTWAIT).decode())
            except BlockingIOError:
                return message in self.told


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    """A service manager with a watchdog, on a socket in the file system or in Linux's abstract namespace."""
    # Not in pytest's folder, whose path may be longer than a socket's may be.
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as received:
        path = f"{folder}/notify"
        address = f"@{path}" if request.param == "abstract" else path
        received.bind(address.replace("@", "\0", 1))
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        monkeypatch.setenv("WATCHDOG_USEC", str(int(WATCHDOG_S * 1e6)))
        yield Manager(received)


def test_the_service_manager_hears_of_every_step(
    manager: Manager, replica_set_uri: str, database: Database[Any], make_daemon: Callable[..., Daemon]
) -> None:
    """A unit ordered after ours, and writing at once, must be recorded; and a healthy daemon is never killed."""
    daemon = make_daemon(replica_set_uri, database.name).start()

    eventually(lambda: manager.hears("READY=1"), "READY=1")
    database.users.insert_one({"_id": 1})
    daemon.recorded(f"{database.name}.users", 1)
    manager.hears("")
    beats_before = manager.told.count("WATCHDOG=1")
    eventually(lambda: manager.hears("") or manager.told.count("WATCHDOG=1") >= beats_before + 4, "four signs of life")
    assert not manager.hears("STOPPING=1")

    assert daemon.stop() == 0
    assert manager.hears("STOPPING=1")
    assert [manager.told.count(step) for step in ("READY=1", "STOPPING=1")] == [1, 1]
    assert manager.told.index("READY=1") < manager.told.index("STOPPING=1")


def test_a_daemon_that_waits_for_its_server_is_not_ready(
    manager: Manager, free_port: int, make_daemon: Callable[..., Daemon]
) -> None:
    """It does not claim to record; and it ends when asked to, as ever."""
    daemon = make_daemon(f"mongodb://127.0.0.1:{free_port}/?replicaSet=rs0&serverSelectionTimeoutMS=500", "shop")
    daemon.start()
    eventually(lambda: "failed, trying again" in daemon.log(), "trouble")

    assert not manager.hears("READY=1")
    assert daemon.stop(signal.SIGTERM) == 0
    assert manager.hears("STOPPING=1")
    assert not manager.hears("READY=1")


def test_a_daemon_that_stands_by_counts_as_started_and_says_for_whom(manager: Manager, daemon: Daemon) -> None:
    """Else a second unit would wait for ever to start, and be killed by its watchdog."""
    eventually(lambda: manager.hears("READY=1"), "the leader's READY=1")
    manager.told.clear()
    with beside(daemon, "standby") as standby:
        stands_by(standby)
        eventually(lambda: manager.hears("READY=1"), "READY=1")
        pid = lease(daemon)["pid"]
        assert any(told.startswith("STATUS=standing by, ") and f"(pid {pid})" in told for told in manager.told)
        assert standby.stop() == 0
