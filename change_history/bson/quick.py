"""The compiled way of taking BSON apart, where it was compiled when this was installed (`hatch_build.py`)."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType


def _found() -> ModuleType | None:
    try:
        from change_history.bson import _quick
    except ImportError:
        return None
    try:
        source = Path(__file__).with_name("_quick.pyx").read_bytes()
    except OSError:  # of a wheel, which has none
        return _quick
    # Of a checkout that has moved on, it may be another.
    return _quick if blake2b(source, digest_size=16).hexdigest() == _quick.MADE_FROM else None


COMPILED = _found()
"""The module; None: there is none, and the readable way does everything."""
