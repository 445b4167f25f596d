"""History on a terminal: nothing that differs looks the same, nothing stored can command the terminal."""

from __future__ import annotations

import io
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from bson import Binary, DatetimeMS, Decimal128, Int64, ObjectId, Regex, Timestamp
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from change_history import Selection
from change_history.bson import raw
from change_history.bson.redacted import How, Redacted
from change_history.bson.values import Symbol, Undefined
from change_history.stored.actor import Actor
from change_history.stored.event import Change, Event, Transaction
from models import ABSENT, UNKNOWN
from watcher.cli.rendering import states, terminal
from watcher.cli.rendering.events import Renderer
from watcher.cli.rendering.lines import Drawn, Plain
from watcher.cli.rendering.terminal import PipedConsole
from watcher.words.value_text import text_of

WHEN = datetime(2024, 5, 1, 12, 3, 22, 123000, tzinfo=UTC)
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def event(operation: str, *changes: Change, **values: Any) -> Event:
    """An event about document 1 of shop.users."""
    about: dict[str, Any] = {"namespace": "shop.users", "document_id": 1, "timestamp": WHEN, "id": bytes(16)}
    return Event(operation=operation, changes=changes, cluster_time=Timestamp(5, 6), **(about | values))


def change(field: str, old: Any, new: Any, **values: Any) -> Change:
    """A change of one field."""
    return Change(field=field, old_value=old, new_value=new, **values)


def rendered(happened: Event, width: int | None = None, **options: Any) -> str:
    """What is printed, without colours: whole, or as on a terminal of a width."""
    out = io.StringIO()
    console = PipedConsole(file=out, width=width or 80, force_terminal=width is not None, color_system=None)
    Renderer(Drawn(console), zone=UTC, **options).event(happened)
    return re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue())


def test_an_update_reads_field_old_new() -> None:
    """Time, operation, and a line for each field."""
    found = rendered(event("update", change("email", "a@x", "b@x")))

    assert found == '2024-05-01 12:03:22.123+00:00  update\n    email: "a@x" → "b@x"\n'


def test_a_baseline_does_not_read_as_if_its_fields_had_been_absent_before() -> None:
    """It tells a document whole, like an insert: nobody knows what was there before it."""
    found = rendered(event("baseline", change("_id", ABSENT, 2), change("name", ABSENT, "Ada")))

    assert found == '2024-05-01 12:03:22.123+00:00  baseline\n    + _id: 2\n    + name: "Ada"\n'
    out = io.StringIO()
    Renderer(Plain(out), zone=UTC).event(event("baseline", change("_id", ABSENT, 2), change("name", ABSENT, "Ada")))
    assert out.getvalue() == found


def test_absent_unknown_and_null_are_three_things() -> None:
    """Law 4; and none of them reads like the string of its name."""
    values = [ABSENT, UNKNOWN, None, "(absent)", "null", Undefined()]
    lines = [rendered(event("update", change("a", value, 1))) for value in values]

    assert len(set(lines)) == len(values)
    assert "(unknown) → 1" in lines[1]


def test_equal_looking_numbers_show_their_types() -> None:
    """int32, int64, double, decimal and string 3 are five values."""
    values = [3, Int64(3), 3.0, Decimal128("3"), "3"]

    assert [text_of(value) for value in values] == ["3", 'Long("3")', "3.0", 'Decimal128("3")', '"3"']


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (ObjectId("66f2a1c0e4b0d52a3c9f1e77"), 'ObjectId("66f2a1c0e4b0d52a3c9f1e77")'),
        (WHEN, "2024-05-01T12:03:22.123Z"),
        (DatetimeMS(10**15), "Date(1000000000000000 ms)"),
        (Timestamp(1, 2), "Timestamp(1, 2)"),
        (Binary(b"0123456789abcdef", 4), 'UUID("30313233-3435-3637-3839-616263646566")'),
        (b"ab", 'Binary(0, "YWI=")'),
        (Regex("a\x1b", "i"), "/a\\u001b/i"),
        (Symbol("s"), 'Symbol("s")'),
        (float("nan"), "NaN"),
        (True, "true"),
        ({"a": [1, None], "b c": {}}, '{a: [1, null], "b c": {}}'),
    ],
)
def test_every_type_says_what_it_is(value: Any, expected: str) -> None:
    """The shell's spelling."""
    assert text_of(value) == expected


# All text, and what Python makes of bytes that are not UTF-8.
HOSTILE = st.text(st.characters(codec="utf-8")) | st.binary().map(lambda b: b.decode("utf-8", "surrogateescape"))


@given(HOSTILE, HOSTILE, st.sampled_from(["insert", "update", "delete", "create\x1b[2J"]))
def test_no_stored_text_can_command_the_terminal(key: str, text: str, operation: str) -> None:
    """In field names, values, ids, namespaces, operations and descriptions."""
    found = rendered(event(operation, change(key, ABSENT, {key: text}), document_id=text), with_ids=True)
    found += rendered(event(operation, document_id=ABSENT, namespace=text, description={key: text}))
    found += rendered(event("rename", document_id=ABSENT, description={"to": {"db": text, "coll": key}}))

    assert not CONTROL.search(found)
    assert len(found.splitlines()) == 4


@given(HOSTILE, HOSTILE, st.integers(60, 160))
def test_no_line_is_wider_than_the_terminal(old: str, new: str, width: int) -> None:
    """Wide characters count twice."""
    found = rendered(event("update", change("some.field", old * 40, [new] * 30), document_id=old), width, with_ids=True)

    assert all(cell_len(line) <= width for line in found.splitlines())


@given(HOSTILE, HOSTILE, st.integers(60, 160))
def test_one_line_is_one_line_whatever_the_event_holds(key: str, text: str, width: int) -> None:
    """No wider than the terminal, and nothing stored breaks it or commands the terminal."""
    changes = [change(f"{key}{number}", ABSENT, text) for number in range(50)]
    out = io.StringIO()
    console = PipedConsole(file=out, width=width, force_terminal=True, color_system=None)
    renderer = Renderer(Drawn(console), zone=UTC, with_ids=True, with_namespaces=True)
    renderer.oneline(event("update", *changes, id=b"i" * 16, document_id=text, namespace=key))
    renderer.oneline(event("drop", id=b"i" * 16, document_id=ABSENT, namespace=text))
    said = Actor(id=text, provenance=key, reason=text, request=key)
    renderer.oneline(event("update", id=b"i" * 16, document_id=1, actor=said))
    lines = out.getvalue().splitlines()

    assert len(lines) == 3
    assert all(cell_len(line) <= width for line in lines)
    assert not CONTROL.search(out.getvalue())


@given(HOSTILE)
def test_whoever_did_it_cannot_pass_for_another(text: str) -> None:
    """An application chooses the names of its users, and these may look like a whole heading, or command a terminal."""
    said = Actor(id=text, provenance="stamp", reason=text, request=text)
    found = rendered(event("update", change("a", 1, 2), actor=said), 10_000)
    (heading, _) = found.splitlines()

    assert not CONTROL.search(heading)
    assert heading.count(" (stamp), reason ") >= 1
    assert re.search(r" by (\S+|\".*\"|\w+\(.*\)) \(stamp\), reason ", heading)


def test_two_long_values_that_differ_at_the_end_do_not_look_alike() -> None:
    """Shortening begins where they differ."""
    found = rendered(event("update", change("bio", "x" * 200 + "1", "x" * 200 + "2")), 60)

    assert '1" → …' in found


def test_a_huge_value_is_not_written_out_to_be_cut() -> None:
    """Sixteen megabytes in sixty cells, at once."""
    assert text_of(["y" * 2**24] * 4, 20) == '["' + "y" * 17 + "…"


def test_without_a_terminal_nothing_is_shortened() -> None:
    """`watcher log … | grep` must find what is there."""
    assert "z" * 500 in rendered(event("insert", change("a", ABSENT, "z" * 500)))


def test_a_pull_shows_the_element_that_went() -> None:
    """Not only two arrays to compare by eye."""
    found = rendered(event("update", change("tags", [1, 2, 3], [1, 3])))

    assert found.splitlines()[1:] == ["    tags: [1, 2, 3] → [1, 3]", "        - [1]: 2"]


def test_an_unknown_document_is_said_in_words() -> None:
    """A delete without a pre-image."""
    found = rendered(event("delete", change("", UNKNOWN, ABSENT, path=[], old_value_from="unknown")))

    assert "what it held is unknown" in found


def test_an_unknown_truncation_says_what_is_known() -> None:
    """The new length."""
    found = rendered(event("update", change("tags", UNKNOWN, UNKNOWN, truncated_to=2, old_value_from="unknown")))

    assert "tags: cut to 2 elements; what was cut off is unknown" in found


def test_a_field_set_to_itself_is_a_word() -> None:
    """It only moved to the end of its document."""
    assert "a: moved to the end" in rendered(event("update", change("a", 1, 1, at_end=True)))


@pytest.mark.parametrize(
    "withheld", [Redacted(How.DROP), Redacted(How.ERASED), Redacted(How.MASK, raw.STRING, b"1111")]
)
def test_a_withheld_value_that_changed_is_never_called_unchanged(withheld: Redacted) -> None:
    """History says the same of both values, and cannot know that they were equal."""
    found = rendered(event("update", change("password", withheld, withheld)))
    assert f"password: {withheld} → {withheld}" in found
    within = rendered(event("update", change("card", {"number": withheld}, {"number": withheld})))
    assert f"card: {{number: {withheld}}} → {{number: {withheld}}}" in within


def test_a_hashed_value_that_stayed_is_called_unchanged() -> None:
    """Equal digests mean equal values."""
    hashed = Redacted(How.HASH, raw.STRING, bytes(18))
    assert "ssn: moved, unchanged" in rendered(event("update", change("ssn", hashed, hashed)))


def test_collection_events_read_as_words() -> None:
    """Not as raw descriptions."""
    target = {"to": {"db": "shop", "coll": "people"}}
    index = {"indexes": [{"v": 2, "key": {"a": 1}, "name": "a_1"}]}

    renamed = rendered(event("rename", document_id=ABSENT, description=target))
    assert renamed.endswith("  rename  shop.users → shop.people\n")
    assert rendered(event("drop", document_id=ABSENT)).endswith("  drop  shop.users\n")
    assert rendered(event("createIndexes", document_id=ABSENT, description=index)).endswith("shop.users: a_1 {a: 1}\n")


def test_a_transaction_and_the_document_are_named() -> None:
    """In a collection's log."""
    found = rendered(event("insert", transaction=Transaction(session={}, number=Int64(7))), with_ids=True)

    assert found.endswith("  insert  1  transaction 7\n")


def test_only_the_field_asked_for_is_printed() -> None:
    """Its part of a change above it."""
    happened = event("insert", change("name", ABSENT, "x"), change("address", ABSENT, {"city": "Bonn", "zip": 1}))

    narrow = Selection("shop.users", field="address.city").changes_of
    assert rendered(happened, narrow=narrow).splitlines()[1:] == ['    + address.city: "Bonn"']


def test_a_narrow_terminal_breaks_no_time_in_the_middle(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """Half a date in one line and half in the next is no date; words give way at their spaces."""
    monkeypatch.setenv("COLUMNS", "90")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    row = ("2026-11-28 02:11:25+00:00", "root@vm", "shop.users", "1", "standing", "request 2026-113", "3 entries")
    terminal.show_table(("asked at", "by", "what", "documents", "state", "reason", "removed"), [row])
    lines = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert max(map(len, lines)) <= 90
    for word in ("2026-11-28", "02:11:25+00:00", "shop.users", "documents"):
        assert any(word in line for line in lines), word


def test_a_withheld_value_is_not_taken_for_binary_data(capsys: pytest.CaptureFixture[str]) -> None:
    """In the JSON of a document it is base64 that says nothing to a person."""
    masked = Redacted(How.MASK, raw.STRING, b"1234")
    document = raw.from_fields([(b"_id", (raw.INT32, raw.int32(1))), (b"pin", masked.raw)])
    states.say_withheld(document)
    assert f"pin {masked}" in capsys.readouterr().err
    states.say_withheld(raw.from_fields([(b"_id", (raw.INT32, raw.int32(1)))]))
    assert capsys.readouterr().err == ""
