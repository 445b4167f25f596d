"""Classifies errors by what the daemon has to do about them.

Error labels count first, then named codes; never message texts, except for one error of the driver. Codes and names are
those of the server (src/mongo/base/error_codes.yml); the resumable ones follow the change streams specification,
section "Resumable Error".
"""

from __future__ import annotations

import re
from enum import Enum

from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    ConfigurationError,
    ConnectionFailure,
    OperationFailure,
    PyMongoError,
    WTimeoutError,
)

from change_history import server_codes

_TOPOLOGY = re.compile(r" \(configured timeouts|, Timeout: |, Topology Description: ")
_LONGEST_REASON = 300


class Verdict(Enum):
    """What an error means for the daemon."""

    TRANSIENT = "transient"
    """Transient: retry."""
    REJECT = "reject"
    """This document cannot be stored: reject the event and continue."""
    POSITION_LOST = "position lost"
    """The server can no longer resume from the position."""
    FATAL = "fatal"
    """Only the operator can help."""


TRANSIENT_LABELS = (
    "ResumableChangeStreamError",
    "RetryableWriteError",
    "TransientTransactionError",
    "SystemOverloadedError",
)
POSITION_LOST_LABEL = "NonResumableChangeStreamError"

TRANSIENT_CODES = {
    6: "HostUnreachable",
    7: "HostNotFound",
    24: "LockTimeout",
    43: "CursorNotFound",
    46: "LockBusy",
    50: "MaxTimeMSExpired",
    63: "StaleShardVersion",
    64: "WriteConcernFailed",
    79: "UnknownReplWriteConcern",
    89: "NetworkTimeout",
    91: "ShutdownInProgress",
    100: "UnsatisfiableWriteConcern",
    server_codes.WRITE_CONFLICT: "WriteConflict",
    117: "ConflictingOperationInProgress",
    133: "FailedToSatisfyReadPreference",
    134: "ReadConcernMajorityNotAvailableYet",
    150: "StaleEpoch",
    175: "QueryPlanKilled",
    189: "PrimarySteppedDown",
    202: "NetworkInterfaceExceededTimeLimit",
    211: "KeyNotFound",
    234: "RetryChangeStream",
    237: "CursorKilled",
    262: "ExceededTimeLimit",
    290: "TransactionExceededLifetimeLimitSeconds",
    365: "TemporarilyUnavailable",
    9001: "SocketException",
    10058: "LegacyNotPrimary",
    10107: "NotWritablePrimary",
    11600: "InterruptedAtShutdown",
    11601: "Interrupted",
    11602: "InterruptedDueToReplStateChange",
    13388: "StaleConfig",
    13435: "NotPrimaryNoSecondaryOk",
    13436: "NotPrimaryOrSecondary",
    14031: "OutOfDiskSpace",
}
POSITION_LOST_CODES = {
    136: "CappedPositionLost",
    260: "InvalidResumeToken",
    280: "ChangeStreamFatalError",
    286: "ChangeStreamHistoryLost",
    50811: "KeyString malformed",
}
TOO_DEEP = 15
"""Error code of a document that is nested too deep for the server."""
REJECT_CODES = {
    TOO_DEEP: "Overflow",
    22: "InvalidBSON",
    52: "DollarPrefixedFieldName",  # servers before 5.0
    57: "DottedFieldName",
    121: "DocumentValidationFailure",
    388: "TransactionTooLargeForCache",
    server_codes.OBJECT_TOO_LARGE: "BSONObjectTooLarge",
    17280: "KeyTooLong",
}
DOUBTED_CODES = {136, 280, 286}
"""Codes of a lost position that may be transient: a cursor that the oplog has overtaken, a member that lags."""
UNAUTHORIZED = {
    11: "UserNotFound",
    server_codes.UNAUTHORIZED: "Unauthorized",
    18: "AuthenticationFailed",
    8000: "AtlasError",
}
UNKNOWN_OPTION = {40415: "IDLUnknownField", 323: "APIStrictError"}
BAD_TOKEN = {
    9: "FailedToParse",
    15: "Overflow",
    40647: "bad resume token",
    40648: "bad resume token",
    40649: "bad token",
}
"""Codes of a damaged position; they have this meaning only when a stream is opened."""
_KEY_STRING_CODES = range(50790, 50900)
"""A token is a key string (src/mongo/db/storage/key_string.cpp); each fault of one has a code of its own."""
_TOKEN_CODES = {207, 40646, *range(51054, 51060), *range(6189500, 6189510)}
"""Further faults of what is within a token (src/mongo/db/pipeline/resume_token.cpp)."""


class UnusablePositionError(PyMongoError):
    """The server cannot read the resume token at all: it was damaged."""


class UndeliverableError(UnusablePositionError):
    """The next event cannot be delivered in any form, as its `_id` is too large for a resume token."""


class PositionDoubtedError(OperationFailure):
    """The server says that it cannot resume from the position; this is retried before it counts as true."""


class NotInitiatedError(PyMongoError):
    """A member of a replica set that is not initiated yet."""


class FatalError(Exception):
    """Only the operator can help. The message ends with the remedy: what to type or to change next."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}\n{remedy}")
        self.problem = problem
        self.remedy = remedy


class PositionRefusedError(FatalError):
    """The stored position belongs to another deployment or to other options of the stream."""


class PositionLostError(FatalError):
    """The server no longer has the events after the stored position."""


class NotAReplicaSetError(FatalError):
    """The deployment has no oplog, hence no change streams."""


class DeploymentRefusedError(FatalError):
    """The deployment replied with a refusal: credentials, privileges, or an unknown option."""


def classify(error: BaseException) -> Verdict:  # noqa: PLR0911 - a table in order of precedence
    """Classify an error of the driver or the server."""
    if not isinstance(error, PyMongoError):
        return Verdict.FATAL
    if isinstance(error, PositionDoubtedError):
        return Verdict.TRANSIENT
    if error.has_error_label(POSITION_LOST_LABEL) or isinstance(error, UnusablePositionError):
        return Verdict.POSITION_LOST
    if isinstance(error, OperationFailure) and error.code in POSITION_LOST_CODES:
        return Verdict.POSITION_LOST
    if any(error.has_error_label(label) for label in TRANSIENT_LABELS):
        return Verdict.TRANSIENT
    if isinstance(error, BulkWriteError):
        return _classify_bulk(error)
    if isinstance(error, ConfigurationError):
        return _classify_configuration(error)
    if isinstance(error, ConnectionFailure | AutoReconnect | WTimeoutError | NotInitiatedError):
        return Verdict.TRANSIENT
    return _classify_code(error.code) if isinstance(error, OperationFailure) else Verdict.FATAL


def _classify_configuration(error: ConfigurationError) -> Verdict:
    """Classify the driver's configuration errors; one of them is caused by a server that has just come back.

    The driver selects servers by their round-trip times, and raises this error if one was not measured yet. It has
    neither label nor code, so this is the one exception to the rule on texts.
    """
    return Verdict.TRANSIENT if str(error).startswith("round_trip_time for server ") else Verdict.FATAL


def _classify_code(code: int | None) -> Verdict:
    if code in {
        *TRANSIENT_CODES,
        server_codes.DUPLICATE_KEY,
    }:  # for a whole command, the latter means that two upserts collided
        return Verdict.TRANSIENT
    return Verdict.REJECT if rejection(code) is not None else Verdict.FATAL


def _classify_bulk(error: BulkWriteError) -> Verdict:
    """Classify a bulk write by the errors inside; its own code only says that there are some.

    `rejection` decides which documents are rejected; the remaining errors decide the verdict.
    """
    inside = (*error.details["writeErrors"], *error.details["writeConcernErrors"])
    codes = {each["code"] for each in inside} - {server_codes.DUPLICATE_KEY, *REJECT_CODES}
    return Verdict.TRANSIENT if codes and codes <= TRANSIENT_CODES.keys() else Verdict.FATAL


def rejection(code: int | None) -> str | None:
    """Why a document cannot be stored, by the server's error code; None: the document is not the reason."""
    name = REJECT_CODES.get(code) if code is not None else None
    return f"{name} ({code})" if name is not None else None


def is_bad_token(code: int | None) -> bool:
    """Whether a server's error on opening a stream means that the resume token is not valid."""
    return code in BAD_TOKEN or code in _KEY_STRING_CODES or code in _TOKEN_CODES


def name_of(error: BaseException) -> str:
    """A short text for an error without any value of a document: the server's code name, or the class."""
    if isinstance(error, OperationFailure) and error.code is not None:
        details = error.details or {}
        return f"{details.get('codeName') or type(error).__name__} ({error.code})"
    return type(error).__name__


def words_of(error: BaseException) -> str:
    """As `name_of`; for connection failures, with the driver's reason: hosts, and the error of TCP, DNS or TLS.

    The driver's messages about connections contain no credentials and no documents. The topology description at the
    end is left out.
    """
    if not isinstance(error, ConnectionFailure):
        return name_of(error)
    reason = " ".join(_TOPOLOGY.split(str(error), maxsplit=1)[0].split())
    return f"{name_of(error)}: {reason[:_LONGEST_REASON]}" if reason else name_of(error)


def remedy_for(error: BaseException) -> str:
    """What an operator can do about a fatal error of the driver or the server."""
    if isinstance(error, OperationFailure) and error.code in UNAUTHORIZED:
        return (
            "Check the user and password in WATCHER_MONGODB_URI (and WATCHER_HISTORY_URI). The user needs "
            "find and changeStream on what is watched, and to write the history: `watcher doctor` names the privileges "
            "that are missing, `watcher roles` prints those that are needed."
        )
    return "Look the error up in the server's log; if it should be retried, please report its code."
