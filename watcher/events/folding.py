"""The short way of following a document through its usual entries, compiled when this was installed.

`change_history.reconstruct.fold` says what is meant; `tests/unit/test_folding.py` holds the two against each other.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from watcher.events._sources import digest

if TYPE_CHECKING:
    from types import ModuleType

_compiled: ModuleType | None
try:
    from watcher.events import _folding as _compiled
except ImportError:
    _compiled = None
if _compiled is not None and (sources := digest(Path(__file__).parent)) and sources != _compiled.MADE_FROM:
    _compiled = None

COMPILED = _compiled
"""The module; None: there is none, or it is of other sources, and the readable way follows every document."""
