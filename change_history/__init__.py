"""Reading history from Python, beside any application: `from change_history import History`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from change_history.history import History
    from change_history.query.selection import Selection
    from change_history.reconstruct.state import State, UnknownStateError

__all__ = ["History", "Selection", "State", "UnknownStateError"]

_WHERE = {
    "History": "history",
    "Selection": "query.selection",
    "State": "reconstruct.state",
    "UnknownStateError": "reconstruct.state",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for only then: the daemon uses parts of this package that need little."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
