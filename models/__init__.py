"""The stored collections as mongoengine documents."""

from change_history.bson.values import ABSENT, UNKNOWN, Missing
from models.change import ChangeModel
from models.checkpoint import CheckpointModel
from models.connection import connect, disconnect
from models.history import ActorModel, HistoryModel, TransactionModel
from models.rejected import RejectedModel
from models.revert import RevertModel
from models.snapshot import SnapshotModel

__all__ = [
    "ABSENT",
    "UNKNOWN",
    "ActorModel",
    "ChangeModel",
    "CheckpointModel",
    "HistoryModel",
    "Missing",
    "RejectedModel",
    "RevertModel",
    "SnapshotModel",
    "TransactionModel",
    "connect",
    "disconnect",
]
