"""What all commands share: settings, connection, error messages, output, and the end of the process."""

from __future__ import annotations

import io
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import click

from watcher.cli import exit_codes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pymongo import MongoClient

    from change_history.reader import Reader
    from config.connection import Connection
    from config.settings import Settings


_TIMEOUT_MS = 5000
_TIMEOUT_OPTION = "serverselectiontimeoutms"


class CommandError(click.ClickException):
    """A command cannot continue. It has the exit code, and a message that says what to type next."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # click reads it from the instance too


class Context:
    """What every command gets: the settings, which are read on request, and the history.

    Invalid settings end the command by SystemExit, after every problem has been printed.
    """

    def __init__(self, config_file: Path | None) -> None:
        self.config_file = config_file

    def settings(self, **overrides: Any) -> Settings:
        """Read the settings; values from the command line override them (None: not given)."""
        from config.settings import load

        with _problems_said():
            return load(self.config_file, **overrides)

    def connection(self) -> Connection:
        """Read only the settings of the connection, which is faster than reading all settings."""
        from config.connection import read_plain

        with _problems_said():
            plain = read_plain(self.config_file)
        return plain if plain is not None else self.settings().connection

    @contextmanager
    def history(self) -> Iterator[Reader]:
        """Open the history that the settings name, and turn the driver's errors into advice."""
        from change_history.reader import Reader

        where = self.connection()
        uri = history_uri(where)
        with in_words(uri), Reader.connect(uri, where.history_database, **_options(uri)) as history:
            yield history


@contextmanager
def _problems_said() -> Iterator[None]:
    from config.sources import SettingsError

    try:
        yield
    except SettingsError as error:
        for problem in error.problems:
            click.echo(f"watcher: {problem}", err=True)
        raise SystemExit(exit_codes.USAGE) from None


def history_uri(where: Connection) -> str:
    """The connection string of the deployment with the history."""
    chosen = where.history_uri or where.mongodb_uri
    if chosen is not None:
        return chosen
    from watcher.embedded.server import find_running

    running = find_running(where.embedded_dir)
    if running is None:
        raise CommandError(
            "no deployment to read from: WATCHER_MONGODB_URI is not set, and no embedded server runs in "
            f"{where.embedded_dir}.\nStart one with `watcher run` (in a checkout: `make run`), or set "
            "WATCHER_MONGODB_URI, or WATCHER_HISTORY_URI if history is kept elsewhere.",
            exit_codes.UNREACHABLE,
        )
    return running


@contextmanager
def open_client(uri: str) -> Iterator[MongoClient[Any]]:
    """Connect to a deployment, and turn the driver's errors into advice."""
    from pymongo import MongoClient

    with in_words(uri), MongoClient[Any](uri, **_options(uri)) as client:
        yield client


@contextmanager
def in_words(uri: str) -> Iterator[None]:
    """Turn the driver's errors about a deployment into advice."""
    from pymongo.errors import PyMongoError

    try:
        yield
    except PyMongoError as error:
        from config.uri import mask
        from watcher.cli import refusals

        raise CommandError(*refusals.explained(error, mask(uri))) from error


def say(line: str) -> None:
    """Print a line on standard error, apart from the answer."""
    click.echo(line, err=True)


def _options(uri: str) -> dict[str, Any]:
    patience = {} if _TIMEOUT_OPTION in uri.lower() else {"serverSelectionTimeoutMS": _TIMEOUT_MS}
    return {"appname": "watcher", **patience}


def prepare_output(*, as_json: bool) -> None:
    """Configure standard output for JSON or for text."""
    if as_json:
        speak_utf8()
    else:
        survive_any_character()


def speak_utf8() -> None:
    """Write UTF-8 in any locale, because JSON is UTF-8."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")


def survive_any_character() -> None:
    """Write characters that the locale's encoding lacks as escapes instead of failing."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def let_go() -> None:
    """Replace a closed pipe by the null device, so that Python does not report it at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


@contextmanager
def until_closed() -> Iterator[None]:
    """End the block when the reader closes the pipe that it prints to; this is no error."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        let_go()


def leave(end: SystemExit) -> NoReturn:
    """End the process. A reading command ends as soon as its output is written.

    The driver would keep the process for another half second, until its monitors wake up. By now the command has closed
    its files, its progress and its client. Where output cannot be written, Python says so when it ends.
    """
    reading = any(name.startswith(f"{__package__}.commands.reading.") for name in sys.modules)
    if reading and (end.code is None or isinstance(end.code, int)) and _flushed():
        os._exit(end.code or 0)
    raise end


def _flushed() -> bool:
    """Whether all output is written; if not, Python says why when it ends."""
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except (OSError, ValueError):
        return False
    return True
