"""Entries that blame passes over unread: if one had set a leaf, an older event would be named, which is not guilty."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING, Any

import pytest

from change_history.blame import leaves, sought
from change_history.blame.backwards import NeedsAllError, setters
from change_history.bson import quick, raw
from change_history.bson.image import Image
from change_history.bson.values import to_raw
from change_history.reconstruct import fold
from change_history.stored.changes import Change, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from change_history.blame.sought import Sought
    from change_history.bson.paths import Path

compiled = pytest.mark.skipif(quick.COMPILED is None, reason="installed without a C compiler")
FUZZED = int(os.environ.get("WATCHER_TEST_FUZZED_EVENTS", "2000"))
ENTRIES = 40
KEYS: list[bytes] = [b"a", b"b", b"l", b"0", b"a.b", b""]


class Life:
    """A document that random updates change, and its history, as it is stored.

    Args:
        dice: what is random.
    """

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._is_wild = dice.random() < 0.3  # of most of these, only the whole history tells everything
        self.document = to_raw({"_id": 1, "a": {"a": 1, "b": {"a": 2}}, "b": 3, "l": [1, None, {"a": 4}], "n": 5})[1]
        self.stored: list[bytes] = []
        self.known: tuple[leaves.Blame | None, bytes | None] = None, None
        whole = [Change((key,), None, value) for key, value in raw.fields(self.document).items()]
        self._record(b"insert", whole)

    def update(self) -> None:
        """Change a place or two, now and then by another kind of event."""
        if self._is_wild and self._dice.random() < 0.02:
            whole = [Change((key,), None, value) for key, value in raw.fields(self.document).items()]
            self._record(self._dice.choice([b"replace", b"reconcile", b"baseline"]), whole)
            return
        first = self._change(())
        changes = [first] if first is not None else []
        other = self._change(()) if self._dice.random() < 0.3 else None
        if other is not None and first is not None and other.path[0] != first.path[0]:
            changes.append(other)
        self._record(self._dice.choice([b"update", b"update", b"update", b"replace", b"reconcile"]), changes)

    def _record(self, operation: bytes, changes: list[Change]) -> None:
        number = len(self.stored)
        self.known = leaves.after(*self.known, fold.Entry(operation, changes, None), number)
        assert self.known[1] is not None
        self.document = self.known[1]
        array = raw.from_items((raw.DOCUMENT, encode(change)) for change in changes)
        self.stored.append(
            raw.from_fields(
                [
                    (b"_id", raw.binary(id_of(number))),
                    (b"namespace", to_raw("shop.users")),
                    (b"operation", (raw.STRING, raw.string(operation))),
                    (b"changes", (raw.ARRAY, array)),
                ]
            )
        )

    def _change(self, path: Path) -> Change | None:
        """One change at a path or somewhere below it."""
        value = Image(self.document).get(path) if path else (raw.DOCUMENT, self.document)
        assert value is not None
        if value[0] == raw.ARRAY:
            return self._change_of_array(path, len(raw.items(value[1])))
        if value[0] != raw.DOCUMENT or (path and self._dice.random() < 0.2):
            return Change(path, value, self._value())
        key = self._dice.choice([key for key in [*raw.fields(value[1]), *KEYS] if key != b"_id"])
        inner = raw.fields(value[1]).get(key)
        if inner is None:
            return Change((*path, key), None, self._value())
        if self._dice.random() < 0.1:
            return Change((*path, key), inner, None)
        return self._change((*path, key))

    def _change_of_array(self, path: Path, length: int) -> Change | None:
        if length and self._dice.random() < 0.6:
            return self._change((*path, self._dice.randrange(length)))
        if length and self._dice.random() < 0.4:
            return Change(
                path,
                Image(self.document).get(path),
                None,
                truncated_to=self._dice.randrange(not self._is_wild, length + 1),
            )
        return Change((*path, length + self._dice.choice([0, 0, 1])), None, self._value())

    def _value(self) -> raw.Value:
        values: list[Any] = [1, 2, None, "x", {"a": 1}, {"a": 1, "b": None}, {"0": 1}, [1, None]]
        return to_raw(self._dice.choice(values if self._is_wild else values[:-1]))


def id_of(number: int) -> bytes:
    """The `_id` of the entry of a number."""
    return number.to_bytes(8, "big") * 2


def told(life: Life, entries: Callable[[Sought], Iterable[dict[bytes, raw.Value]]]) -> list[bytes] | None:
    """The entry of each leaf; None: it cannot be told from the newest entry on."""
    assert life.known[0] is not None
    found = [(path, value) for path, value, _ in leaves.leaves(life.document, life.known[0])]
    try:
        return setters(found, entries, id_of(len(life.stored) - 1), lambda: None)
    except NeedsAllError:
        return None


@pytest.mark.parametrize("readable", [pytest.param(False, marks=compiled), True])
@pytest.mark.parametrize("seed", range(2))
def test_what_is_passed_over_had_set_nothing(*, seed: int, readable: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the updates: with entries left out, blame says what it says with all of them, or nothing likewise."""
    if readable:
        monkeypatch.setattr(sought, "COMPILED", None)
    dice = random.Random(seed)
    read = among = answers = 0
    for _ in range(FUZZED // 20):
        life = Life(dice)
        for _ in range(dice.randrange(ENTRIES)):
            life.update()
        size = dice.randrange(1, 20)
        newest = list(reversed(life.stored))
        taken = []

        def some(wanted: Sought) -> Iterable[dict[bytes, raw.Value]]:
            batches = (b"".join(newest[at : at + size]) for at in range(0, len(newest), size))  # noqa: B023
            for entry in wanted.concerned(batches):
                taken.append(entry)  # noqa: B023
                yield raw.fields(entry)

        expected = told(life, lambda _: map(raw.fields, newest))  # noqa: B023
        assert told(life, some) == expected
        if expected is not None:
            answers, read, among = answers + 1, read + len(taken), among + len(newest)
            assert life.known[0] is not None
            assert expected == [id_of(event) for *_, event in leaves.leaves(life.document, life.known[0])]
    assert answers > FUZZED // 100
    assert read < among


@compiled
@pytest.mark.parametrize("seed", range(2))
def test_the_compiled_way_passes_over_nothing_else_however_damaged(seed: int) -> None:
    """It may stop earlier where bytes are odd; read beyond their end, no process would be left."""
    dice = random.Random(seed)
    life = Life(dice)
    for _ in range(ENTRIES):
        life.update()
    entries = b"".join(life.stored[1:])
    starts = [len(b"".join(life.stored[1:number])) for number in range(1, len(life.stored))]
    paths = b"\0".join([b"a", b"a.b", b"l.0", b"l", b"", b"x.y.z"])
    for _ in range(FUZZED // 4):
        named = [dice.choice([b"a", b"b", b"l", b"a.b", b"a.a", b"l.1", b"", b"x", b"x.y"]) for _ in range(4)]
        sets = tuple(dict.fromkeys(named[: dice.randrange(4)], 1) for _ in range(3))
        assert both(sought.first_concerned, entries, dice.choice(starts), *sets) == 0
        assert both(sought.concerns_any, paths, *sets) == 0
        damaged = bytearray(entries)
        for _ in range(dice.randrange(1, 30)):
            damaged[dice.randrange(len(damaged))] = dice.choice([0, 1, 2, 3, 4, 5, 255, 127, dice.randrange(256)])
        assert both(sought.first_concerned, bytes(damaged), dice.choice(starts), *sets) >= 0
        cut = bytes(damaged[: dice.randrange(len(damaged))])
        assert both(sought.first_concerned, cut, 0, *sets) >= 0


def both(way: Callable[..., int], *asked: Any) -> int:
    """How much further the readable way goes than the compiled one."""
    found = way(*asked)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sought, "COMPILED", None)
        return way(*asked) - found
