"""Random operations on a real server, and the history that must replay them."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, Self, cast

from bson.raw_bson import RawBSONDocument

from change_history.reconstruct import fold
from tests.support.replay_events import Difference, id_of
from tests.support.replay_fold import Folded
from tests.support.replay_server import Server

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.support.operations import Operation
    from tests.support.replay_events import Key, Snapshots
    from tests.support.replay_server import Mode


class Lab:
    """A database, its clients, the two streams, and what history makes of it."""

    def __init__(self, uri: str, name: str, mode: Mode) -> None:
        self.counts: Counter[str] = Counter()
        self.untold: Counter[str] = Counter()
        self.examples: dict[str, str] = {}
        self._folded = Folded(self.counts, self.untold, self.examples)
        self._server = Server(uri, name, mode, self.counts)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()

    def run(self, wanted: Iterable[Operation]) -> None:
        """Run operations on empty collections and check every event of theirs.

        Raises:
            Difference: the first difference found, after everything has been read.
        """
        self._folded.start(self._server.live())  # the baseline
        truths: list[bytes] = []
        snapshots: Snapshots = {}
        self._server.clear()
        for operation in wanted:
            if operation.kind == "switch":
                truths += self._server.truths(snapshots)
            self.counts["operations"] += 1
            self.counts["operations with effect"] += self._server.run(operation)
        truths += self._server.truths(snapshots)
        events = self._server.events()
        self.counts["events"] += len(events)
        recorded = self._folded.check(events, truths, snapshots)
        self._check_stored(recorded)
        live, state = self._server.live(), self._folded.state
        for key in live.keys() | state.keys():
            if live.get(key) != state.get(key):
                raise Difference("at the end", events[-1], live=live.get(key), folded=state.get(key))

    def _check_stored(self, recorded: list[tuple[Key, bytes, bytes | None]]) -> None:
        """Write the history down, read it back, and fold it again from each document's baseline."""
        self._server.history.delete_many({})
        resync, self._folded.resync = self._folded.resync, set()
        if not recorded:
            return
        self._server.history.insert_many([RawBSONDocument(stored) for _, stored, _ in recorded])
        back = {id_of(data): data for data in (bytes(item.raw) for item in cast("Any", self._server.history.find()))}
        timelines: dict[Key, list[bytes]] = defaultdict(list)
        baselines: dict[Key, bytes | None] = {}
        for key, stored, before in recorded:
            assert back.get(id_of(stored)) == stored, "the server changed what was stored"
            baselines.setdefault(key, before)
            timelines[key].append(back[id_of(stored)])
        for key in timelines.keys() - resync:
            assert fold.fold(baselines[key], timelines[key]) == self._folded.state.get(key), (
                "folded twice, two documents"
            )
