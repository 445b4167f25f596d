"""The settings that are a choice of a few words."""

from enum import StrEnum


class PreImages(StrEnum):
    """What to do about change-stream pre-images of watched collections."""

    ENABLE = "enable"  # turn them on, also for collections made later
    USE = "use"  # use them where they are on already
    OFF = "off"  # do not ask for them


class Baseline(StrEnum):
    """What to do about documents that exist before watching begins."""

    INITIAL = "initial"  # record their state once, while streaming
    OFF = "off"


class OnGap(StrEnum):
    """What to do when events were lost for good."""

    RECONCILE = "reconcile"  # record the gap, then bring history level with the documents
    RECORD = "record"  # record the gap and go on
    STOP = "stop"  # record the gap and stop


class Snapshots(StrEnum):
    """What to do about long histories of single documents."""

    ON = "on"  # keep whole states of long-lived documents, so that asking for one as of a moment stays fast
    OFF = "off"  # fold the whole history every time


class LogLevel(StrEnum):
    """The least severe log line that is written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """How a log line looks."""

    AUTO = "auto"  # console on a terminal, JSON elsewhere
    CONSOLE = "console"
    JSON = "json"
