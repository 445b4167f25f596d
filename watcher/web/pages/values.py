"""Values as HTML. They are escaped: nothing in them becomes markup or a link; invisible characters are made visible.

A value is one `bdi` element, so its writing direction does not affect the rest; its class is its kind.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from bson import Binary, DatetimeMS, Decimal128, Int64, ObjectId, Regex, Timestamp
from markupsafe import Markup, escape

from change_history.bson import raw
from change_history.bson.values import Missing, Symbol, Undefined, to_python
from change_history.query.briefs import LeftOut
from watcher.words.value_text import ELLIPSIS, key_text, printable, text_of

if TYPE_CHECKING:
    from collections.abc import Mapping

SHORT = 120
"""Characters of a value that are shown in a list at most."""

LONG = 600
"""Characters of a value that are shown in a document at most."""

_MOST_KEY = 200


def value(found: Any, most: int = SHORT, whole: str | None = None) -> Markup:
    """A value, also `ABSENT`, `UNKNOWN` and `LeftOut`, as HTML.

    Args:
        found: a Python value (see `change_history.bson.values`).
        most: number of characters that are shown at most.
        whole: address of the whole value.
    """
    if isinstance(found, Missing):
        words = {"absent": "not there", "unknown": "unknown"}[found.value]
        return Markup('<i class="v x">{}</i>').format(words)
    if isinstance(found, LeftOut):
        return Markup('<i class="v x">{}</i>{}').format(f"long value, {size(found.size)}", _whole(whole, "show"))
    kind = kind_of(found)
    text = text_of(found, most)
    if kind == "d" and isinstance(found, datetime):
        return Markup('<bdi class="v d"><time datetime="{}" data-value>{}</time></bdi>').format(text, text)
    shown = Markup('<bdi class="v {}">{}</bdi>').format(kind, text)
    return shown + _whole(whole, "all of it") if text.endswith(ELLIPSIS) and whole else shown


def _whole(address: str | None, words: str) -> Markup:
    if address is None:
        return Markup("")
    return Markup(' <a class="all" href="{}" rel="nofollow">{}</a>').format(address, words)


def raw_value(found: raw.Value, most: int = SHORT, whole: str | None = None) -> Markup:
    """A BSON value as HTML; of a long string, only the shown part is decoded."""
    kind, payload = found
    if kind in {raw.STRING, raw.SYMBOL, raw.CODE} and len(payload) > most * 8:
        # A character has at most four bytes; one that the cut splits is beyond the shown part.
        cut = payload[4 : 4 + most * 4].decode("utf-8", "surrogateescape")[: most + 1]
        note = Markup(' <span class="n2">{}</span>').format(size(len(payload) - 5))
        return value(cut + "." * most, most, whole) + note
    return value(to_python(found), most, whole)


def key(name: str, most: int = _MOST_KEY) -> Markup:
    """A key or a namespace as HTML, cut to `most` characters; quoted if it could be misread."""
    cut = name if len(name) <= most else name[:most]
    text = key_text(cut) + (ELLIPSIS if len(name) > most else "")
    return Markup("<bdi>{}</bdi>").format(text)


def name(text: str, most: int = _MOST_KEY) -> Markup:
    """A name as HTML, cut to `most` characters; invisible characters are made visible."""
    cut = printable(text[:most]) + (ELLIPSIS if len(text) > most else "")
    return Markup("<bdi>{}</bdi>").format(cut)


def identity(document_id: Any, most: int = 60) -> Markup:
    """A document's `_id` as HTML; an ObjectId as its digits only."""
    if isinstance(document_id, ObjectId):
        return Markup('<bdi class="v o">{}</bdi>').format(str(document_id))
    return value(document_id, most)


def plain(document_id: Any, most: int = 60) -> str:
    """A document's `_id` as text, for titles."""
    if isinstance(document_id, LeftOut):
        return f"(long, {size(document_id.size)})"
    return str(document_id) if isinstance(document_id, ObjectId) else text_of(document_id, most)


_KINDS: Mapping[type, str] = {
    str: "s",
    Symbol: "s",
    bool: "k",
    type(None): "k",
    Undefined: "k",
    int: "n",
    Int64: "n",
    float: "n",
    Decimal128: "n",
    datetime: "d",
    DatetimeMS: "d",
    Timestamp: "d",
    ObjectId: "o",
    Binary: "o",
    bytes: "o",
    Regex: "o",
    dict: "c",
    list: "c",
}


def kind_of(found: Any) -> str:
    """The CSS class of a value."""
    if type(found).__name__ == "Redacted":
        return "w"
    return _KINDS.get(type(found), "o")


def size(count: int) -> str:
    """A number of bytes in readable units."""
    if count < 1000:  # noqa: PLR2004 - of bytes
        return f"{count} bytes"
    amount, unit = float(count), "kB"
    for unit in ("kB", "MB", "GB"):  # noqa: B007 - the last one counts
        amount /= 1000
        if amount < 1000:  # noqa: PLR2004 - of units
            break
    return f"{amount:.3g} {unit}"


def text(words: str) -> Markup:
    """Any text, escaped as HTML."""
    return escape(printable(words))
