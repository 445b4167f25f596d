"""What every operation on a stream needs, and every daemon of it: the settings, and both deployments."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from config.settings import Baseline, OnGap, PreImages
from watcher.stream.checkpointer import Checkpointer

if TYPE_CHECKING:
    from pymongo import MongoClient
    from pymongo.database import Database

    from change_history.partition import Partition
    from config.settings import Settings
    from watcher.leadership.lease import Term
    from watcher.targets.identity import ReplicaSet
    from watcher.targets.scope import Scope


@dataclass(frozen=True)
class StreamContext:
    """One stream, and the two deployments that it stands between.

    Attributes:
        history: the history database, read from the primary: a secondary may lag, and show an old checkpoint or none.
    """

    settings: Settings
    scope: Scope
    watched: MongoClient[Any]
    history: Database[Any]
    replica_set: ReplicaSet

    @property
    def pre_images(self) -> bool:
        """Whether the daemon asks for the images before each change."""
        return self.settings.pre_images is not PreImages.OFF

    @property
    def baseline(self) -> bool:
        """Whether the daemon records the state of documents that come under watch."""
        return self.settings.baseline is Baseline.INITIAL

    @property
    def reconciles(self) -> bool:
        """Whether the daemon reconciles history with the documents after events were lost."""
        return self.settings.on_gap is OnGap.RECONCILE

    def checkpointer(self, scope: Scope | None = None, term: Term | None = None) -> Checkpointer:
        """The checkpoint of what the settings name.

        Args:
            scope: what it has to be made for; by default, what the settings say.
            term: of the leader that is to write it.
        """
        return Checkpointer(self.history, self.settings.checkpoint, scope or self.scope, self.replica_set, term)

    def scope_of(self, partition: Partition | None) -> Scope:
        """What one partition of the stream watches; None: the whole."""
        return replace(self.scope, partition=partition)
