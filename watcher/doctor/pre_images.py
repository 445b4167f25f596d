"""Which watched collections keep pre-images, and for how long the server keeps them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pymongo.errors import OperationFailure

from config.settings import PreImages
from watcher.doctor.finding import listed, many, ok, unchecked, warning
from watcher.errors import UNAUTHORIZED, name_of
from watcher.operations import privileges
from watcher.stream.listener import IMAGES_WIRE_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from watcher.doctor.finding import Finding
    from watcher.doctor.subject import Subject

NAME, KEPT = "pre-images", "pre-images are kept"
_SHORT_S = 3600
_MOST_COMMANDS = 20


def check(subject: Subject) -> Iterator[Finding]:
    """The collections that are watched."""
    if int(subject.hello["maxWireVersion"]) < IMAGES_WIRE_VERSION:
        return  # the finding about the version says it
    mine = [each for each in subject.collections if subject.scope.covers(each.database, each.name)]
    lacking = [each.namespace for each in mine if not each.images]
    yield judge(subject.settings.pre_images, len(mine), lacking)


def judge(wanted: PreImages, watched: int, lacking: Sequence[str]) -> Finding:
    """Judge which collections lack pre-images."""
    facts = {"collections": watched, "without": [*lacking]}
    if not lacking:
        return ok(
            NAME, f"on, for {many(watched, 'collection')}" if watched else "no collection is watched yet", **facts
        )
    said = f"off for {len(lacking)} of {many(watched, 'collection')}: {listed(lacking)}"
    if wanted is PreImages.OFF:
        return ok(NAME, f"{said}; WATCHER_PRE_IMAGES=off asks for none", **facts)
    if wanted is PreImages.ENABLE:
        return warning(NAME, said, "`watcher run` switches them on when it starts.", **facts)
    commands = "\n".join(map(_switch_on, lacking[:_MOST_COMMANDS]))
    more = "\n… and so on" if len(lacking) > _MOST_COMMANDS else ""
    return warning(NAME, f"{said}; their old values are told by history", f"In mongosh:\n{commands}{more}", **facts)


def expiry_findings(subject: Subject) -> Iterator[Finding]:
    """How long the server keeps them."""
    if int(subject.hello["maxWireVersion"]) < IMAGES_WIRE_VERSION or subject.settings.pre_images is PreImages.OFF:
        return
    try:
        reply = subject.watched.admin.command("getClusterParameter", "changeStreamOptions")
    except OperationFailure as error:
        why = "getClusterParameter on the cluster is not granted" if error.code in UNAUTHORIZED else name_of(error)
        yield unchecked(KEPT, why)
        return
    yield judge_expiry(reply["clusterParameters"][0].get("preAndPostImages", {}).get("expireAfterSeconds", "off"))


def judge_expiry(expires: Any) -> Finding:
    """Judge for how long pre-images are kept.

    Args:
        expires: seconds, or `off`: as long as the oplog has their events.
    """
    if not isinstance(expires, int | float):
        return ok(KEPT, "as long as the oplog has their events", expire_after_seconds=str(expires))
    said = f"{expires:.0f} s after their events"
    if expires >= _SHORT_S:
        return ok(KEPT, said, expire_after_seconds=expires)
    return warning(
        KEPT,
        f"{said}: a daemon that is away for longer finds none",
        "db.adminCommand({ setClusterParameter: { changeStreamOptions: "
        '{ preAndPostImages: { expireAfterSeconds: "off" } } } })',
        expire_after_seconds=expires,
    )


def _switch_on(namespace: str) -> str:
    database, _, collection = namespace.partition(".")
    name = privileges.literal(database)
    command = {"collMod": collection, "changeStreamPreAndPostImages": {"enabled": True}}
    return f"db.getSiblingDB({name}).runCommand({privileges.literal(command)})"
