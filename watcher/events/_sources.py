"""The digest of the compiled modules' sources, so that a build from other sources is not used.

Imports only the standard library: the build hook uses it too, before anything is installed.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def digest(folder: Path) -> str:
    """The digest of the Cython sources in a folder; empty: there are none, as in a wheel.

    Args:
        folder: `watcher/events/`.
    """
    sources = sorted([*folder.glob("_*.pyx"), *folder.glob("_*.pxd")])
    if not sources:
        return ""
    found = blake2b(digest_size=16)
    for source in sources:
        found.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    return found.hexdigest()
