"""sd_notify(3) on a real datagram socket."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from watcher.health.systemd import notify, watchdog_interval_s

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The receiving end, in the file system or in Linux's abstract namespace."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as received:
        address = f"{'@' if request.param == 'abstract' else ''}{folder}/notify"
        received.bind(address.replace("@", "\0", 1))
        received.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        yield received


def test_every_message_is_one_datagram(manager: socket.socket) -> None:
    """Two messages run together, or one cut in two, would be no message to systemd."""
    for message in ("READY=1", "WATCHDOG=1", "STATUS=1 events recorded, ünïcödé"):
        notify(message)

    told = [manager.recv(4096).decode() for _ in range(3)]
    assert told == ["READY=1", "WATCHDOG=1", "STATUS=1 events recorded, ünïcödé"]


@pytest.mark.parametrize("address", [None, "", "/nowhere/at/all", "@nobody-listens", "/" + "x" * 200, "relative"])
def test_without_a_manager_nothing_happens(monkeypatch: pytest.MonkeyPatch, address: str | None) -> None:
    """A daemon in a terminal or a container, or whose manager has gone, must not fail over a status line."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if address is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", address)

    notify("READY=1")


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_no_socket_is_left_open(manager: socket.socket) -> None:
    """A sign of life every second for a year would use up the file descriptors."""
    before = _open_files()
    for _ in range(50):
        notify("WATCHDOG=1")
        manager.recv(4096)
    notify("WATCHDOG=1")

    assert _open_files() == before


@pytest.mark.parametrize(
    ("interval", "pid", "expected"),
    [
        ("30000000", None, 15.0),
        ("30000000", "own", 15.0),
        ("30000000", "1", None),
        ("", None, None),
        ("nonsense", None, None),
        ("-5", None, None),
        (None, None, None),
    ],
)
def test_the_watchdog_is_fed_twice_as_often_as_it_bites(
    monkeypatch: pytest.MonkeyPatch, interval: str | None, pid: str | None, expected: float | None
) -> None:
    """And only by the process that it watches."""
    for name, value in (("WATCHDOG_USEC", interval), ("WATCHDOG_PID", str(os.getpid()) if pid == "own" else pid)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)

    assert watchdog_interval_s() == expected
