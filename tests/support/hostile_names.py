"""Names that MongoDB allows and nobody expects: of collections, databases, fields, and ids."""

from __future__ import annotations

from typing import Any

RED = "\x1b[31m"
"""What would colour a terminal, were it written as it is."""

COLLECTIONS = [
    *("a.b.c.d", "with space", " leading", "trailing ", "quo'te", 'quo"te', "back\\slash", "sl/ash", "comma,s"),
    *(
        "*",
        "?",
        "[",
        "]",
        "[a-z]",
        "a*b?c",
        "!bang",
        "{brace}",
        "; rm -rf ~",
        "`id`",
        "(id)",
        "a&b|c>d<e",
        "-dash",
        "--all",
    ),
    *("__proto__", "constructor", "0", "null", "_id", "change_history", "checkpoints", "systemish", "System.users"),
    *("é", "e\u0301", "שלום", "\u202eevil", "😀👩\u200d👩\u200d👧", "line\nbreak", "tab\t", "cr\rlf", RED + "red"),
    *("\x1b]0;title\x07", "\x7f", "\u2028", "%s%n", "%2e", "<script>", "a..b", "a.", "[bold]x[/bold]", "n" * 200),
]
DATABASES = [
    "häs\u0301",
    "-db",
    "semi;colon",
    "st*r",
    "br[ack]et",
    "q?",
    "com,ma",
    "😀",
    "a'b",
    "new\nline",
    RED + "db",
    "d" * 63,
]
FIELDS: dict[str, Any] = {
    "$set": 1,
    "$": 2,
    "a.b": 3,
    "": 4,
    "0": 5,
    "_id ": 6,
    "__proto__": 7,
    RED: 8,
    "e\u0301": 9,
    "line\nbreak": 10,
    "nested": {"_id": 1, "$inc": {"": {".": 1}}, "0": ["x", {"a.b": RED}]},
    "[bold]": "[red]x[/red]",
    "*": "?",
}
IDS: list[Any] = [
    *("", RED + "id", "line\nbreak", "-1", "$x", "a.b", "'; drop", "\u202e", 0, -1, 1.5, True, None),
    *({"a.b": 1, "c": {"": RED}}, {"_id": {"_id": 1}}, b"\x00\xff"),
]
