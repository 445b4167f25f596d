"""Makes garbage collection and the release of memory rare, as they take time from every event.

The objects of an event are freed by reference counting, without a collection. But Python collects cycles after every
700 new objects, which is less than a hundred events, and now and then it examines all objects. And with every batch,
the C library returns megabytes to the system, only to request them again, page by page.
"""

from __future__ import annotations

import ctypes
import gc

OBJECTS = 50_000
"""Threshold of the youngest generation: allocations minus deallocations; about three batches of events."""


def search_less() -> None:
    """Exempt all present objects from later collections, and collect rarely.

    To be called before the work begins, and again before it restarts: this collects the garbage made in between.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    gc.set_threshold(OBJECTS)


_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 32 * 1024 * 1024
_LARGE_BYTES = 8 * 1024 * 1024


def give_back_less() -> None:
    """Keep up to 32 MB of freed memory for reuse; blocks of 8 MB and more are returned to the system at once.

    This saves a third of the time for receiving events. It has no effect with C libraries other than glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
    mallopt(_MMAP_THRESHOLD, _LARGE_BYTES)
