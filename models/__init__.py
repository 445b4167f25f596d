"""What is kept: mongoengine documents and BSON-exact values.

This package imports nothing of ours, so the folder can be copied into an application.
"""

from change_history.bson.values import ABSENT, UNKNOWN, Missing
from models.change import ChangeModel
from models.checkpoint import CheckpointModel
from models.connection import connect, disconnect
from models.history import HistoryModel, TransactionModel
from models.mixin import HistoryMixin
from models.rejected import RejectedModel
from models.revert import RevertModel
from models.snapshot import SnapshotModel

__all__ = [
    "ABSENT",
    "UNKNOWN",
    "ChangeModel",
    "CheckpointModel",
    "HistoryMixin",
    "HistoryModel",
    "Missing",
    "RejectedModel",
    "RevertModel",
    "SnapshotModel",
    "TransactionModel",
    "connect",
    "disconnect",
]
