"""Serves the application until a signal stops it."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Any

import structlog
import uvicorn
from pymongo import MongoClient
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from change_history.reader import Reader
from watcher.clients import options
from watcher.web.application import create
from watcher.web.executor import CommandListener
from watcher.web.settings import is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from watcher.web.settings import WebSettings

log = structlog.get_logger(__name__)

_STOP_S = 5
_MORE_CONNECTIONS = 6
_KEEP_ALIVE_S = 30
_MOST_CONNECTIONS = 2000
_MOST_HEAD_BYTES = 64 * 1024


class BoundedHttp(HttpToolsProtocol):
    """uvicorn's HTTP protocol with a size limit for the part of a request before authentication."""

    _head_bytes: int | None = 0

    def data_received(self, data: bytes) -> None:
        """Receive data from the client."""
        if self._head_bytes is not None:
            self._head_bytes += len(data)
            if self._head_bytes > _MOST_HEAD_BYTES:
                self.send_400_response("The request line and the headers are too long.")
                return
        super().data_received(data)

    def on_message_begin(self) -> None:
        """Start to count the bytes of a request's head."""
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Stop counting: a body is read only as far as the application asks for it."""
        self._head_bytes = None
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Count again: another request may follow."""
        self._head_bytes = 0
        super().on_message_complete()


class OpenToAllError(ValueError):
    """The application would be open to other machines without authentication. The message says what to do."""

    def __init__(self, host: str) -> None:
        super().__init__(
            f"{host} can be reached by others, and nobody would be asked who they are.\n"
            "Name those who may read in a file, WATCHER_SERVE_TOKENS (`watcher serve token NAME --read 'shop.*'` makes "
            "an entry), or serve to this machine alone: WATCHER_SERVE_HOST=127.0.0.1."
        )


@contextlib.contextmanager
def history(uri: str, database: str, settings: WebSettings) -> Iterator[tuple[MongoClient[Any], Reader]]:
    """Connect to the history as the application needs it. Lazily: nothing is sent to a server yet."""
    wanted = {**options(uri), "maxPoolSize": settings.limits.threads + _MORE_CONNECTIONS}
    with MongoClient[Any](uri, event_listeners=[CommandListener()], **wanted) as client:
        yield client, Reader(client, database)


def serve(uri: str, database: str, settings: WebSettings, on_listening: Callable[[int], None]) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        uri: connection string of the deployment with the history.
        database: the history database.
        on_listening: called with the port when the server listens on it.

    Raises:
        OpenToAllError: other machines could read without authentication.
        watcher.web.tokens.TokensError: the tokens file cannot be used.
        OSError: the address cannot be listened on, or the access log cannot be written.
    """
    if not is_loopback(settings.host) and not settings.authenticates:
        raise OpenToAllError(settings.host)
    with history(uri, database, settings) as (client, reader):
        config = uvicorn.Config(
            create(settings, client, reader),
            host=settings.host,
            port=settings.port,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=_STOP_S,
            timeout_keep_alive=_KEEP_ALIVE_S,
            lifespan="on",
            http=BoundedHttp,
            limit_concurrency=_MOST_CONNECTIONS,
        )
        listening = _listen(settings)
        with contextlib.closing(listening):
            on_listening(listening.getsockname()[1])
            uvicorn.Server(config).run(sockets=[listening])


def _listen(settings: WebSettings) -> Any:

    (family, kind, number, _, address), *_ = socket.getaddrinfo(
        settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    listening = socket.socket(family, kind, number)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(256)
        listening.settimeout(0)
    except BaseException:
        listening.close()
        raise
    return listening
