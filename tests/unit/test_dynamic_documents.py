"""A dynamic document may hold embedded documents of any class: only then is it worth reading which."""

from __future__ import annotations

import subprocess
import sys

import pytest

_ASK = """
from mongoengine import DynamicDocument, EmbeddedDocument, StringField
from change_history.mongoengine.translation import locate

class Order(DynamicDocument):
    pass

{more}
asked = []
def class_at(path):
    asked.append(path)
    return "Address"

print(locate(Order, ("addr", "c"), class_at).names, len(asked))
"""
_EMBEDDED = """
class Address(EmbeddedDocument):
    city = StringField(db_field="c")
"""


@pytest.mark.parametrize(("more", "told"), [("", "('addr', 'c') 0"), (_EMBEDDED, "('addr', 'city') 1")])
def test_no_document_is_read_for_each_change_where_no_class_could_be_found_in_it(more: str, told: str) -> None:
    """It made iterating over changes a hundred times slower; where there are such classes, their names are told."""
    command = [sys.executable, "-c", _ASK.format(more=more)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == told
