"""Which deployment is at fault when something goes wrong: known by what was being done."""

from __future__ import annotations

WATCHED, HISTORY, EITHER = "watched", "history", "either"
SIDES = (WATCHED, HISTORY, EITHER)
"""The deployment that is watched, the one that keeps the history, and where an attempt speaks with both."""

_SIDE_OF = {
    "reaching the watched deployment": WATCHED,
    "looking at what is included": WATCHED,
    "switching on pre-images": WATCHED,
    "opening the change stream": WATCHED,
    "listening to the change stream": WATCHED,
    "making the indexes of the history": HISTORY,
    "making the view of the changes": HISTORY,
    "loading the checkpoint": HISTORY,
    "loading the plans of the survey": HISTORY,
    "recording": HISTORY,  # pure, but for old values that are read from there
    "recalling documents from history": HISTORY,
    "writing history": HISTORY,
    "looking how the stream is split": HISTORY,
    "looking who leads": HISTORY,
    "taking the lead": HISTORY,
    "taking over the survey": HISTORY,
    "renewing the lease": HISTORY,
    "saving the checkpoint": HISTORY,
    "noting how far the survey is": HISTORY,
    "noting that the survey is done": HISTORY,
    "waiting for the stream": HISTORY,
    "waiting for the other parts": HISTORY,
    "splitting the stream": EITHER,
    "recording a gap": EITHER,
    "planning the baseline": EITHER,
    "planning a baseline": EITHER,
    "reading existing documents": EITHER,
}


def side_of(doing: str) -> str:
    """The deployment that something is done with.

    Args:
        doing: as it is called in the log.

    Returns:
        One of `SIDES`.
    """
    return _SIDE_OF.get(doing, EITHER)


def words(side: str) -> str:
    """A side as it is called in a sentence."""
    return "watched or history deployment" if side == EITHER else f"{side} deployment"
