"""Finds the documents of a collection that ever matched a filter, in any state in history."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from change_history.bson.equality import key_of
from change_history.reconstruct import fold
from change_history.reconstruct.document import states_of
from change_history.reconstruct.entries import timelines
from change_history.reconstruct.filters import MOST_BYTES, MOST_DOCUMENTS, Filter
from change_history.reconstruct.trust import Unknown
from watcher.erasure.intervals import joined_incarnations

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from pymongo.database import Database

    from change_history.bson import raw

_ERASED = Unknown(fold.ERASED_REASON)


class Matched(NamedTuple):
    """The documents that matched.

    Attributes:
        documents: their `_id`s.
        unknown: `_id`s of documents that matched in no known state, but some of whose states are unknown.
    """

    documents: list[raw.Value]
    unknown: list[raw.Value]


def ever_matched(database: Database[Any], namespace: str, query: dict[str, Any]) -> Matched:
    """The documents of a namespace that matched after any of their recorded events, under whatever name.

    Raises:
        change_history.reconstruct.filters.FilterError: the server refuses the filter.
    """
    wanted = Filter(database, query)
    found: dict[Hashable, raw.Value] = {}
    waiting: dict[Hashable, tuple[raw.Value, list[bytes]]] = {}
    unknown: dict[Hashable, raw.Value] = {}
    size = 0
    for document_id, state in _states(database, namespace):
        key = key_of(document_id)
        if key in found:
            continue
        if isinstance(state, Unknown):
            unknown[key] = document_id
            continue
        waiting.setdefault(key, (document_id, []))[1].append(state)
        size += len(state)
        if len(waiting) >= MOST_DOCUMENTS or size >= MOST_BYTES:
            found |= _matching(wanted, waiting)
            waiting, size = {}, 0
    found |= _matching(wanted, waiting)
    return Matched(list(found.values()), [unknown[key] for key in unknown if key not in found])


def _matching(wanted: Filter, waiting: dict[Hashable, tuple[raw.Value, list[bytes]]]) -> dict[Hashable, raw.Value]:
    """The documents with a state that matches. One query cannot contain two states of the same document."""
    found: dict[Hashable, raw.Value] = {}
    for number in range(max((len(states) for _, states in waiting.values()), default=0)):
        nth = [
            (key, document_id, states[number])
            for key, (document_id, states) in waiting.items()
            if number < len(states) and key not in found
        ]
        found |= {key: document_id for key, document_id, _ in wanted.select(nth, lambda item: item[2])}
    return found


def _states(database: Database[Any], namespace: str) -> Iterator[tuple[raw.Value, bytes | Unknown]]:
    """The state of each document after each entry, or Unknown; without erased states."""
    for incarnation in joined_incarnations(database, namespace):
        for document_id, entries in timelines(database, incarnation):
            last: bytes | Unknown | None = None
            for step in states_of(database, incarnation.namespace, document_id, entries):
                state = step.document
                if state is None or state in (last, _ERASED):
                    continue
                last = state
                yield document_id, state
