"""What the service manager hears of readiness and life, on a real datagram socket."""

from __future__ import annotations

import socket
import tempfile
import time
from typing import TYPE_CHECKING

import pytest

from change_history.bson.cluster_time import BEGINNING_OF_TIME
from tests.support.daemon import eventually
from watcher.health.progress import Progress
from watcher.health.readiness import Bounds
from watcher.health.systemd import Watchdog
from watcher.steps import Step
from watcher.stream.batch import Position

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

POSITION = Position(b"token", BEGINNING_OF_TIME)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[str]]]:
    """A service manager that bites after 0.4 s; a function that gives what it has heard."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"{folder}/notify")
        manager.settimeout(0)
        monkeypatch.setenv("NOTIFY_SOCKET", f"{folder}/notify")
        monkeypatch.setenv("WATCHDOG_USEC", "400000")
        monkeypatch.delenv("WATCHDOG_PID", raising=False)
        heard: list[str] = []

        def hear() -> list[str]:
            while True:
                try:
                    heard.append(manager.recv(100).decode())
                except BlockingIOError:
                    return heard

        yield hear


def is_silent(told: Callable[[], list[str]]) -> bool:
    """Whether nothing is heard for longer than the service manager would wait."""
    before = len(told())
    time.sleep(1)
    return len(told()) == before


def test_it_is_ready_once_and_fed_for_as_long_as_it_lives(told: Callable[[], list[str]]) -> None:
    """A watchdog that bites after less than a second is fed in time; one that has hanging work is not fed at all."""
    progress = Progress(bounds=Bounds(ready_s=0, live_s=0))
    with Watchdog(progress) as watchdog:
        eventually(lambda: told().count("WATCHDOG=1") > 1, "signs of life")
        assert "READY=1" not in told()
        progress.checkpointed(POSITION)
        eventually(lambda: "READY=1" in told(), "readiness")
        before = told().count("WATCHDOG=1")
        eventually(lambda: told().count("WATCHDOG=1") >= before + 6, "signs of life")
        assert watchdog._interval_s is not None
        assert watchdog._interval_s <= 0.4 / 2
        with progress.at_work(Step.WRITE):
            eventually(lambda: is_silent(told), "silence")
            before = told().count("WATCHDOG=1")
        eventually(lambda: told().count("WATCHDOG=1") > before, "signs of life again")

    assert told().count("READY=1") == 1


def test_a_stand_by_has_started(told: Callable[[], list[str]]) -> None:
    """`systemctl start` on the second machine must not wait until the first one fails."""
    progress = Progress()
    with Watchdog(progress):
        progress.standing_by("db1")
        eventually(lambda: "READY=1" in told(), "readiness")
        progress.leads(2)
        progress.checkpointed(POSITION)

    assert told().count("READY=1") == 1


def test_without_a_watchdog_nothing_is_fed(told: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Readiness is told all the same, and then the thread has nothing more to do."""
    monkeypatch.delenv("WATCHDOG_USEC")
    progress = Progress()
    with Watchdog(progress) as watchdog:
        progress.checkpointed(POSITION)
        watchdog._thread.join(60)

        assert not watchdog._thread.is_alive()
        assert told() == ["READY=1"]
