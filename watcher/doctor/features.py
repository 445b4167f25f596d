"""Checks the features of the server's version by opening a stream with each of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from bson import Int64
from pymongo.errors import OperationFailure

from change_history import server_codes
from config.settings import PreImages
from watcher.doctor.finding import ok, problem, warning
from watcher.errors import UNKNOWN_OPTION
from watcher.stream.fragments import SPLIT_STAGE
from watcher.stream.listener import IMAGES_WIRE_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator

    from watcher.doctor.finding import Finding
    from watcher.doctor.subject import Subject

NAME = "server version"
_UPGRADE = "Upgrade to MongoDB 6.0 or later, and set its featureCompatibilityVersion."


class Features(NamedTuple):
    """The features of a change stream.

    Attributes:
        images: pre-images and expanded events.
        raw_updates: updates as the oplog has them.
        splits: events beyond 16 MB in fragments.
    """

    images: bool
    raw_updates: bool
    splits: bool


def check(subject: Subject) -> Iterator[Finding]:
    """The version of the watched deployment, and what it offers."""
    version = str(subject.watched.admin.command("buildInfo")["version"])
    images = int(subject.hello["maxWireVersion"]) >= IMAGES_WIRE_VERSION
    expanded = {"showExpandedEvents": True} if images else {}
    offered = Features(
        images,
        images and _opens(subject, {**expanded, "showRawUpdateDescription": True}),
        _opens(subject, expanded, SPLIT_STAGE),
    )
    yield judge(version, offered, subject.settings.pre_images)


def judge(version: str, offered: Features, wanted: PreImages) -> Finding:
    """Compare what a server offers with what the settings ask for."""
    facts = {"version": version, **offered._asdict()}
    if not offered.images and wanted is PreImages.ENABLE:
        return problem(
            NAME,
            f"MongoDB {version} has no pre-images, and WATCHER_PRE_IMAGES=enable",
            f"{_UPGRADE} Or set WATCHER_PRE_IMAGES=off; old values are then told by history.",
            **facts,
        )
    if not offered.images:
        return warning(NAME, f"MongoDB {version} has no pre-images; old values are told by history", _UPGRADE, **facts)
    lacks = [] if offered.raw_updates else ["raw updates: paths are told from the images"]
    if not offered.splits:
        lacks.append("$changeStreamSplitLargeEvent: events beyond 16 MB lack their old values")
    return ok(NAME, f"MongoDB {version}" + (f", without {', and without '.join(lacks)}" if lacks else ""), **facts)


def _opens(subject: Subject, options: dict[str, Any], *stages: dict[str, Any]) -> bool:
    scope = subject.scope
    whole = {"allChangesForCluster": True} if scope.database is None else {}
    database = subject.watched[scope.database or "admin"]
    command = {
        "aggregate": scope.collection or 1,
        "pipeline": [{"$changeStream": {**whole, **options}}, *stages],
        "cursor": {"batchSize": 0},
    }
    try:
        cursor = database.command(command)["cursor"]
    except OperationFailure as error:
        if error.code == server_codes.UNKNOWN_STAGE or error.code in UNKNOWN_OPTION:
            return False
        raise
    database.command({"killCursors": cursor["ns"].partition(".")[2], "cursors": [Int64(cursor["id"])]})
    return True
