"""Redaction of random events by random rules: both ways to the byte, and what the plainest of rules says."""

from __future__ import annotations

import os
import random
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import bson
import pytest

from change_history.bson import raw, redacted
from change_history.bson.redacted import DROPPED
from change_history.reconstruct import fold
from change_history.redaction_rules import Paths, Rule
from tests.support.generated.events import Events
from tests.support.handmade_events import an_event
from tests.support.redacting import KEY, quick, readable, rules
from watcher.events import event, fast_path, record
from watcher.events.redaction import Redaction, Redactor

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FUZZED = int(os.environ.get("WATCHER_TEST_FUZZED_EVENTS", "1500"))
_DAMAGES = [0, 1, 2, 3, 4, 5, 7, 0x0B, 0x0F, 0x10, 0x7F, 0x80, 0xFF]

compiled = pytest.mark.skipif(not fast_path.COMPILED, reason="installed without a C compiler")

_PATHS = [
    "a",
    "name",
    "tags",
    "items",
    "a.b",
    "**.name",
    "**.a",
    "key1",
    "key*",
    "**.key2.c",
    "b.**.c",
    "items.a.b",
    "é",
]
_ODD_PATHS = [*_PATHS, "*", "items.*", "?", "**", "0", "**.1", "items.0.a", "$set", "k" * 200, "**.a.**.b", "*e*"]


def _chosen(dice: random.Random, paths: list[str], hows: list[str]) -> list[str]:
    return [f"{path}={dice.choice(hows)}" for path in dice.sample(paths, dice.randrange(1, 6))]


@compiled
@pytest.mark.parametrize("odd", [0.0, 0.5])
def test_the_compiled_way_withholds_the_same_to_the_byte(odd: float) -> None:
    """Whatever the rules are, and however odd or damaged the event; what it declines the readable way does."""
    dice = random.Random(odd)
    made, declined = Events(dice, odd=odd), 0
    for number in range(FUZZED):
        if number % 20 == 0:
            texts = _chosen(dice, _ODD_PATHS, ["drop", "mask", "hash"])
            plain, swift = readable(*texts), quick(*texts)
        data, known = made.event()
        if odd and dice.random() < 0.3:
            damaged = bytearray(data)
            damaged[dice.randrange(len(data))] = dice.choice(_DAMAGES)
            data = bytes(damaged)
        found = swift.quick.marked_event(data)  # type: ignore[attr-defined]
        declined += found is None
        assert found is None or found == plain.marked_event(data), texts
        if known is not None and not odd:
            assert swift.quick.document(known) == plain.document(known)  # type: ignore[attr-defined]
            assert plain.document(plain.document(known)) == plain.document(known)
    assert odd or declined < FUZZED / 3


@compiled
def test_a_compiled_batch_is_what_the_readable_way_makes_of_it_to_the_byte() -> None:
    """Of namespaces with and without rules, with long values to hash, replacements, and odd events among them."""
    dice = random.Random(11)
    for _ in range(FUZZED // 50):
        made = Events(dice, odd=dice.choice([0.0, 0.1]))
        long = {
            "_id": 7,
            "a": dice.choice("xy") * dice.choice([100, 126, 127, 128, 254, 255, 256, 900]),
            "b": [1, {"c": 2}],
        }
        events = [made.event()[0] for _ in range(20)]
        events += [an_event("replace", fullDocument=long | {"b": 1}, fullDocumentBeforeChange=long), b"no event", b""]
        events += [
            bson.encode(bson.decode(an_event("insert", fullDocument=long)) | {"ns": {"db": "x", "coll": name}})
            for name in "yz"
        ]
        events += [
            bson.encode(bson.decode(an_event("insert", fullDocument=long)) | {"ns": names})
            for names in (1, {}, {"db": 1})
        ]
        dice.shuffle(events)
        chosen = [
            f"{dice.choice(['*.*', 'shop.*', 'x.y'])}:{text}"
            for text in _chosen(dice, _ODD_PATHS, ["drop", "mask", "hash"])
        ]
        found = [Rule.parse(text) for text in chosen]
        swift = fast_path.redaction(found, KEY)
        assert swift is not None
        for _ in range(2):
            assert swift.batch(events) == Redaction(found, KEY).batch(events), chosen


def _covered(document: Any, patterns: list[tuple[str, ...]], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """By the plainest of rules: the paths in a document that patterns match."""
    inner = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in inner:
        at = (*path, f"[{key}]" if isinstance(key, int) else key)
        if at == ("_id",):
            continue
        if any(_matches(pattern, at) for pattern in patterns):
            yield at
        else:
            yield from _covered(value, patterns, at)


def _matches(pattern: tuple[str, ...], path: tuple[str, ...]) -> bool:
    if not pattern:
        return True
    if not path:
        return pattern == ("**",)
    first, rest = path[0], path[1:]
    if first.startswith("[") and (_matches(pattern, rest) if rest else False):
        return True
    if pattern[0] == "**":
        return _matches(pattern[1:], path) or _matches(pattern, rest)
    if "." in first and _matches(pattern, (*first.split("."), *rest)):
        return True
    return fnmatchcase(first.strip("[]") if first.startswith("[") else first, pattern[0]) and _matches(
        pattern[1:], rest
    )


def test_what_is_withheld_is_what_the_plainest_of_rules_says() -> None:
    """The automaton against a search of all paths."""
    dice = random.Random(5)
    made = Events(dice)
    for _ in range(FUZZED // 3):
        texts = _chosen(dice, [path for path in _ODD_PATHS if path != "*"], ["drop"])
        document = made.document()
        found = _plain((raw.DOCUMENT, readable(*texts).document(document)))
        paths = [tuple(text.removesuffix("=drop").split(".")) for text in texts]
        assert set(_withheld_in(found)) == set(_covered(_plain((raw.DOCUMENT, document)), paths)), texts


def _plain(value: raw.Value) -> Any:
    """Taken apart, but for scalars: the driver does not decode all that is here."""
    kind, payload = value
    if kind == raw.DOCUMENT:
        return {key.decode(): _plain(inner) for key, inner in raw.fields(payload).items()}
    return [_plain(inner) for inner in raw.items(payload)] if kind == raw.ARRAY else value


def _withheld_in(document: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    inner = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in inner:
        at = (*path, f"[{key}]" if isinstance(key, int) else key)
        if value == DROPPED:
            yield at
        else:
            yield from _withheld_in(value, at)


@pytest.mark.parametrize("hows", [["drop", "mask"], ["drop", "mask", "hash"]])
def test_history_of_redacted_events_folds_to_the_redacted_document(hows: list[str]) -> None:
    """Otherwise what is read as of a time is not what was there with its secrets left out."""
    dice = random.Random(len(hows))
    made = Events(dice)
    for _ in range(FUZZED):
        texts = _chosen(dice, _PATHS, hows)
        redactor = readable(*texts)
        data, known = made.event()
        happened = event.parse(data)
        if "hash" in hows and happened.lacks_pre_image:
            continue  # what it makes of a document that it only knows withheld, nobody can say
        real, after = record.followed(happened, known)
        before = redactor.document(known) if known is not None else None
        entry, told_after = record.followed(event.parse(redactor.event(data)), before)
        entry = redacted.without_mark(entry)
        assert (redacted.without_mark(told_after) if told_after is not None else None) == (
            redactor.document(after) if after is not None else None
        ), texts
        image = happened.document(b"fullDocumentBeforeChange") or known
        if image is not None and after is not None:
            assert fold.apply(redactor.document(image), fold.read(entry)) == redactor.document(after)
        if not happened.lacks_pre_image:
            _nothing_concealed(_paths_of(real), set(_paths_of(entry)))


def _paths_of(history: bytes) -> Iterable[tuple[Any, ...]]:
    return [change.path for change in fold.read(history).changes]


def _nothing_concealed(changed: Iterable[tuple[Any, ...]], said: set[tuple[Any, ...]]) -> None:
    """Of each path that changed, history says so: of it, of what is above, or of what is below."""
    for path in changed:
        assert any(path[: len(other)] == other or other[: len(path)] == path for other in said), (path, said)


@compiled
@pytest.mark.parametrize("size", [0, 1, 50, 121, 122, 123, 124, 127, 128, 129, 1000])
def test_a_digest_is_the_same_whoever_makes_it(size: int) -> None:
    """Of little data it is made by our own code, of more by Python's."""
    for key in (KEY, b"k", b"k" * 64):
        paths = Paths(rules("p=hash"))
        document = bson.encode({"_id": 1, "p": "x" * size})
        assert fast_path._Quick(paths, key).document(document) == Redactor(paths, key).document(document)
