"""An operator takes the lead of streams, so that no daemon saves a position of its own while they are changed."""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from watcher.errors import FatalError
from watcher.health.progress import Progress
from watcher.leadership.fence import Fence
from watcher.leadership.lead import Leadership, clock
from watcher.leadership.lease import Lease

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pymongo.database import Database

    from watcher.leadership.lease import Holder


class LedError(FatalError):
    """A daemon is at work on the stream."""


class Taken(NamedTuple):
    """Streams that are led by whoever has taken them.

    Attributes:
        fences: write under the new terms, by the streams' names.
        deposed: a daemon had to let go of one.
    """

    fences: dict[str, Fence]
    deposed: bool


def leader(history: Database[Any], stream: str) -> Holder | None:
    """Which daemon is at work on a stream; None: none is."""
    holder = Lease(history, stream).holder()
    return None if holder is None or holder.is_dead() else holder


@contextmanager
def take_leads(history: Database[Any], streams: Sequence[str], *, by_force: bool) -> Iterator[Taken]:
    """Take the lead of streams for the time of a `with` block.

    Args:
        by_force: depose daemons that are at work on them. These stand by until this is done, and have been given the
            time to write what they were writing.

    Raises:
        LedError: there is one, and it was not to be deposed.
        pymongo.errors.PyMongoError: no answer; the leases run out by themselves.
    """
    with ExitStack() as stack:
        fences, pause_s = {}, 0.0
        for stream in streams:
            lease = Lease(history, stream)
            former, asked = lease.holder(), clock()
            dead = former.owner if former is not None and former.is_dead() else None
            term = lease.acquire(dead=dead, by_force=by_force)
            if term is None:
                raise LedError(
                    f"{lease.holder() or former or 'A daemon'} leads stream {stream!r}, and would save its own "
                    "position over this one.",
                    "Stop it first (one that was killed counts for some seconds more), or depose it: --force",
                )
            stack.enter_context(Leadership(lease, term, asked, Progress()))
            fences[stream] = Fence(history, stream, term)
            if former is not None and dead is None:
                pause_s = lease.ttl_s
        time.sleep(pause_s)  # whoever was deposed knows it by now, and has written what it was writing
        yield Taken(fences, pause_s > 0)
