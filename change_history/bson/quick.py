"""What was compiled when this was installed (`hatch_build.py`): taking BSON apart, and how such modules are found."""

from __future__ import annotations

from hashlib import blake2b
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType


def compiled(name: str) -> ModuleType | None:
    """A compiled module; None: it is missing, or was built from another version of the source beside it."""
    try:
        module = import_module(name)
    except ImportError:
        return None
    try:
        source = Path(__file__).parents[2].joinpath(f"{name.replace('.', '/')}.pyx").read_bytes()
    except OSError:  # of a wheel, which has none
        return module
    # Of a checkout that has moved on, it may be another.
    return module if blake2b(source, digest_size=16).hexdigest() == module.MADE_FROM else None


COMPILED = compiled("change_history.bson._quick")
"""The module; None: there is none, and the readable way does everything."""
