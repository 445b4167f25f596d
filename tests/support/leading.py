"""Several daemons on one stream, and which of them leads."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any

from tests.support.daemon import eventually

if TYPE_CHECKING:
    from tests.support.daemon import Daemon


def beside(daemon: Daemon, name: str) -> Daemon:
    """Another daemon with the same settings, not yet started; its log goes to a file of that name."""
    other = copy(daemon)
    other._log_file = daemon._log_file.with_name(f"{name}.log")
    other._log_file.touch()
    other.process = None
    return other


def lease(daemon: Daemon) -> dict[str, Any]:
    """The lease as it is stored, once there is one."""
    found = eventually(lambda: daemon.database.checkpoints.find_one({"lease": {"$exists": True}}), "a lease")
    return dict(found["lease"])


def leads(daemon: Daemon) -> bool:
    """Whether a daemon holds the lease."""
    assert daemon.process is not None
    assert daemon.process.poll() is None, daemon.log()
    return bool(lease(daemon).get("pid") == daemon.process.pid)


def says(daemon: Daemon, event: str) -> int:
    """How often a daemon has logged something."""
    return sum(line["event"].startswith(event) for line in daemon.log_lines())


def stands_by(daemon: Daemon) -> Daemon:
    """Wait until a daemon that was just started stands by."""
    eventually(lambda: says(daemon, "standing by"), f"a stand-by\n{daemon.log()}")
    return daemon


def from_afar(daemon: Daemon) -> None:
    """Make the lease look like that of another machine, whose processes nobody here can know of."""
    daemon.database.checkpoints.update_many({}, {"$unset": {"lease.place": ""}})
