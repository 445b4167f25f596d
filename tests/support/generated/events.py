"""Random events of documents, made quickly: deltas that fit a document, and such as no server should send."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from change_history.bson import raw
from tests.support.handmade_events import an_event

if TYPE_CHECKING:
    import random

    from change_history.bson.raw import Value

_KEYS = [
    b"a",
    b"b",
    b"c",
    b"name",
    b"tags",
    b"items",
    b"a.b",
    b"$set",
    b"0",
    b"1",
    b"10",
    b"01",
    b"",
    b"\xc3\xa9",
    b"_id",
]
_KEYS += [b"key%d" % number for number in range(30)] + [b"k" * 200]
_SCALARS: list[Value] = [
    (raw.DOUBLE, struct.pack("<d", 1.5)),
    (raw.STRING, raw.string(b"text")),
    (raw.BINARY, raw.int32(3) + b"\x00abc"),
    (raw.UNDEFINED, b""),
    (raw.OBJECT_ID, b"o" * 12),
    (raw.BOOLEAN, b"\x01"),
    (raw.DATE, b"\x01" * 8),
    raw.NULL_VALUE,
    (raw.REGEX, b"^a\x00i\x00"),
    (raw.DB_POINTER, raw.string(b"db.c") + b"p" * 12),
    (raw.CODE, raw.string(b"f()")),
    (raw.SYMBOL, raw.string(b"s")),
    (raw.CODE_WITH_SCOPE, raw.int32(18) + raw.string(b"f()") + raw.EMPTY_DOCUMENT + b"\x00"),
    (raw.INT32, raw.int32(7)),
    (raw.TIMESTAMP, b"\x02" * 8),
    (raw.INT64, b"\x03" * 8),
    (raw.DECIMAL128, b"\x04" * 16),
    (raw.MIN_KEY, b""),
    (raw.MAX_KEY, b""),
]
_CONTAINERS = (raw.DOCUMENT, raw.ARRAY)


class Events:
    """Makes events.

    Args:
        dice: decides.
        odd: how often, of one, there is what no server should send.
    """

    def __init__(self, dice: random.Random, odd: float = 0.0) -> None:
        self._dice = dice
        self._odd = odd

    def event(self, before: bytes | None = None, images: float = 0.6, **more: Any) -> tuple[bytes, bytes | None]:
        """An event, and the document before it that history may tell.

        Args:
            before: the document before it; None: a new one.
            images: how often, of one, it comes with its pre-image.
            more: other fields of its envelope.
        """
        dice, before = self._dice, before or self.document()
        operation = dice.choice(["update", "update", "update", "replace", "insert", "delete"])
        fields: dict[str, Value] = {}
        if operation == "update":
            diff = self._document_delta(before, 0)
            described = [(b"$v", (raw.INT32, raw.int32(2))), (b"diff", (raw.DOCUMENT, diff))]
            fields["rawUpdateDescription"] = (raw.DOCUMENT, raw.from_fields(described))
        if operation in {"insert", "replace"}:
            after = self._changed(before, 0) if dice.random() < 0.8 else self.document()
            fields["fullDocument"] = (raw.DOCUMENT, after)
        known = before
        if self._odd and dice.random() < self._odd:
            known = self.document()
        if operation != "insert" and dice.random() < images:
            fields["fullDocumentBeforeChange"] = (raw.DOCUMENT, known)
        envelope = [*raw.fields(an_event(operation, **more)).items()]
        data = raw.from_fields([*envelope, *((name.encode(), value) for name, value in fields.items())])
        return data, known if dice.random() < 0.8 else None

    def document(self) -> bytes:
        """A document with an `_id` in front, two or three levels deep, now and then large."""
        size = self._dice.choice([0, 1, 3, 5, 8, 12, 40])
        fields = [(b"_id", (raw.INT32, raw.int32(7))), *self._fields(size, 0)]
        return raw.from_fields(fields if self._odd else [*dict(fields).items()])

    def _fields(self, most: int, depth: int) -> list[tuple[bytes, Value]]:
        keys = self._dice.choices(_KEYS if depth else _KEYS[:-1], k=most)
        keys = [key for key in keys if depth or key != b"_id"]
        if not self._is_odd():
            keys = list(dict.fromkeys(keys))
        return [(key, self._value(depth + 1)) for key in keys]

    def _value(self, depth: int) -> Value:
        dice = self._dice
        kind = dice.random()
        if depth > 3 or kind < 0.6:
            return dice.choice(_SCALARS)
        if kind < 0.8:
            return raw.DOCUMENT, raw.from_fields(self._fields(dice.randrange(5), depth))
        values = [self._value(depth + 1) for _ in range(dice.randrange(14))]
        if self._is_odd():
            return raw.ARRAY, raw.from_fields([(dice.choice(_KEYS), value) for value in values])
        return raw.ARRAY, raw.from_items(values)

    def _is_odd(self) -> bool:
        return self._odd > 0 and self._dice.random() < self._odd / 10

    def _document_delta(self, document: bytes, depth: int) -> bytes:
        dice = self._dice
        there = [element for element in raw.elements(document) if depth or element[0] != b"_id"]
        dice.shuffle(there)
        sections: dict[bytes, list[tuple[bytes, Value]]] = {b"d": [], b"u": [], b"i": []}
        inner: list[tuple[bytes, Value]] = []
        for key, kind, payload in there[: dice.randrange(1 + min(len(there), 6))]:
            if kind in _CONTAINERS and dice.random() < 0.7:
                below = (
                    self._array_delta(payload, depth) if kind == raw.ARRAY else self._document_delta(payload, depth + 1)
                )
                inner.append((b"s" + key, (raw.DOCUMENT, below)))
            else:
                sections[dice.choice([b"d", b"u", b"u", b"i"])].append((key, self._value(depth + 1)))
        names = {key for key, _, _ in there}
        for key, value in self._fields(dice.randrange(4), depth or 1):
            if key not in names or self._is_odd():
                sections[dice.choice([b"i", b"i", b"u"])].append((key, value))
        if self._is_odd():
            sections[dice.choice([b"d", b"u", b"x", b"a"])] = self._fields(2, 1)
            inner.append((b"s" + dice.choice(_KEYS), (raw.DOCUMENT, self._document_delta(self.document(), 1))))
        written = [(name, (raw.DOCUMENT, raw.from_fields(contents))) for name, contents in sections.items() if contents]
        return raw.from_fields([*written, *inner])

    def _delta(self, kind: int, payload: bytes, depth: int) -> bytes:
        return self._array_delta(payload, depth) if kind == raw.ARRAY else self._document_delta(payload, depth)

    def _array_delta(self, array: bytes, depth: int) -> bytes:
        dice, items = self._dice, raw.items(array)
        delta: list[tuple[bytes, Value]] = [(b"a", (raw.BOOLEAN, b"\x01"))]
        length = len(items)
        if dice.random() < 0.3:
            length = dice.randrange(len(items) + 1)
            delta.append((b"l", (raw.INT32, raw.int32(length))))
        for index in sorted(dice.sample(range(length + 3), dice.randrange(3))):
            kind, payload = items[index] if index < length else raw.NULL_VALUE
            if kind in _CONTAINERS and dice.random() < 0.7:
                below = (
                    self._array_delta(payload, depth) if kind == raw.ARRAY else self._document_delta(payload, depth + 1)
                )
                delta.append((b"s%d" % index, (raw.DOCUMENT, below)))
            else:
                delta.append((b"u%d" % index, self._value(depth + 1)))
        if self._is_odd():
            delta.append((dice.choice([b"u01", b"u", b"s9", b"l", b"u-1", b"u4000000000"]), self._value(1)))
        return raw.from_fields(delta)

    def _changed(self, document: bytes, depth: int) -> bytes:
        """A document as a replacement leaves it: some fields are others, gone, new, or in another place."""
        dice, fields = self._dice, []
        for key, kind, payload in raw.elements(document):
            fate = dice.random()
            if (key == b"_id" and not depth) or fate < 0.6:
                fields.append((key, (kind, payload)))
            elif fate < 0.8 and kind == raw.DOCUMENT:
                fields.append((key, (kind, self._changed(payload, depth + 1))))
            elif fate < 0.9:
                fields.append((key, self._value(depth + 1)))
        names = {key for key, _ in fields}
        new = [
            field for field in self._fields(dice.randrange(3), depth or 1) if field[0] not in names or self._is_odd()
        ]
        place = len(fields) if dice.random() < 0.7 else dice.randrange(len(fields) + 1)
        place = max(place, 1 - min(depth, 1))
        fields[place:place] = new
        if dice.random() < 0.2:
            fixed = 0 if depth else 1
            moved = fields[fixed:]
            dice.shuffle(moved)
            fields[fixed:] = moved
        return raw.from_fields(fields)
