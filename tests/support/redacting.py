"""What redacts events, in both ways."""

from __future__ import annotations

from change_history.bson import redacted
from change_history.redaction_rules import Paths, Rule
from watcher.events import fast_path
from watcher.events.redaction import Redactor

KEY = redacted.key_from("a secret nobody guesses")


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
