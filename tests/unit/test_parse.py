"""What people type means what they think it means."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import click
import pytest
from bson import Int64, ObjectId, Timestamp
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from change_history.bson import extended_json
from change_history.bson.values import to_raw
from watcher.cli.parsing.arguments import DocumentId, Namespace, Time
from watcher.cli.parsing.options import contradictions
from watcher.words import literals, times

NOW = datetime(2024, 5, 3, 12, tzinfo=UTC)

IDS = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.integers(-(2**63), 2**63 - 1).map(Int64),
        st.floats(allow_nan=False),
        st.text(alphabet=st.characters(exclude_characters="\0", codec="utf-8")),
        st.binary(min_size=12, max_size=12).map(ObjectId),
    ),
    lambda inner: st.dictionaries(st.text(alphabet="abc", min_size=1), inner),
    max_leaves=4,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("66f2a1c0e4b0d52a3c9f1e77", ObjectId("66f2a1c0e4b0d52a3c9f1e77")),
        ('"66f2a1c0e4b0d52a3c9f1e77"', "66f2a1c0e4b0d52a3c9f1e77"),
        ('{"$oid": "66f2a1c0e4b0d52a3c9f1e77"}', ObjectId("66f2a1c0e4b0d52a3c9f1e77")),
        ("42", 42),
        ("-42", -42),
        ("-2147483648", -(2**31)),
        ("2147483648", Int64(2**31)),
        ("42.0", 42.0),
        ('"42"', "42"),
        ("007", "007"),
        ("9" * 30, "9" * 30),
        ("anna@example.com", "anna@example.com"),
        ("a.b c", "a.b c"),
        ('{"a": 1, "b": "x"}', {"a": 1, "b": "x"}),
        ('{"$ref": "a", "$id": 1}', {"$ref": "a", "$id": 1}),
        ("NaN", float("nan")),
        ("nan", "nan"),
        ("null", None),
        ("true", True),
    ],
)
def test_an_id_never_means_another_type_than_the_help_says(text: str, expected: Any) -> None:
    """Bare and quoted forms, at the edges of the integer types too."""
    assert to_raw(literals.document_id(text)) == to_raw(expected)


@given(IDS)
def test_an_id_printed_as_json_reads_back_as_itself(value: Any) -> None:
    """What `--json` prints as a `document_id` can be pasted as an argument."""
    assert to_raw(literals.document_id(extended_json.dumps(value))) == to_raw(value)


@pytest.mark.parametrize("text", ['{"a', "[1, 2]", '{"$oid": "x"}', '{"$numberLong": "x"}', '{"a": NaN}'])
def test_half_an_id_is_refused_with_the_accepted_forms(text: str) -> None:
    """Nothing is searched for that was not meant; the message shows what can be written."""
    with pytest.raises(click.BadParameter, match=r"(?s)no document id.*24 hexadecimal digits.*Extended JSON"):
        DocumentId().convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-05-01T14:00:00+02:00", datetime(2024, 5, 1, 12, tzinfo=UTC)),
        ("2024-05-01 12:00:00.123Z", datetime(2024, 5, 1, 12, 0, 0, 123000, tzinfo=UTC)),
        ("2h ago", NOW - timedelta(hours=2)),
        ("90 minutes ago", NOW - timedelta(minutes=90)),
        ("1714564800:3", Timestamp(1714564800, 3)),
    ],
)
def test_a_time_is_read_exactly(text: str, expected: Any) -> None:
    """With zone, relative, and cluster times."""
    assert times.parse(text, now=NOW) == expected


@pytest.mark.parametrize("text", ["2024-05-01 14:00", "yesterday 14:00", "14:00"])
def test_a_time_without_zone_is_local_and_never_naive(text: str) -> None:
    """A naive time would be taken for UTC further down; `14:00` is an hour, not a cluster time."""
    found = times.parse(text, now=NOW)

    assert isinstance(found, datetime)
    assert found.tzinfo is not None
    local = found.astimezone().replace(tzinfo=None)
    assert (local.hour, local.minute) == (14, 0)


@pytest.mark.parametrize("text", ["2024-05-02 14:00", "yesterday 14:00", "2024-05-02T14:00"])
def test_a_zone_that_is_chosen_holds_for_every_time_without_one(text: str) -> None:
    """With `--utc` nothing may still be read as local, words neither; a zone that is written wins."""
    tokyo = ZoneInfo("Asia/Tokyo")

    assert times.parse(text, UTC, now=NOW) == datetime(2024, 5, 2, 14, tzinfo=UTC)
    assert times.parse(text, tokyo, now=NOW) == datetime(2024, 5, 2, 5, tzinfo=UTC)
    assert times.parse("2024-05-02 14:00+02:00", tokyo) == datetime(2024, 5, 2, 12, tzinfo=UTC)


@pytest.mark.parametrize("moment", [NOW, datetime(2024, 5, 3, 12, 0, 0, 7000, tzinfo=UTC), Timestamp(1714564800, 3)])
def test_a_time_that_is_shown_can_be_typed(moment: Any) -> None:
    """It means the same moment in whatever zone it was shown."""
    for zone in (UTC, None, ZoneInfo("Asia/Kathmandu")):
        assert times.parse(times.typed(moment, zone), ZoneInfo("Asia/Tokyo")) == moment


def test_a_window_that_ends_before_it_begins_is_refused() -> None:
    """Of one clock to the instant; of two clocks only beyond what they may differ."""
    later = Timestamp(int(NOW.timestamp()) + 3600, 1)

    assert not list(contradictions({"since": NOW, "until": NOW}))
    assert list(contradictions({"since": NOW + timedelta(milliseconds=1), "until": NOW}))
    assert list(contradictions({"since": later, "until": NOW}))
    assert not list(contradictions({"since": Timestamp(int(NOW.timestamp()) + 30, 1), "until": NOW}))
    assert not list(contradictions({"since": NOW}))


@pytest.mark.parametrize("text", ["soonish", "2024-13-01", "9999999999:1", "99999999999999h ago", ""])
def test_what_is_no_time_is_refused_with_the_accepted_forms(text: str) -> None:
    """A window is never guessed."""
    with pytest.raises(click.BadParameter, match=r"(?s)no time.*ISO 8601.*cluster time"):
        Time().convert(text, None, None)


@pytest.mark.parametrize("text", ["users", ".users", "shop."])
def test_a_namespace_without_collection_is_refused(text: str) -> None:
    """It would match nothing, silently."""
    with pytest.raises(click.BadParameter, match=r"database\.collection"):
        Namespace().convert(text, None, None)


def test_help_and_misuse_do_not_need_a_server() -> None:
    """`--follow --until` ends before anything is connected."""
    from watcher.cli.commands.reading.log import log

    assert CliRunner().invoke(log, ["--help"]).exit_code == 0
    assert CliRunner().invoke(log, ["a.b", "--follow", "--until", "2h ago"]).exit_code == 2
