"""The embedded server's folder: its free disk, and whether there is a `mongod` to run."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from watcher.doctor.finding import ok, problem, warning
from watcher.embedded.errors import MongodError
from watcher.embedded.mongod import find_mongod

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from watcher.doctor.finding import Finding
    from watcher.doctor.subject import Subject

DISK, BINARY = "disk of the embedded server", "embedded server"
_GB = 1_000_000_000
LITTLE, TOO_LITTLE = 5 * _GB, _GB
"""Limits of free disk, in bytes, for a warning and a problem: the oplog alone may take 1 GB, and mongod exits when the
disk is full."""


def check(subject: Subject) -> Iterator[Finding]:
    """What the daemon needs to start a server of its own."""
    try:
        yield ok(BINARY, f"{find_mongod()}")
    except MongodError as error:
        yield problem(BINARY, "there is no mongod to run", str(error))
    folder = subject.settings.embedded_dir
    existing = next(each for each in (folder, *folder.parents) if each.exists())
    if not os.access(existing, os.W_OK | os.X_OK):
        yield problem(
            DISK,
            f"{existing} cannot be written by this user",
            "export WATCHER_EMBEDDED_DIR=/path, or WATCHER_MONGODB_URI=mongodb://… for a deployment of your own",
            folder=str(folder),
        )
        return
    yield judge(folder, shutil.disk_usage(existing).free)


def judge(folder: Path, free: int) -> Finding:
    """Judge the free disk.

    Args:
        free: bytes.
    """
    said = f"{free / _GB:.1f} GB free for {folder}"
    remedy = "Make room, or choose another folder: export WATCHER_EMBEDDED_DIR=/path"
    facts = {"folder": str(folder), "free_bytes": free}
    if free < TOO_LITTLE:
        return problem(DISK, f"{said}: too little", remedy, **facts)
    if free < LITTLE:
        return warning(DISK, f"{said}: little", remedy, **facts)
    return ok(DISK, said, **facts)
