"""What a rule covers is withheld wherever it stands in an event, and history of the rest is what it would have been."""

from __future__ import annotations

import os
import random
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import bson
import pytest
from bson.raw_bson import RawBSONDocument

from change_history.blame import leaves as blame
from change_history.bson import raw, redacted
from change_history.bson.redacted import DROPPED, How
from change_history.bson.values import document_to_python, to_raw
from change_history.reconstruct import fold
from change_history.redaction_rules import Paths, Rule, fingerprint, like_a_path
from change_history.stored.changes import Change
from tests.support.generated.events import Events
from tests.support.handmade_events import an_event
from watcher.events import event, fast_path, record
from watcher.events.redaction import Redaction, Redactor

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

KEY = redacted.key_from("a secret nobody guesses")
FUZZED = int(os.environ.get("WATCHER_TEST_FUZZED_EVENTS", "1500"))
_DAMAGES = [0, 1, 2, 3, 4, 5, 7, 0x0B, 0x0F, 0x10, 0x7F, 0x80, 0xFF]

compiled = pytest.mark.skipif(not fast_path.COMPILED, reason="installed without a C compiler")


def rules(*texts: str) -> list[Rule]:
    """Rules for every namespace."""
    return [Rule.parse(f"*.*:{text}") for text in texts]


def readable(*texts: str) -> Redactor:
    """What redacts, the readable way."""
    return Redactor(Paths(rules(*texts)), KEY)


def quick(*texts: str) -> Redactor:
    """What redacts, compiled."""
    found = fast_path.redaction(rules(*texts), KEY)
    assert found is not None
    redactor = found.of(b"shop.users")
    assert redactor is not None
    return redactor


def withheld(document: dict[str, Any], *texts: str) -> dict[str, Any]:
    """A document with what rules cover withheld; both ways do the same."""
    data = bson.encode(document)
    found = readable(*texts).document(data)
    assert quick(*texts).document(data) == found
    return document_to_python(found)


def history(data: bytes, known: bytes | None = None) -> dict[str, Any]:
    """The history of a redacted event."""
    return document_to_python(redacted.without_mark(record.record(data, known)))


def told(data: bytes, *texts: str, known: bytes | None = None) -> dict[str, tuple[Any, Any]]:
    """The changes of an event, by field, by both ways."""
    found = readable(*texts).event(data)
    assert quick(*texts).event(data) == found
    changes = history(found, known)["changes"]
    return {each["field"]: (each.get("old_value"), each.get("new_value")) for each in changes}


GONE = document_to_python(raw.from_fields([(b"v", DROPPED)]))["v"]


@pytest.mark.parametrize(
    ("path", "covered"),
    [
        ("card.number", {"card.number", "items.0.card.number", "card.number.deep"} - {"items.0.card.number"}),
        ("**.number", {"card.number", "items.0.card.number", "card.number.deep", "number"}),
        ("card", {"card.number", "card.holder", "card.number.deep"}),
        ("items.card", {"items.0.card.number"}),
        ("items.0", {"items.0.card.number"}),
        ("*.num*", {"card.number", "card.number.deep"}),
        ("?ard.holder", {"card.holder"}),
        ("card.**.deep", {"card.number.deep"}),
        ("**", {"card.number", "card.holder", "card.number.deep", "number", "items.0.card.number"}),
        ("nothing", set()),
    ],
)
def test_a_path_covers_what_it_names_and_all_below(path: str, covered: set[str]) -> None:
    """Through array elements, too."""
    paths = Paths(rules(f"{path}=drop"))
    for field in ("card.number", "card.holder", "card.number.deep", "number", "items.0.card.number"):
        keys = tuple(int(part) if part.isdigit() else part.encode() for part in field.split("."))
        assert (paths.rule(paths.along(keys)[1]) is not None) == (field in covered), field


def test_a_key_with_dots_is_covered_as_the_path_that_it_looks_like() -> None:
    """Whether an application writes one or the other, the secret is the same."""
    assert withheld({"_id": 1, "card.number": 4, "a": {"card.number.x": 5}}, "card.number=drop", "**.number=drop") == {
        "_id": 1,
        "card.number": GONE,
        "a": {"card.number.x": GONE},
    }


def test_the_id_of_a_document_is_never_withheld() -> None:
    """History would be of nobody knows what."""
    document = {"_id": {"ssn": 1}, "a": {"_id": 2}}
    assert withheld(document, "**=drop") == {"_id": {"ssn": 1}, "a": GONE}
    assert withheld(document, "**.ssn=drop", "**._id=drop") == {"_id": {"ssn": 1}, "a": {"_id": GONE}}


def test_the_first_rule_counts_and_a_parent_before_what_is_below() -> None:
    """Else it would be chance what is kept."""
    document = {"_id": 1, "card": {"number": "4111111111111111"}}
    assert str(withheld(document, "card.number=mask", "card.number=drop")["card"]["number"]).endswith("1111\u203a")
    assert withheld(document, "card.number=mask", "card=drop")["card"] == GONE


def test_null_empty_and_odd_values_are_withheld_like_any() -> None:
    """That a password is null is worth knowing, too."""
    values: list[Any] = [None, "", [], {}, False, bson.MinKey(), b"", bson.Code("x", {"a": 1})]
    for value in values:
        assert withheld({"_id": 1, "p": value}, "p=drop")["p"] == GONE


@pytest.mark.parametrize("how", ["drop", "mask", "hash"])
def test_no_way_into_a_covered_field_tells_its_value(how: str) -> None:
    """An update of it, of its parent, of what is below, an insert, a replacement, a delete, a rename, a removal."""
    before = {"_id": 7, "card": {"number": "secret-before-1", "name": "Ann"}, "list": ["secret-before-2", "x"]}
    after = {"_id": 7, "card": {"number": "secret-after-1", "name": "Ann"}, "list": ["secret-after-2"]}
    deltas: list[dict[str, Any]] = [
        {"scard": {"u": {"number": "secret-after-1"}}},
        {"scard": {"d": {"number": False}}, "i": {"new": 1}},
        {"u": {"card": {"number": "secret-after-1"}}},
        {"slist": {"a": True, "u0": "secret-after-2"}},
        {"slist": {"a": True, "l": 1}},
        {"scard": {"snumber": {"u": {"below": "secret-after-1"}}}},
        {"i": {"card.number": "secret-after-1"}},
    ]
    events = [
        an_event("insert", fullDocument=after),
        an_event("delete", fullDocumentBeforeChange=before),
        an_event("replace", fullDocumentBeforeChange=before, fullDocument=after),
        an_event("insert", fullDocument=after, documentKey={"list": "secret-key", "_id": 7}),
        an_event("update", updateDescription={"updatedFields": {"card.number": "secret-after-1"}}),
        an_event("update", updateDescription={"updatedFields": {"list.0.deep": "secret-after-1"}, "removedFields": []}),
        an_event("update", rawUpdateDescription={"$set": {"card.number": "secret-after-1"}}),
        *(
            an_event("update", rawUpdateDescription={"$v": 2, "diff": delta}, fullDocumentBeforeChange=before)
            for delta in deltas
        ),
        *(an_event("update", rawUpdateDescription={"$v": 2, "diff": delta}) for delta in deltas),
        an_event("insert", fullDocument=after, somethingNew={"number": "secret-after-1"}),
    ]
    for redactor in (readable(f"card.number={how}", f"list={how}"), quick(f"card.number={how}", f"list={how}")):
        for data in events:
            found = redactor.event(data)
            assert b"secret" not in found, bson.decode(data)
            assert bson.decode(found)["operationType"] == bson.decode(data)["operationType"]


def test_that_a_covered_field_changed_is_told_also_where_only_images_say_so() -> None:
    """A changed password is the very thing that an audit is about."""
    before, after = {"_id": 7, "p": "one", "q": 1, "same": 1}, {"_id": 7, "p": "two", "q": 1, "same": 1}
    replaced = an_event("replace", fullDocumentBeforeChange=before, fullDocument=after)
    assert told(replaced, "p=drop", "q=drop") == {"p": (GONE, GONE)}
    updated = an_event("update", rawUpdateDescription={"diff": {"u": {"p": "two"}}}, fullDocumentBeforeChange=before)
    assert told(updated, "p=drop") == {"p": (GONE, GONE)}


def test_a_change_below_a_covered_field_is_told_as_one_of_this_field() -> None:
    """The keys below may be as secret as the values; and what is withheld has no inside that could be changed."""
    before = {"_id": 7, "profile": {"ann@example.org": {"n": 1}}, "tags": ["a"]}
    delta = {"sprofile": {"sann@example.org": {"u": {"n": 2}}, "i": {"x": 1}}, "stags": {"a": True, "u1": "b"}}
    data = an_event("update", rawUpdateDescription={"$v": 2, "diff": delta}, fullDocumentBeforeChange=before)
    assert told(data, "profile=drop", "tags=drop") == {"profile": (GONE, GONE), "tags": (GONE, GONE)}
    masked = told(data, "profile=mask", "tags=mask")
    assert [str(new)[1:-1] for _, new in masked.values()] == ["masked object", "masked array"]
    hashes = told(data, "profile=hash")["profile"]
    after = to_raw({"ann@example.org": {"n": 2}, "x": 1})
    assert [to_raw(each) for each in hashes] == [
        redacted.hashed(to_raw(before["profile"]), KEY),
        redacted.hashed(after, KEY),
    ]


def test_where_the_value_before_is_not_known_a_digest_is_not_made_up() -> None:
    """Of what an update changed within a document, only the change is known."""
    data = an_event("update", rawUpdateDescription={"$v": 2, "diff": {"sa": {"u": {"b": 1}}}})
    (new,) = [new for _, new in told(data, "a=hash").values()]
    assert (new.how, new.digest) == (How.HASH, b"")


def test_changes_from_elsewhere_are_withheld_alike() -> None:
    """An import, or an entry that was rejected before there was a rule."""
    redactor = readable("card.number=drop", "tags=mask", "all.of.it=drop")
    value = to_raw("secret")
    found = redactor.changes(
        [
            Change((b"card",), None, to_raw({"number": "secret", "name": "Ann"})),
            Change((b"tags", 3), value, value),
            Change((b"tags", 4), value, value),
            Change((b"all", b"of", b"it", b"down", b"here"), value, None),
            Change((b"name",), value, value),
        ]
    )
    assert [change.path for change in found] == [(b"card",), (b"tags",), (b"all", b"of", b"it"), (b"name",)]
    assert found[-1] == Change((b"name",), value, value)
    nothing = raw.NULL_VALUE
    assert b"secret" not in b"".join((c.old or nothing)[1] + (c.new or nothing)[1] for c in found[:-1])


def test_an_event_that_cannot_be_read_keeps_nothing_that_may_be_covered() -> None:
    """It is set aside with what can be read of it."""
    redaction = Redaction(rules("p=drop"), KEY)
    data = an_event("insert", fullDocument={"_id": 7, "p": "secret", "other": 1})
    for damaged in (
        data[:-30] + b"\xee" * 30,
        data.replace(b"\x02p\x00", b"\x99p\x00"),
        data[: data.index(b"secret") + 6],
    ):
        assert b"secret" not in redaction.rejected(damaged)
    elsewhere = Redaction([Rule.parse("other.*:p=drop")], KEY)
    assert elsewhere.rejected(data) == data


def test_events_of_collections_stay_what_they_are() -> None:
    """They hold no values of documents."""
    data = an_event("createIndexes", operationDescription={"indexes": [{"name": "p_1"}]})
    assert readable("**=drop").event(data) == data
    assert quick("**=drop").event(data) == data


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


def test_a_replacement_of_what_nobody_knows_names_what_it_wrote_in_place_of_a_dropped_value() -> None:
    """Else a password that was replaced seems never to have changed."""
    after = {"_id": 7, "password": "new", "card": {"number": "4111111111111111", "n": 1}, "ssn": "1", "name": "Ann"}
    texts = ("password=drop", "card.number=mask", "ssn=hash")
    known = readable(*texts).document(bson.encode(after | {"password": "old"}))
    found = told(an_event("replace", fullDocument=after), *texts, known=known)
    assert found["password"] == (GONE, GONE)
    assert set(found) == {"password", "card.number"}
    before = after | {"password": "old"}
    assert set(told(an_event("replace", fullDocument=after, fullDocumentBeforeChange=before), *texts)) == {"password"}


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


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("shop.users", "is not of the form"),
        ("shop.users:password", "is not of the form"),
        ("password=drop", "is not of the form"),
        ("shop.users:password=hide", "does not end in =drop, =mask, =hash"),
        ("shop.users:a..b=drop", "empty part"),
        ("shop.users:_id=hash", "cannot be withheld"),
        ("shop.users:_id.ssn=hash", "cannot be withheld"),
        ("shop.users:items.$[].sku=drop", "need no part of their own"),
    ],
)
def test_a_rule_that_would_withhold_nothing_is_refused(text: str, fault: str) -> None:
    """Nobody notices it later."""
    with pytest.raises(ValueError, match=fault):
        Rule.parse(text)


def test_rules_are_known_by_a_name_that_does_not_tell_the_key() -> None:
    """It stands in the database, in plain sight."""
    found = {fingerprint(rules(*texts), key) for texts in (("a=hash",), ("b=hash",)) for key in (KEY, KEY[1:], None)}
    assert len(found) == 6


def test_a_path_where_a_namespace_is_expected_is_noticed() -> None:
    """`WATCHER_EXCLUDE=shop.users.password` excludes a collection that there is not, and records every password."""
    names = ["shop.users", "shop.users.archive", "crm.people"]
    assert str(like_a_path("shop.users.password", names)) == "shop.users:password=drop"
    assert str(like_a_path("shop.users.archive.card.number", names)) == "shop.users.archive:card.number=drop"
    assert str(like_a_path("*.users.password", names)) == "*.users:password=drop"
    assert like_a_path("shop.users.archive", names) is None
    assert like_a_path("shop.carts.old", names) is None
    assert like_a_path("shop.*", names) is None


def test_what_history_withholds_is_adopted_only_where_it_cannot_be_compared() -> None:
    """A reconciliation must neither see a difference that there is not, nor miss one that there is."""
    digest, other = redacted.hashed(to_raw("x"), KEY), redacted.hashed(to_raw("x"), KEY[1:])
    mask, another = redacted.masked(to_raw("12345678")), redacted.masked(to_raw("12345679"))
    for known, found, expected in (
        (DROPPED, to_raw("x"), DROPPED),
        (mask, another, another),
        (mask, DROPPED, mask),
        (digest, redacted.hashed(to_raw("y"), KEY), redacted.hashed(to_raw("y"), KEY)),
        (digest, other, digest),
        (to_raw("x"), to_raw("y"), to_raw("y")),
        (redacted.ERASED, to_raw("y"), redacted.ERASED),
    ):
        documents = [
            (raw.DOCUMENT, raw.from_fields([(b"a", (raw.ARRAY, raw.from_items([v])))])) for v in (known, found)
        ]
        assert redacted.adopt(*documents) == (
            raw.DOCUMENT,
            raw.from_fields([(b"a", (raw.ARRAY, raw.from_items([expected])))]),
        )


def test_an_application_s_own_withheld_values_pass_through_unharmed() -> None:
    """Nobody should write them; whoever does finds what was written."""
    marked = redacted.changed(DROPPED)
    whole = raw.from_fields([(b"_id", to_raw(7)), (b"p", marked), (b"q", marked)])
    data = an_event("replace", fullDocument=RawBSONDocument(whole), fullDocumentBeforeChange={"_id": 7, "p": 1, "r": 2})
    found = readable("p=drop", "r=drop").event(data)
    assert quick("p=drop", "r=drop").event(data) == found
    assert raw.fields(raw.fields(found)[b"fullDocument"][1])[b"q"] == marked


def test_a_change_within_what_was_withheld_before_leaves_it_withheld_and_breaks_nothing() -> None:
    """A rule for the parent is gone, or it was erased: the next update names only what is below."""
    before = raw.from_fields([(b"_id", to_raw(7)), (b"card", DROPPED), (b"n", to_raw(1))])
    deltas: list[dict[str, Any]] = [
        {"scard": {"u": {"number": "4"}}, "u": {"n": 2}},
        {"scard": {"d": {"number": False}}, "u": {"n": 2}},
        {"scard": {"a": True, "l": 1, "u0": 3}, "u": {"n": 2}},
        {"scard": {"sdeep": {"i": {"er": 1}}}, "u": {"n": 2}},
    ]
    for delta in deltas:
        data = an_event("update", rawUpdateDescription={"$v": 2, "diff": delta})
        happened = fast_path.read(data)
        entry, after = fast_path.followed(happened, before)
        expected = raw.from_fields([(b"_id", to_raw(7)), (b"card", DROPPED), (b"n", to_raw(2))])
        assert after == expected
        assert fold.apply(before, fold.read(entry)) == expected
        told = fold.read(entry).changes
        assert {change.old_from for change in told if change.path[0] == b"n"} == {b"history"}
        assert all(change.old_from == b"unknown" or change.old == DROPPED for change in told if change.path[0] != b"n")
        number = blame.after(1, before, fold.read(entry), 2)[0]
        assert number is not None
        assert {path: event for path, _, event in blame.leaves(expected, number)} == {
            (b"_id",): 1,
            (b"card",): 2,
            (b"n",): 2,
        }


@compiled
@pytest.mark.parametrize("size", [0, 1, 50, 121, 122, 123, 124, 127, 128, 129, 1000])
def test_a_digest_is_the_same_whoever_makes_it(size: int) -> None:
    """Of little data it is made by our own code, of more by Python's."""
    for key in (KEY, b"k", b"k" * 64):
        paths = Paths(rules("p=hash"))
        document = bson.encode({"_id": 1, "p": "x" * size})
        assert fast_path._Quick(paths, key).document(document) == Redactor(paths, key).document(document)
