"""What a rule covers is withheld wherever it stands in an event, and history of the rest is what it would have been."""

from __future__ import annotations

from typing import Any

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
from tests.support.handmade_events import an_event
from tests.support.redacting import KEY, quick, readable, rules
from watcher.events import fast_path, record
from watcher.events.redaction import Redaction


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
