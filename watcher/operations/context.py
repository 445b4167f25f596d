"""The settings and both deployments of a stream, as every operation and every daemon needs them."""

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
    """One stream, with its watched deployment and its history deployment.

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
        """Whether the daemon requests pre-images."""
        return self.settings.pre_images is not PreImages.OFF

    @property
    def baseline(self) -> bool:
        """Whether the daemon records a baseline of documents that become watched."""
        return self.settings.baseline is Baseline.INITIAL

    @property
    def reconciles(self) -> bool:
        """Whether the daemon reconciles history with the documents after events were lost."""
        return self.settings.on_gap is OnGap.RECONCILE

    def checkpointer(self, scope: Scope | None = None, term: Term | None = None) -> Checkpointer:
        """The checkpointer of the stream in the settings.

        Args:
            scope: the scope that the checkpoint must have; None: that of the settings.
            term: the leader's term, needed for writing; None: without a term.
        """
        return Checkpointer(self.history, self.settings.checkpoint, scope or self.scope, self.replica_set, term)

    def scope_of(self, partition: Partition | None) -> Scope:
        """The scope of one partition of the stream; None: of the whole stream."""
        return replace(self.scope, partition=partition)
