"""The rules for redacting values when they are recorded, such as `*.users:password=drop`, and the paths they cover.

A rule is `namespace:path=how`. The namespace is a glob as in `change_history.globs`. The path is dot-separated keys;
in a key, `*` is any number of characters and `?` one; the part `**` is any number of keys, or none. A rule covers its
path and all below. Array elements need no part of their own: `items.sku` covers `items.0.sku`; a part that matches an
index means that element. A key with dots is also read as the path that it looks like. The `_id` of a document, which
identifies the document of an event, is never covered.

If several rules cover a path, the first applies; a rule of a path precedes those of paths below it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

from change_history import globs
from change_history.bson.paths import is_index
from change_history.bson.redacted import How

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from change_history.bson.paths import Path

ANY_DEPTH = "**"
SEPARATOR = ":"
_ID = "_id"
_HOW = (How.DROP, How.MASK, How.HASH)
_ELEMENTS = frozenset({"$", "[]", "$[]"})
_REMEMBERED = 20_000
_MOST_SHOWN = 60
_FORM = "namespace:path=how, such as shop.users:password=drop"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    Attributes:
        namespace: a glob `db.coll`.
        path: the parts of its path.
        how: how a value is redacted.
    """

    namespace: str
    path: tuple[str, ...]
    how: How

    @classmethod
    def parse(cls, text: str) -> Rule:
        """Read a rule.

        Raises:
            ValueError: the text is no rule; the message says why.
        """
        shown = repr(text if len(text) <= _MOST_SHOWN else text[: _MOST_SHOWN - 1] + "…")
        where, equals, how = text.rpartition("=")
        namespace, colon, path = where.partition(SEPARATOR)
        if not equals or not colon:
            raise ValueError(f"{shown} is not of the form {_FORM}")
        if how.strip().lower() not in _HOW:
            raise ValueError(f"{shown} does not end in ={', ='.join(_HOW)}")
        parts = tuple(path.strip().split("."))
        if fault := _fault(parts):
            raise ValueError(f"{shown}: {fault}")
        return cls(namespace.strip(), parts, How(how.strip().lower()))

    def __str__(self) -> str:
        return f"{self.namespace}{SEPARATOR}{'.'.join(self.path)}={self.how}"

    def concerns(self, namespace: str) -> bool:
        """Whether the rule applies to a namespace."""
        return globs.fits((self.namespace,), *globs.split(namespace))


def _fault(parts: tuple[str, ...]) -> str | None:
    """The fault of a path; None: it is valid."""
    if not all(parts):
        return "its path has an empty part"
    if any("\0" in part for part in parts):
        return "its path has a NUL byte, which no key may have"
    if elements := _ELEMENTS & set(parts):
        return f"array elements need no part of their own; leave {min(elements)!r} out"
    if parts[0] == _ID:
        return "the _id says which document an event is about, so it cannot be withheld; keep what is secret out of it"
    return None


def fingerprint(rules: Iterable[Rule], key: bytes | None) -> str:
    """A short fingerprint of rules and their key, from which neither can be derived."""
    text = "\0".join(map(str, rules)).encode("utf-8", "surrogateescape")
    return blake2b(text, key=key or b"", digest_size=8).hexdigest()


class Paths:
    """The rules of one namespace as an automaton that reads the keys of a path one by one.

    Its state is a set of positions in the rules, as bits of an integer; 0: nothing below is covered.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = tuple(rules)
        self.parts: list[str | None] = []
        """The part expected at each position; None: the end of a rule."""
        self.ends: dict[int, Rule] = {}
        """The rules by the position of their end."""
        for rule in rules:
            self.parts += [*rule.path, None]
            self.ends[len(self.parts) - 1] = rule
        self.ended = sum(1 << position for position in self.ends)
        self.reached = [self._reach(position) for position in range(len(self.parts))]
        """The positions that each position implies, as a bit set: `**` may match no key."""
        self.start = self._starts()
        self._matchers = [_matcher(part) for part in self.parts]
        self._steps: dict[tuple[int, bytes], int] = {}

    def _reach(self, position: int) -> int:
        found = 1 << position
        while self.parts[position] == ANY_DEPTH:
            position += 1
            found |= 1 << position
        return found

    def _starts(self) -> int:
        found, position = 0, 0
        for rule in self.rules:
            found |= self.reached[position]
            position += len(rule.path) + 1
        return found

    def rule(self, state: int) -> Rule | None:
        """The rule that covers the path read so far; None: there is none."""
        ended = state & self.ended
        return self.ends[(ended & -ended).bit_length() - 1] if ended else None

    def key(self, state: int, key: bytes) -> int:
        """The state after a key of a document."""
        if not state:
            return 0
        found = self._steps.get((state, key))
        if found is None:
            found = self._step(state, key)
            if b"." in key:
                found |= self._dotted(state, key, self._step)
            if len(self._steps) > _REMEMBERED:
                self._steps.clear()
            self._steps[state, key] = found
        return found

    def index(self, state: int, index: bytes) -> int:
        """The state after an index of an array, in decimal."""
        return state | self._step(state, index) if state else 0

    def either(self, state: int, part: bytes) -> int:
        """The state after a part of a dotted path, which may be a key or an index."""
        return self._step(state, part) | (state if is_index(part) else 0)

    def along(self, path: Path) -> tuple[int, int]:
        """Read a path as far as no rule covers it.

        Returns:
            The number of parts that were read, and the state after them.
        """
        state = self.start
        if path and path[0] == _ID.encode():
            return len(path), 0
        for depth, key in enumerate(path, start=1):
            state = self.index(state, b"%d" % key) if isinstance(key, int) else self.key(state, key)
            if not state or state & self.ended:
                return (depth if state else len(path)), state
        return len(path), state

    def _dotted(self, state: int, key: bytes, step: Callable[[int, bytes], int]) -> int:
        ended = 0
        for part in key.split(b"."):
            state = step(state, part)
            ended |= state & self.ended
        return state | ended

    def _step(self, state: int, key: bytes) -> int:
        found = 0
        while state:
            bit = state & -state
            state ^= bit
            position = bit.bit_length() - 1
            matches = self._matchers[position]
            if matches is None:  # any number of keys, or the end
                found |= self.reached[position] if self.parts[position] is not None else 0
            elif matches(key):
                found |= self.reached[position + 1]
        return found


def _matcher(part: str | None) -> Callable[[bytes], object] | None:
    if part is None or part == ANY_DEPTH:
        return None
    text = part.encode("utf-8", "surrogateescape")
    if not is_glob(part):
        return text.__eq__
    # A character is one byte and its continuation bytes.
    wild = {b"*": b".*", b"?": rb".[\x80-\xbf]*+"}
    pieces = [wild.get(piece, re.escape(piece)) for piece in re.split(rb"([*?])", text)]
    return re.compile(b"".join(pieces), re.DOTALL).fullmatch


def is_glob(part: str) -> bool:
    """Whether a part of a path has wildcards."""
    return "*" in part or "?" in part


def like_a_path(glob: str, collections: Iterable[str]) -> Rule | None:
    """The rule that a glob such as `shop.users.password` seems to mean, given where globs of namespaces are expected.

    Args:
        glob: the glob of namespaces.
        collections: the existing namespaces.

    Returns:
        The rule; None: the glob names a collection, or does not look like the path of a field of one.
    """
    database, collection = globs.split(glob)
    names = list(collections)
    if any(globs.fits((glob,), *globs.split(name)) for name in names):
        return None
    parts = collection.split(".")
    for length in range(len(parts) - 1, 0, -1):
        namespace, path = f"{database}.{'.'.join(parts[:length])}", tuple(parts[length:])
        if any(globs.fits((namespace,), *globs.split(name)) for name in names) and not _fault(path):
            return Rule(namespace, path, How.DROP)
    return None
