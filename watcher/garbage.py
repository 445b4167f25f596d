"""What the interpreter does about memory that is let go, made rare: it takes time from every event.

What events are made of is let go as soon as nobody refers to it, without any search. But Python looks for cycles after
every 700 new objects, which is less than a hundred events, and now and then through everything that was ever imported.
And with every batch, the C library gives megabytes back to the system, only to get them again, page by page.
"""

from __future__ import annotations

import ctypes
import gc

OBJECTS = 50_000
"""So many more objects than were let go start a search among the young ones; three batches of events or so."""


def search_less() -> None:
    """Leave what there is out of every later search, and search seldom.

    To be called before the work begins, and again before it begins anew: what became garbage in between goes then.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    gc.set_threshold(OBJECTS)


_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 32 * 1024 * 1024
_LARGE_BYTES = 8 * 1024 * 1024


def give_back_less() -> None:
    """Keep up to 32 MB of freed memory for what comes next; blocks of 8 MB and more go back to the system at once.

    A third of what it takes to receive events is saved so. C libraries other than glibc have their own ways.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
    mallopt(_MMAP_THRESHOLD, _LARGE_BYTES)
