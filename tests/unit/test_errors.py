"""The table of judgements: one wrong line is a daemon that ends in the night, or one that loops for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from bson.errors import InvalidBSON, InvalidDocument
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    ConfigurationError,
    CursorNotFound,
    DocumentTooLarge,
    DuplicateKeyError,
    ExecutionTimeout,
    InvalidOperation,
    InvalidURI,
    NetworkTimeout,
    NotPrimaryError,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
    WaitQueueTimeoutError,
    WriteConcernError,
    WriteError,
    WTimeoutError,
    _OperationCancelled,
)

from change_history import server_codes
from watcher import errors
from watcher.errors import FatalError, NotInitiatedError, PositionDoubtedError, UnusablePositionError, Verdict, classify
from watcher.stream.listener import NoPositionError

if TYPE_CHECKING:
    from collections.abc import Iterator

T, R, L, F = Verdict.TRANSIENT, Verdict.REJECT, Verdict.POSITION_LOST, Verdict.FATAL


def failure(code: int | None, *labels: str) -> OperationFailure:
    """What a server answers."""
    return OperationFailure("said the server", code, {"code": code, "errorLabels": list(labels)})


def bulk(*codes: int, concerns: tuple[int, ...] = ()) -> BulkWriteError:
    """What the driver makes of the answers to a bulk write."""
    return BulkWriteError(
        {
            "writeErrors": [{"index": index, "code": code, "errmsg": ""} for index, code in enumerate(codes)],
            "writeConcernErrors": [{"code": code, "errmsg": ""} for code in concerns],
            "nInserted": 0,
        }
    )


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        # Labels first: the server knows best, whatever the code.
        (failure(999_999, "ResumableChangeStreamError"), T),
        (failure(13, "RetryableWriteError"), T),
        (failure(1, "TransientTransactionError"), T),
        (failure(462, "SystemOverloadedError"), T),
        (failure(11601, "NonResumableChangeStreamError"), L),
        (failure(43, "NonResumableChangeStreamError", "ResumableChangeStreamError"), L),
        (failure(999_999, "SomethingNew"), F),
        # Lost positions.
        *[(failure(code), L) for code in (136, 260, 280, 286, 50811)],
        (failure(286, "RetryableWriteError"), L),
        (UnusablePositionError("damaged"), L),
        # The servers' own passing errors, and those of the way there.
        *[(failure(code), T) for code in errors.TRANSIENT_CODES],
        (CursorNotFound("gone", 43), T),
        (ExecutionTimeout("slow", 50), T),
        (WTimeoutError("no majority", 64), T),
        (WriteConcernError("no majority", 64), T),
        (WriteConcernError("no majority possible", 100), T),
        (AutoReconnect("gone"), T),
        (NetworkTimeout("slow"), T),
        (NotPrimaryError("stepped down"), T),
        (ServerSelectionTimeoutError("nobody there"), T),
        (WaitQueueTimeoutError("pool"), T),
        (_OperationCancelled("cancelled by a reset of the pool"), T),
        (NotInitiatedError("not yet"), T),
        (DuplicateKeyError("two upserts met", 11000), T),
        (PositionDoubtedError("once", 286), T),
        (
            ConfigurationError("round_trip_time for server ('db1', 27017) is unexpectedly None: <TopologyDescription>"),
            T,
        ),
        # A document that cannot be stored, whatever is tried.
        *[(failure(code), R) for code in errors.REJECT_CODES],
        (WriteError("refused", 121), R),
        (failure(121, "TransientTransactionError"), T),
        # Only the operator can help.
        (failure(13), F),
        (failure(18), F),
        (failure(8000), F),
        (failure(None), F),
        (failure(0), F),
        (failure(9), F),
        (InvalidURI("nonsense"), F),
        (ConfigurationError("nonsense"), F),
        (InvalidOperation("Cannot use MongoClient after close"), F),
        (NoPositionError(), F),
        (PyMongoError("?"), F),
        # Not the driver's: a bug of ours.
        (ValueError("bug"), F),
        (InvalidBSON("bug"), F),
        (InvalidDocument("bug"), F),
        (DocumentTooLarge("bug"), F),
        (OSError("bug"), F),
        (KeyboardInterrupt(), F),
        # A bulk write is judged by what is in it.
        (bulk(121), F),
        (bulk(13), F),
    ],
    ids=lambda value: f"{type(value).__name__} {getattr(value, 'code', '')}" if isinstance(value, Exception) else "",
)
def test_every_error_has_its_verdict(error: BaseException, expected: Verdict) -> None:
    """Transient ones are tried again; the rest is not."""
    assert classify(error) is expected


@pytest.mark.parametrize(
    "error",
    [bulk(14031), bulk(11000, 112), bulk(262), bulk(concerns=(64,)), bulk(11000, concerns=(91,))],
    ids=["disk full", "duplicate and conflict", "time", "write concern", "duplicate and shutdown"],
)
def test_a_bulk_write_that_failed_for_a_passing_reason_passes(error: BulkWriteError) -> None:
    """A full disk is the usual one: it would end the daemon rather than make it wait for room."""
    assert classify(error) is T


@pytest.mark.parametrize(
    ("code", "_name"),
    [
        (24, "LockTimeout"),
        (46, "LockBusy"),
        (117, "ConflictingOperationInProgress"),
        (211, "KeyNotFound"),
        (365, "TemporarilyUnavailable"),
    ],
)
def test_more_that_passes(code: int, _name: str) -> None:
    """365 is what servers from 6.0 answer under pressure on their cache; 211 while a member catches up on keys."""
    assert classify(failure(code)) is T


def _subclasses(kind: type[Any]) -> Iterator[type[Any]]:
    for sub in kind.__subclasses__():
        yield sub
        yield from _subclasses(sub)


def test_every_fatal_error_ends_with_what_to_do() -> None:
    """An operator at three in the morning needs the next command, not a class name."""
    kinds = [kind for kind in _subclasses(FatalError) if kind.__module__.startswith("watcher.")]
    assert len(kinds) >= 4
    for kind in kinds:
        error = kind("it broke.", "do this")
        assert str(error) == "it broke.\ndo this"
        assert (error.problem, error.remedy) == ("it broke.", "do this")
        assert kind.__doc__
        with pytest.raises(TypeError):
            kind("it broke, and nothing is to be done")


@pytest.mark.parametrize("code", errors.UNAUTHORIZED)
def test_refused_credentials_name_the_setting(code: int) -> None:
    """And the privileges that are needed."""
    remedy = errors.remedy_for(failure(code))

    assert "WATCHER_MONGODB_URI" in remedy
    assert "changeStream" in remedy


def test_no_remedy_is_empty() -> None:
    """Also for what nobody has foreseen."""
    assert errors.remedy_for(ValueError("?"))
    assert errors.remedy_for(failure(None))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OperationFailure("E11000 dup key: {card: 4000}", 11000, {"codeName": "DuplicateKey"}), "DuplicateKey (11000)"),
        (OperationFailure("card 4000", 5), "OperationFailure (5)"),
        (OperationFailure("card 4000"), "OperationFailure"),
        (ServerSelectionTimeoutError("mongodb://u:4000@h"), "ServerSelectionTimeoutError"),
        (ValueError("4000"), "ValueError"),
    ],
)
def test_an_error_is_named_without_any_value(error: BaseException, expected: str) -> None:
    """Messages quote documents, and sometimes connection strings."""
    assert errors.name_of(error) == expected


def test_no_code_is_in_two_tables() -> None:
    """Otherwise the order of the tables would decide unseen."""
    tables = [errors.TRANSIENT_CODES, errors.POSITION_LOST_CODES, errors.REJECT_CODES, errors.UNAUTHORIZED]
    codes = [code for table in tables for code in table]

    assert len(codes) == len(set(codes))
    assert server_codes.DUPLICATE_KEY not in codes
