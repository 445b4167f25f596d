"""Takes the lead of streams for an operator, so that no daemon saves a position while they are changed."""

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
    """A daemon leads the stream."""


class Taken(NamedTuple):
    """Streams whose lead the operator has taken.

    Attributes:
        fences: fences of the new terms, by stream name.
        deposed: whether a daemon was deposed.
    """

    fences: dict[str, Fence]
    deposed: bool


def leader(history: Database[Any], stream: str) -> Holder | None:
    """The daemon that leads a stream; None: there is none."""
    holder = Lease(history, stream).holder()
    return None if holder is None or holder.is_dead() else holder


@contextmanager
def take_leads(history: Database[Any], streams: Sequence[str], *, by_force: bool) -> Iterator[Taken]:
    """Take the lead of streams during a `with` block.

    Args:
        by_force: depose the daemons that lead. They stand by during the block, which begins after they had time to
            finish their writes.

    Raises:
        LedError: a daemon leads, and `by_force` is not set.
        pymongo.errors.PyMongoError: no reply; the leases expire by themselves.
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
        time.sleep(pause_s)  # by now deposed daemons have noticed, and finished their writes
        yield Taken(fences, pause_s > 0)
