"""Documents as people read them: true, on lines that can be read, and harmless to a terminal."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from bson import DatetimeMS, Int64, ObjectId

from change_history.bson import extended_json
from change_history.bson.values import to_raw
from tests.support.generated.documents import every_type
from watcher.cli.rendering import states


def written(document: dict[str, Any]) -> bytes:
    """The document as BSON."""
    return to_raw(document)[1]


def test_numbers_and_dates_read_as_such_and_the_rest_keeps_its_type() -> None:
    """`{"$numberInt": "3"}` is for programs."""
    document = {
        "_id": ObjectId(b"o" * 12),
        "int": 3,
        "long": Int64(2**60),
        "double": 0.1,
        "whole": 3.0,
        "nan": float("nan"),
        "when": datetime(2026, 1, 2, 3, 4, 5, 678000, UTC),
        "old": datetime(1969, 12, 31, tzinfo=UTC),
        "far": DatetimeMS(10**15),
    }
    found = json.loads(states.pretty_line(written(document)))

    assert found["_id"] == {"$oid": "6f" * 12}
    assert [found[key] for key in ("int", "long", "double", "whole")] == [3, 2**60, 0.1, 3.0]
    assert found["nan"] == {"$numberDouble": "NaN"}
    assert found["when"] == {"$date": "2026-01-02T03:04:05.678Z"}
    assert found["old"] == {"$date": {"$numberLong": "-86400000"}}
    assert found["far"] == {"$date": {"$numberLong": "1000000000000000"}}


def test_every_type_is_relaxed_extended_json_on_one_line_and_on_several() -> None:
    """The same text, whatever the lines."""
    document = every_type()
    pretty, line = states.pretty(document), states.pretty_line(document)

    assert json.loads(pretty) == json.loads(line)
    assert "\n" not in line
    assert set(extended_json.loads(line)) == set(json.loads(line))


def test_what_fits_stands_on_one_line_and_what_does_not_is_laid_open() -> None:
    """A field a line at the top; below it as few lines as can be read."""
    shown = states.pretty(written({"_id": 1, "short": {"a": [1, 2]}, "long": ["x" * 40] * 3, "none": {}}))

    assert shown.splitlines() == [
        "{",
        '  "_id": 1,',
        '  "short": {"a": [1, 2]},',
        '  "long": [',
        *[f'    "{"x" * 40}"{comma}' for comma in (",", ",", "")],
        "  ],",
        '  "none": {}',
        "}",
    ]
    assert states.pretty(written({})) == "{}"


def test_no_text_in_a_document_commands_the_terminal() -> None:
    """Keys and values: escapes, and marks that turn the writing around."""
    shown = states.pretty(written({"_id": "\x1b[2J", "\x9b1A\u202e": ["\u2028"]}))

    assert not any(character in shown for character in "\x1b\x9b\u202e\u2028")
