"""Messages for errors of the driver and the server, with what to type next."""

from __future__ import annotations

from pymongo.errors import BulkWriteError, ConfigurationError, ConnectionFailure, OperationFailure, PyMongoError

from watcher.cli import exit_codes
from watcher.errors import POSITION_LOST_CODES, TRANSIENT_CODES, UNAUTHORIZED, Verdict, classify, name_of, words_of

_CHECK = "Is it running, and are WATCHER_MONGODB_URI and WATCHER_HISTORY_URI right? `watcher config show` tells."
_TRY_AGAIN = "This passes by itself: try again in a moment."
_CREDENTIALS = "Check the user and the password in WATCHER_MONGODB_URI or WATCHER_HISTORY_URI."
_PRIVILEGES = (
    "Give this user the role `read` on the history database; `watcher roles` prints what each command needs, "
    "`watcher doctor` what is missing."
)
_LESS = "Ask for less at a time: --since, --until, --limit or an ID; or let the server use more memory."
_UNABLE = (
    "The server is too old, or is run in a way that forbids it. It must be MongoDB 6.0 or later: `watcher doctor`."
)
_AGAIN = "What was being followed is no longer in the oplog: start the command again."
_ELSE = "`watcher doctor` examines the deployment and the history; the server's log says more at this moment."

_ADVICE = {
    2: "If the indexes of the history are missing, `watcher run` makes them when it starts.",  # the query names one
    11: _CREDENTIALS,
    13: _PRIVILEGES,
    18: _CREDENTIALS,
    26: "Is WATCHER_HISTORY_DATABASE right? `watcher config show` tells.",
    59: _UNABLE,
    73: "Is WATCHER_HISTORY_DATABASE right? `watcher config show` tells.",
    96: _ELSE,
    115: _UNABLE,
    146: _LESS,
    166: "Something else has the name of the history's collection: is WATCHER_HISTORY_DATABASE right?",
    238: _UNABLE,
    276: "An index was built or dropped meanwhile: try again; `watcher run` makes those that are missing.",
    292: _LESS,
    341: _ELSE,
    323: "The connection string's options ask for an API that lacks this: leave `serverApi` out.",
    8000: _CREDENTIALS,
    10334: "A document would be larger than 16 MB; name single fields, or a smaller window.",
    14031: "The server's disk is full: free some of it, then try again.",
    40324: _UNABLE,
    40415: _UNABLE,
    40573: "--follow needs history on a replica set; without --follow it can be read anywhere.",
    16755: "A value cannot be stored as the server's index wants it; `watcher doctor` examines the history.",
}


def explained(error: PyMongoError, where: str) -> tuple[str, int]:
    """The message for the operator, which ends with what to do, and the exit status.

    Args:
        where: the deployment, without credentials.
    """
    if isinstance(error, ConnectionFailure):
        reason = words_of(error).partition(": ")[2] or str(error)
        advice = _TRY_AGAIN if _code_of(error) is not None else _CHECK
        return f"{where} does not answer: {reason}\n{advice}", exit_codes.UNREACHABLE
    if isinstance(error, OperationFailure):
        return _refused(error, where)
    if isinstance(error, ConfigurationError):
        return f"{where} cannot be connected to: {error}\n{_CHECK}", exit_codes.USAGE
    return f"{where}: {error}\n{_ELSE}", exit_codes.UNEXPECTED


def _refused(error: OperationFailure, where: str) -> tuple[str, int]:
    code, said = error.code, (error.details or {}).get("errmsg")
    if isinstance(error, BulkWriteError):
        inside = [*error.details.get("writeErrors", ()), *error.details.get("writeConcernErrors", ())]
        code, said = (inside[0].get("code"), inside[0].get("errmsg")) if inside else (code, said)
    known = _ADVICE.get(code or 0)
    message = f"{where} refuses: {said or 'it did not say why'} [{name_of(error)}]"
    if code in POSITION_LOST_CODES:
        return f"{message}\n{_AGAIN}", exit_codes.UNREACHABLE
    if known is None and (code in TRANSIENT_CODES or classify(error) is Verdict.TRANSIENT):
        return f"{message}\n{_TRY_AGAIN}", exit_codes.UNREACHABLE
    if code in UNAUTHORIZED or known is not None:
        return f"{message}\n{known or _PRIVILEGES}", exit_codes.REFUSED
    return f"{message}\n{_ELSE}", exit_codes.REFUSED


def _code_of(error: ConnectionFailure) -> int | None:
    """The server's error code, if the error came from the server: of a member that steps down or shuts down."""
    details = getattr(error, "details", None)
    return details.get("code") if isinstance(details, dict) else None
