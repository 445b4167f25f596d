"""Reads the server's description of an update, in either of its two formats, into one list of steps.

The raw description (`showRawUpdateDescription`, servers from 6.0) is the oplog's own delta: it distinguishes arrays
from documents, keys with dots from paths, and a field set in place from one added at the end. The ordinary
`updateDescription` distinguishes none of these; `disambiguatedPaths` (6.1 and later) and the images resolve what can be
resolved (see `ambiguous`).

Delta format: src/mongo/db/update/document_diff_serialization.h in the server's source.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from change_history.bson import raw
from change_history.stored.changes import UpdateStep

if TYPE_CHECKING:
    from change_history.bson.paths import Path
    from change_history.bson.raw import Value


_ID_PATH = (b"_id",)
_MOST_ELEMENTS = 16 * 1024 * 1024
"""Most elements of an array: each takes at least three bytes, and a document has at most 16 MB."""


class UnknownUpdateFormatError(ValueError):
    """The server describes the update in a format that this version does not know."""


def from_raw(description: bytes) -> list[UpdateStep]:
    """Read `rawUpdateDescription`.

    Raises:
        UnknownUpdateFormatError: not a version 2 delta, or a section nobody has documented yet.
    """
    contents = raw.fields(description)
    delta = contents.get(b"diff")
    if delta is None:
        raise UnknownUpdateFormatError("the raw update description is not a version 2 delta")
    steps: list[UpdateStep] = []
    _read_document(delta[1], (), steps)
    # A pipeline may move `_id`; the server stores it first and unchanged all the same.
    return [step for step in steps if step.path != _ID_PATH] if b"_id\x00" in delta[1] else steps


def _read_document(delta: bytes, prefix: Path, steps: list[UpdateStep]) -> None:
    for section, _, payload in raw.elements(delta):
        if section == b"u":
            for key, kind, value in raw.elements(payload):
                steps.append(UpdateStep((*prefix, key), (kind, value)))
        elif section == b"i":
            for key, kind, value in raw.elements(payload):
                steps.append(UpdateStep((*prefix, key), (kind, value), None, True))  # noqa: FBT003
        elif section == b"d":
            steps.extend(UpdateStep((*prefix, key), None) for key, _, _ in raw.elements(payload))
        elif section[:1] == b"s":
            _read_inner(payload, (*prefix, section[1:]), steps)
        else:
            raise UnknownUpdateFormatError(f"unknown section {section!r} in the update of a document")


def _read_array(delta: bytes, prefix: Path, steps: list[UpdateStep]) -> None:
    for section, kind, payload in raw.elements(delta)[1:]:
        if section == b"l":
            steps.append(UpdateStep(prefix, None, _length(kind, payload)))
        elif section[:1] == b"u":
            steps.append(UpdateStep((*prefix, _index(section[1:])), (kind, payload)))
        elif section[:1] == b"s":
            _read_inner(payload, (*prefix, _index(section[1:])), steps)
        else:
            raise UnknownUpdateFormatError(f"unknown section {section!r} in the update of an array")


def _length(kind: int, payload: bytes) -> int:
    length = int.from_bytes(payload, "little", signed=True)
    if kind != raw.INT32 or length < 0:
        raise UnknownUpdateFormatError("an array is cut to a length that is none")
    return length


def _index(text: bytes) -> int:
    index = int(text)
    if not 0 <= index < _MOST_ELEMENTS:
        raise UnknownUpdateFormatError(f"no document has room for element {index} of an array")
    return index


def _read_inner(delta: bytes, prefix: Path, steps: list[UpdateStep]) -> None:
    elements = raw.elements(delta)
    if elements and elements[0][:2] == (b"a", raw.BOOLEAN):
        _read_array(delta, prefix, steps)
    else:
        _read_document(delta, prefix, steps)


class Described(NamedTuple):
    """An ordinary `updateDescription`, its paths still dotted."""

    updated: list[tuple[bytes, Value]]
    removed: list[bytes]
    truncated: list[tuple[bytes, int]]
    disambiguated: dict[bytes, Path]


def from_description(description: bytes) -> Described:
    """Read `updateDescription`."""
    contents = raw.fields(description)

    def inner(name: bytes) -> bytes:
        return contents.get(name, (raw.NULL, raw.EMPTY_DOCUMENT))[1] or raw.EMPTY_DOCUMENT

    truncated = []
    for _, array in raw.items(inner(b"truncatedArrays")):
        entry = raw.fields(array)
        truncated.append((raw.text_of(entry[b"field"]), int.from_bytes(entry[b"newSize"][1][:4], "little")))
    return Described(
        [(key, (kind, payload)) for key, kind, payload in raw.elements(inner(b"updatedFields"))],
        [raw.text_of(value) for value in raw.items(inner(b"removedFields"))],
        truncated,
        {
            key: tuple(
                raw.text_of((kind, part)) if kind == raw.STRING else int.from_bytes(part, "little")
                for kind, part in raw.items(payload)
            )
            for key, _, payload in raw.elements(inner(b"disambiguatedPaths"))
        },
    )
