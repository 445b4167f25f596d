"""The usual update, written straight through: fields at the top of a document set in place, with its pre-image.

What comes out is, byte for byte, what `update`, `changes` and `image` make of it; this only makes no objects on the
way. Whatever is not the usual is left to them, also whatever is malformed, so that it is refused in their words.
`tests/unit/test_plain_update.py` compares the two.
"""

from __future__ import annotations

from functools import lru_cache

from core.paths import is_ambiguous
from models import raw

_DESCRIPTION = b"\x10$v\x00\x02\x00\x00\x00\x03diff\x00"
_DIFF_AT = 4 + len(_DESCRIPTION)
_SET = b"\x03u\x00"
_SET_AT = _DIFF_AT + 4 + len(_SET)
_OLD = [raw.TYPE_BYTE[kind] + b"old_value\x00" for kind in range(256)]
_NEW = [raw.TYPE_BYTE[kind] + b"new_value\x00" for kind in range(256)]
_LONGEST_NAME = 256  # so that what is remembered stays small
_MOST = 64
_PLACES = [b"\x03%d\x00" % place for place in range(_MOST)]


def changes(description: bytes, before: bytes) -> bytes | None:
    """The stored changes, as a BSON array.

    Args:
        description: `rawUpdateDescription`.
        before: the pre-image.

    Returns:
        The array, or None: this is not the usual update.
    """
    # {$v: 2, diff: {u: {…}}} and nothing else: each of the three documents ends where the one around it does.
    if not (
        description.startswith(_DESCRIPTION, 4)
        and description.startswith(_SET, _DIFF_AT + 4)
        and int.from_bytes(description[_DIFF_AT : _DIFF_AT + 4], "little") == len(description) - _DIFF_AT - 1
        and int.from_bytes(description[_SET_AT : _SET_AT + 4], "little") == len(description) - _SET_AT - 2
    ):
        return None
    try:
        steps = raw.elements(description[_SET_AT:-2])
        old_values = raw.fields(before, {key for key, _, _ in steps})
    except raw.MalformedBSON:
        return None
    written: dict[bytes, bytes] = {}
    for place, (key, kind, value) in zip(_PLACES, steps, strict=False):
        field = _field(key)
        if field is None:
            return None
        old = old_values.get(key)
        body = field + (_OLD[old[0]] + old[1] + _NEW[kind] if old is not None else _NEW[kind]) + value + b"\x00"
        written[key] = place + raw.int32(len(body) + 4) + body
    # Fewer where a key comes twice, or where there are more than there are places.
    return raw.document(written.values()) if len(written) == len(steps) else None


@lru_cache(maxsize=4096)
def _field(key: bytes) -> bytes | None:
    """The beginning of a change of a field at the top of a document; None: its name must not be taken for a path."""
    if is_ambiguous((key,)) or key == b"_id" or len(key) > _LONGEST_NAME:
        return None
    return b"\x02field\x00" + raw.string(key)
