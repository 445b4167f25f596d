"""The interpreter's search for cyclic garbage, made rare: it takes time from every event, and finds nothing.

What events are made of is let go as soon as nobody refers to it, without any search. But Python looks for cycles after
every 700 new objects, which is less than a hundred events, and now and then through everything that was ever imported.
"""

from __future__ import annotations

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
