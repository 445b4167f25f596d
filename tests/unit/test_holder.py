"""Who leads, as a lease says: whoever is taken for dead loses the lead."""

from __future__ import annotations

import os
import subprocess
import sys

from watcher.leadership.lease import Holder, holder_of, whereabouts


def test_only_a_process_that_is_known_to_be_gone_is_dead() -> None:
    """Taking the lead from the living would set two daemons against each other for ever."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()

    def holder(pid: int, place: str | None) -> Holder:
        return Holder("owner", "host", pid, place, 1, 5.0)

    assert holder(gone.pid, whereabouts()).is_dead() is (whereabouts() is not None)
    assert not holder(os.getpid(), whereabouts()).is_dead()
    assert not holder(1, whereabouts()).is_dead()
    assert not holder(gone.pid, "another boot/4026531836").is_dead()
    assert not holder(gone.pid, None).is_dead()


def test_a_lease_that_says_less_than_it_should_is_nobodys() -> None:
    """Absent, given up, or run out."""
    assert holder_of(None, None) is None
    assert holder_of({"term": 3}, None) is None
    assert holder_of({"term": 3, "owner": "x"}, 0) is None
    assert holder_of({"term": 3, "owner": "x"}, 1000) == Holder("x", "None", 0, None, 3, 1.0)
