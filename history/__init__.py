"""The read side: what the history answers."""

from history.api import History
from history.selection import Selection
from history.state import State, UnknownStateError

__all__ = ["History", "Selection", "State", "UnknownStateError"]
