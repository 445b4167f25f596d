"""Actors as text: `by alice (context), reason "ticket 7"`. Prints nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from change_history.bson.values import to_raw
from watcher.words import literals, value_text
from watcher.words.value_text import printable, words

if TYPE_CHECKING:
    from change_history.query.actors import Authors
    from change_history.stored.actor import Actor

UNKNOWN = "unknown"
"""Printed instead of an actor where others have one."""


def name(actor: Actor, width: int | None = None) -> str:
    """An actor as `--by` accepts it, on at most `width` terminal cells."""
    return named(actor.id, width)


def named(identity: Any, width: int | None = None) -> str:
    """An actor's `id` likewise: bare if it is a plain word that is read as this value, else as a literal."""
    bare = str(identity)
    if value_text.is_plain_word(bare) and to_raw(literals.value(bare)) == to_raw(identity):
        return bare if width is None else value_text.shorten(bare, width)
    return value_text.text_of(identity, width)


def shares(authors: Authors) -> str:
    """The number of events by actor: `3 events by alice (context), 1 event by nobody known`."""
    told = [
        f"{words(one.events, 'event')} by {named(one.actor)} ({printable(one.provenance)})" for one in authors.actors
    ]
    return ", ".join([*told, f"{words(authors.unknown, 'event')} by nobody known"] if authors.unknown else told)


def actor_text(actor: Actor | None, width: int | None = None) -> str:
    """All that is known of an actor, on at most `width` terminal cells; empty: unknown."""
    if actor is None:
        return ""
    told = [f"by {name(actor)} ({printable(actor.provenance)})"]
    if actor.reason is not None:
        told.append(f"reason {value_text.text_of(actor.reason)}")
    if actor.request is not None:
        told.append(f"request {value_text.text_of(actor.request)}")
    if actor.database_user is not None and actor.database_user != actor.id:
        told.append(f"database user {printable(actor.database_user)}")
    return ", ".join(told) if width is None else value_text.shorten(", ".join(told), width)
