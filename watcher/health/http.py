"""The HTTP port of the daemon: `/live`, `/ready` and `/metrics`, for whoever looks after it."""

from __future__ import annotations

import errno
from threading import Thread
from typing import TYPE_CHECKING, Self

from watcher.health.answers import Answers
from watcher.health.http_server import Server

if TYPE_CHECKING:
    from types import TracebackType

    from watcher.health.progress import Progress

_POLL_S = 0.2
"""Closing waits at most so long for the loop to look up."""


class PortInUseError(Exception):
    """The address cannot be listened on: most often another program has the port. Says what to change."""

    def __init__(self, host: str, port: int, error: OSError) -> None:
        taken = error.errno == errno.EADDRINUSE
        why = (
            "something listens there already, perhaps another `watcher run`" if taken else error.strerror or str(error)
        )
        super().__init__(
            f"Health cannot be served at {_authority(host, port)}: {why}.\n"
            "Set WATCHER_HTTP_PORT to another port, or to 0 to do without health and metrics"
            + ("." if taken else "; WATCHER_HTTP_HOST is the address to listen on.")
        )


class HealthServer:
    """Serves health and metrics from a thread of its own until closed.

    Args:
        host: the address to listen on.
        port: the TCP port; 0: any free one, see `address`.
        progress: what is told.
        stream: the name of the stream.
    """

    def __init__(self, host: str, port: int, progress: Progress, stream: str) -> None:
        self._host, self._port = host, port
        self._answers = Answers(progress, stream)
        self._server: Server | None = None
        self._thread: Thread | None = None

    @property
    def address(self) -> tuple[str, int]:
        """The host as given, and the port that is listened on."""
        return self._host, self._server.server_port if self._server else self._port

    def start(self) -> Self:
        """Listen, then serve in the background.

        Returns:
            Itself.

        Raises:
            PortInUseError: the address cannot be listened on; nothing was started.
        """
        try:
            self._server = Server(self._host, self._port, self._answers)
        except OSError as error:
            raise PortInUseError(self._host, self._port, error) from error
        self._thread = Thread(target=self._server.serve_forever, args=(_POLL_S,), name="health", daemon=True)
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop serving and free the port; closing twice does no harm."""
        server, self._server = self._server, None
        if server is not None and self._thread is not None:
            self._port = server.server_port
            server.shutdown()
            self._thread.join()
            server.server_close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
