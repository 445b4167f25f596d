"""What commands of an operator share: both deployments, reached, and errors in words."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from pymongo import ReadPreference

from watcher.cli import exit_codes
from watcher.cli.session import CommandError, history_uri, open_client
from watcher.embedded.errors import MongodError
from watcher.embedded.server import EmbeddedServer, find_running
from watcher.errors import FatalError, PositionLostError, PositionRefusedError
from watcher.leadership.lease import DeposedError
from watcher.leadership.takeover import LedError
from watcher.operations.context import StreamContext
from watcher.operations.position import NoCheckpointError
from watcher.targets.identity import identify
from watcher.targets.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import ExitStack

    from config.settings import Settings
    from watcher.health.http import PortInUseError


_EXIT_CODES: dict[type[Exception], int] = {
    NoCheckpointError: exit_codes.NOT_FOUND,
    PositionRefusedError: exit_codes.POSITION_REFUSED,
    PositionLostError: exit_codes.POSITION_LOST,
    LedError: exit_codes.BUSY,
}
"""Of every other error that only the operator can help with, it is `FATAL`."""


def exit_code_of(error: FatalError | MongodError | PortInUseError) -> int:
    """The exit status of a daemon, or of a command, that such an error ends."""
    return _EXIT_CODES.get(type(error), exit_codes.FATAL)


def reach(settings: Settings, stack: ExitStack) -> StreamContext:
    """Connect to both deployments, until the stack is closed.

    Raises:
        watcher.errors.FatalError: the watched one has no change streams.
        watcher.embedded.errors.MongodError: the embedded server does not start.
    """
    if settings.mongodb_uri is not None:
        uri = settings.mongodb_uri.get_secret_value()
    else:  # it runs only as long as the daemon does, and the daemon must not
        uri = (
            find_running(settings.embedded_dir)
            or stack.enter_context(EmbeddedServer(settings.embedded_dir, settings.embedded_port)).uri
        )
    watched = stack.enter_context(open_client(uri))
    replica_set = identify(watched)  # before there is another deployment that an error could be of
    history_client = stack.enter_context(open_client(history_uri(settings.connection)))
    # A secondary may lag, and what an old checkpoint says be acted upon.
    history = history_client.get_database(settings.history_database, read_preference=ReadPreference.PRIMARY)
    return StreamContext(settings, Scope.of(settings), watched, history, replica_set)


@contextmanager
def in_words() -> Iterator[None]:
    """Say what has gone wrong, and what to type next."""
    try:
        yield
    except (FatalError, MongodError) as error:
        raise CommandError(str(error), exit_code_of(error)) from error
    except DeposedError as error:
        raise CommandError(
            "somebody else has taken the lead of this stream meanwhile.\n"
            "`watcher checkpoint show` tells who, and where the stream stands; then try again.",
            exit_codes.BUSY,
        ) from error
