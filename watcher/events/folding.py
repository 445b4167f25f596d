"""Compiled folding of a document's ordinary entries. It is compiled at installation.

`change_history.reconstruct.fold` defines the result; `tests/unit/test_folding.py` compares the two.
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
"""The compiled module; None: there is none, or it was built from other sources. Then every document is folded in
Python."""
