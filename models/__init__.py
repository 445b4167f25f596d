"""What is kept: mongoengine documents and BSON-exact values.

This package imports nothing of ours, so the folder can be copied into an application.
"""

from .change import ChangeModel
from .checkpoint import CheckpointModel
from .connection import connect, disconnect
from .history import HistoryModel, TransactionModel
from .mixin import HistoryMixin
from .rejected import RejectedModel
from .revert import RevertModel
from .snapshot import SnapshotModel
from .values import ABSENT, UNKNOWN, Missing

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
