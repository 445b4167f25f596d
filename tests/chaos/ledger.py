"""The oracle's memory: what was done to each document, and what it was then."""

from __future__ import annotations

import threading
from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.chaos.steps import BEFORE_ALL, Key, State, following

if TYPE_CHECKING:
    from bson import Timestamp

    from tests.chaos.steps import Step

_MOST_AHEAD = 10
"""A write of unknown outcome is a few steps at most."""


class LedgerError(AssertionError):
    """The deployment has a document that nobody can have made: it, or the harness, is at fault."""


class Remembered(NamedTuple):
    """What a document was at a cluster time, as BSON; None: it was not there."""

    key: Key
    at: Timestamp
    document: bytes | None


class RememberedCollection(NamedTuple):
    """What a collection was at a cluster time, as BSON."""

    namespace: str
    at: Timestamp
    documents: set[bytes]


class Ledger:
    """What the writers did since the last verification, and where each document is."""

    def __init__(self) -> None:
        self.states: dict[Key, State] = {}
        self.steps: defaultdict[Key, list[Step]] = defaultdict(list)
        self.remembered: list[Remembered] = []
        self.collections: list[RememberedCollection] = []
        self.marks: set[Any] = set()
        self._lock = threading.Lock()

    def state(self, key: Key) -> State:
        """Where a document is, as far as is known."""
        return self.states.get(key, BEFORE_ALL)

    def done(self, key: Key, *steps: Step) -> None:
        """These steps have happened."""
        with self._lock:
            self.steps[key] += steps
            self.states[key] = steps[-1].after

    def settle(self, key: Key, found: dict[str, Any] | None) -> None:
        """Work out, by what the document is now, which writes of unknown outcome have happened.

        Raises:
            LedgerError: no sequence of its steps leads there.
        """
        walked: list[Step] = []
        state = self.state(key)
        while not _is(state, found):
            if len(walked) == _MOST_AHEAD:
                raise LedgerError(f"{key} was {self.state(key)} and is {found}, which no step makes of it")
            walked.append(following(key, state))
            state = walked[-1].after
        if walked:
            self.done(key, *walked)

    def verified(self) -> None:
        """Forget what has been compared with history."""
        self.steps.clear()
        self.remembered.clear()
        self.collections.clear()
        self.marks.clear()


def _is(state: State, found: dict[str, Any] | None) -> bool:
    if found is None:
        return not state.exists
    return (state.life, state.n) == (found["life"], found["n"])
