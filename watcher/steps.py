"""The steps that the daemon retries or can hang in, each with the deployment that it needs."""

from __future__ import annotations

from enum import Enum, StrEnum


class Deployment(StrEnum):
    """Which deployment is at fault when a step fails: known by what was being done."""

    WATCHED = "watched"
    HISTORY = "history"
    EITHER = "either"
    """The step speaks with both."""

    @property
    def phrase(self) -> str:
        """As it is called in a sentence."""
        return f"{'watched or history' if self is Deployment.EITHER else self.value} deployment"


class Step(Enum):
    """One step. `str` gives it as the log and `/ready` call it."""

    REACH_WATCHED = "reaching the watched deployment", Deployment.WATCHED
    CHECK_SCOPE = "looking at what is included", Deployment.WATCHED
    ENABLE_PRE_IMAGES = "switching on pre-images", Deployment.WATCHED
    OPEN_STREAM = "opening the change stream", Deployment.WATCHED
    LISTEN = "listening to the change stream", Deployment.WATCHED

    CHECK_PRIVILEGES = "looking what is allowed", Deployment.HISTORY
    MAKE_INDEXES = "making the indexes of the history", Deployment.HISTORY
    MAKE_VIEW = "making the view of the changes", Deployment.HISTORY
    LOAD_CHECKPOINT = "loading the checkpoint", Deployment.HISTORY
    SAVE_CHECKPOINT = "saving the checkpoint", Deployment.HISTORY
    CHECK_LAYOUT = "looking how the stream is split", Deployment.HISTORY
    SPLIT = "splitting the stream", Deployment.EITHER

    LOOK_AT_LEASE = "looking who leads", Deployment.HISTORY
    TAKE_LEAD = "taking the lead", Deployment.HISTORY
    RENEW_LEASE = "renewing the lease", Deployment.HISTORY

    RECORD = "recording", Deployment.HISTORY
    """Pure, but for old values that are read from history."""
    READ_HISTORY = "reading documents' states from history", Deployment.HISTORY
    WRITE = "writing history", Deployment.HISTORY
    RECORD_GAP = "recording a gap", Deployment.EITHER
    RECORD_REDACTION = "recording by which rules values are withheld", Deployment.EITHER

    MEASURE_OPLOG = "measuring how far back the oplog reaches", Deployment.WATCHED
    EXPIRE = "expiring history", Deployment.HISTORY
    TELL_USERS = "looking up database users", Deployment.EITHER
    MAKE_SNAPSHOTS = "making snapshots", Deployment.HISTORY
    SEAL = "sealing", Deployment.HISTORY

    BACKFILL = "the backfill", Deployment.EITHER
    PLAN_BACKFILL = "planning a backfill", Deployment.EITHER
    LOAD_BACKFILLS = "loading the planned backfills", Deployment.HISTORY
    TAKE_OVER_BACKFILL = "taking over the backfill", Deployment.HISTORY
    READ_DOCUMENTS = "reading existing documents", Deployment.EITHER
    SAVE_BACKFILL = "saving how far the backfill is", Deployment.HISTORY
    FINISH_BACKFILL = "saving that the backfill is done", Deployment.HISTORY
    AWAIT_STREAM = "waiting for the stream", Deployment.HISTORY
    AWAIT_PARTITIONS = "waiting for the other partitions", Deployment.HISTORY

    def __init__(self, doing: str, deployment: Deployment) -> None:
        self.doing = doing
        self.deployment = deployment

    def __str__(self) -> str:
        return self.doing
