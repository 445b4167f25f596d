"""Fields that refer to documents of other collections: `shop.orders:customer→shop.customers`. Pure."""

from __future__ import annotations

from typing import NamedTuple


class Reference(NamedTuple):
    """A field that holds the `_id` of a document of another collection.

    Attributes:
        source: namespace of the documents with the field.
        field: the field, as MongoDB writes it.
        target: namespace of the documents that it refers to.
    """

    source: str
    field: str
    target: str


def read(text: str) -> Reference:
    """Read a reference: `database.collection:field→database.collection`; the arrow may be `->`.

    Raises:
        ValueError: the text is no reference.
    """
    left, arrow, target = text.strip().replace("->", "→").partition("→")
    source, colon, field = left.strip().partition(":")
    found = Reference(source.strip(), field.strip(), target.strip())
    if not arrow or not colon or not found.field or not all(all(ns.partition(".")) for ns in (found[0], found[2])):
        raise ValueError(f"{text!r} is no reference; write shop.orders:customer→shop.customers")
    return found
