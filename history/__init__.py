"""The read side: what the history answers."""

from history.api import History
from history.selection import Selection

__all__ = ["History", "Selection"]
