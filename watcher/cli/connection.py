"""Where the history is, and what to type when it cannot be read."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
from pymongo import MongoClient
from pymongo.errors import ConnectionFailure, OperationFailure, PyMongoError

from change_history import History
from config.uri import mask
from watcher.cli import exit_codes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from config.settings import Settings

_TIMEOUT_MS = 5000
_TIMEOUT_OPTION = "serverselectiontimeoutms"
_MISSING_INDEX = 2  # BadValue: the index that the query asks for is not there
_UNAUTHORIZED, _AUTHENTICATION_FAILED = 13, 18
_NO_CHANGE_STREAMS = 40573


class CommandError(click.ClickException):
    """A command cannot go on; the message says what to type next.

    Args:
        message: one or more lines for the operator.
        exit_code: one of `watcher.cli.exit_codes`.
    """

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # click reads it from the instance too


def history_uri(settings: Settings) -> str:
    """The connection string of the deployment that keeps the history.

    Raises:
        CommandError: none is set, and no embedded server runs.
    """
    chosen = settings.history_uri or settings.mongodb_uri
    if chosen is not None:
        return chosen.get_secret_value()
    from watcher.embedded.server import find_running

    running = find_running(settings.embedded_dir)
    if running is None:
        raise CommandError(
            "no deployment to read from: WATCHER_MONGODB_URI is not set, and no embedded server runs in "
            f"{settings.embedded_dir}.\nStart one with `watcher run` (in a checkout: `make run`), or set "
            "WATCHER_MONGODB_URI, or WATCHER_HISTORY_URI if history is kept elsewhere.",
            exit_codes.UNREACHABLE,
        )
    return running


@contextmanager
def open_history(settings: Settings) -> Iterator[History]:
    """Open the history that the settings name, and turn the driver's errors into advice.

    Raises:
        CommandError: it cannot be read.
    """
    uri = history_uri(settings)
    with in_words(uri), History.connect(uri, settings.history_database, **_options(uri)) as history:
        yield history


@contextmanager
def open_client(uri: str) -> Iterator[MongoClient[Any]]:
    """Connect to a deployment, and turn the driver's errors into advice.

    Raises:
        CommandError: it does not answer, or refuses.
    """
    with in_words(uri), MongoClient[Any](uri, **_options(uri)) as client:
        yield client


@contextmanager
def in_words(uri: str) -> Iterator[None]:
    """Turn the driver's errors about a deployment into advice.

    Raises:
        CommandError: instead of each of them.
    """
    try:
        yield
    except PyMongoError as error:
        raise _explained(error, mask(uri)) from error


def _options(uri: str) -> dict[str, Any]:
    patience = {} if _TIMEOUT_OPTION in uri.lower() else {"serverSelectionTimeoutMS": _TIMEOUT_MS}
    return {"appname": "watcher", **patience}


def _explained(error: PyMongoError, where: str) -> CommandError:
    if isinstance(error, ConnectionFailure):
        advice = (
            "Is it running, and are WATCHER_MONGODB_URI and WATCHER_HISTORY_URI right? `watcher config show` tells."
        )
        reason = str(error).partition(" (configured timeouts")[0]  # the driver adds all it knows of the topology
        return CommandError(f"{where} does not answer: {reason}\n{advice}", exit_codes.UNREACHABLE)
    if isinstance(error, OperationFailure):
        said = (error.details or {}).get("errmsg", "it did not say why")
        advice = {
            _UNAUTHORIZED: "Give this user the role `read` on the history database.",
            _AUTHENTICATION_FAILED: "Check the user and the password in WATCHER_MONGODB_URI or WATCHER_HISTORY_URI.",
            _NO_CHANGE_STREAMS: "--follow needs history on a replica set; without --follow it can be read anywhere.",
            _MISSING_INDEX: "If the indexes of the history are missing, `watcher run` makes them when it starts.",
        }.get(error.code or 0, "")
        return CommandError(f"{where} refuses: {said}\n{advice}".rstrip(), exit_codes.UNEXPECTED)
    return CommandError(f"{where}: {error}", exit_codes.UNEXPECTED)
