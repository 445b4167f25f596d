"""The daemon's HTTP port: `/live`, `/ready` and `/metrics`, for monitoring. It never shows data of documents.

HTTP/1.0, one request per connection: clients poll every few seconds, and no connection has to be kept open.
"""

from __future__ import annotations

import errno
import json
import socket
import sys
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from threading import BoundedSemaphore, Thread
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from urllib.parse import urlsplit

import structlog

from watcher.health.metrics import Metrics

if TYPE_CHECKING:
    from types import TracebackType

    from watcher.health.progress import Progress

log = structlog.get_logger(__name__)

_POLL_S = 0.2
"""Poll interval of the serving loop, in seconds; `close` waits that long at most."""
_MOST_AT_ONCE = 32
"""Most requests served at once; others are refused, so that their threads do not fill the memory."""
_SILENCE_S = 5.0
"""Socket timeout in seconds, after which a silent client is disconnected."""


class PortInUseError(Exception):
    """The address cannot be bound, most often as another program uses the port. The message says what to change."""

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
        port: the TCP port; 0: any free port, see `address`.
    """

    def __init__(self, host: str, port: int, progress: Progress, stream: str) -> None:
        self._host, self._port = host, port
        self._answers = Answers(progress, stream)
        self._server: Server | None = None
        self._thread: Thread | None = None

    @property
    def address(self) -> tuple[str, int]:
        """The host as given, and the bound port."""
        return self._host, self._server.server_port if self._server else self._port

    def start(self) -> Self:
        """Listen, then serve in the background.

        Raises:
            PortInUseError: the address cannot be bound; nothing was started.
        """
        try:
            self._server = Server(self._host, self._port, self._answers)
        except OSError as error:
            raise PortInUseError(self._host, self._port, error) from error
        self._thread = Thread(target=self._server.serve_forever, args=(_POLL_S,), name="health", daemon=True)
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop serving and free the port. Idempotent."""
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


class Response(NamedTuple):
    """An HTTP response, ready to be sent."""

    status: HTTPStatus
    content_type: str
    body: bytes


class Answers:
    """Answers the three requests.

    `/live`: should the daemon be left running? `/ready`: is the history up to date, or could this daemon take over from
    the leader; and if not, why? `/metrics`: the counters so far.
    """

    def __init__(self, progress: Progress, stream: str) -> None:
        self._progress = progress
        self._stream = stream
        self._metrics = Metrics(progress, stream)
        self._paths = {"/live": self._live, "/ready": self._ready, "/metrics": self._exposition}

    def to(self, target: str, accept: str) -> Response:
        """Answer a request.

        Args:
            target: the requested path with its query, which is ignored.
            accept: the header `Accept`.

        Returns:
            The answer; 404 for any other path.
        """
        found = self._paths.get(urlsplit(target).path)
        return found(accept) if found else _json(HTTPStatus.NOT_FOUND, error="not found", paths=list(self._paths))

    def _live(self, _accept: str) -> Response:
        live, reasons = self._progress.judgement()
        return _json(_status(fine=live), live=live, **({} if live else {"reasons": reasons}))

    def _ready(self, _accept: str) -> Response:
        progress = self._progress
        judgement = progress.judgement()
        return _json(
            _status(fine=judgement.ready),
            ready=judgement.ready,
            role=progress.role,
            led_by=progress.owner,
            reasons=judgement.reasons,
            stream=self._stream,
            events=progress.events,
            waiting=progress.waiting,
            lag_seconds=progress.lag_s,
            checkpoint_age_seconds=progress.checkpoint_age_s,
        )

    def _exposition(self, accept: str) -> Response:
        body, content_type = self._metrics.exposition(accept)
        return Response(HTTPStatus.OK, content_type, body)


class Server(ThreadingHTTPServer):
    """Listens from its construction on; serves each request in a thread.

    Raises:
        OSError: the address cannot be bound.
    """

    request_queue_size = 128  # with the base class's five, a burst of requests waits for seconds

    def __init__(self, host: str, port: int, answers: Answers) -> None:
        (self.address_family, *_, address), *_ = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        self._free = BoundedSemaphore(_MOST_AT_ONCE)
        super().__init__(address, partial(_Handler, answers))  # type: ignore[arg-type] # IPv6 addresses are longer

    def server_bind(self) -> None:
        """Bind without asking the DNS for this host's name, as `HTTPServer` does: it may take half a minute."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a request in a thread, unless too many are being served."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a request in its thread, and then free its slot."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """Log the error, unless the client has only disconnected."""
        error = sys.exception()
        if not isinstance(error, OSError):
            log.warning("a question about health could not be answered", exc_info=error)


class _Handler(BaseHTTPRequestHandler):
    """Reads one request and sends the answer."""

    timeout = _SILENCE_S

    def __init__(self, answers: Answers, *args: Any) -> None:
        self._answers = answers
        super().__init__(*args)

    def do_GET(self) -> None:
        """Answer."""
        self._send(self._answers.to(self.path, self.headers.get("Accept", "")))

    do_HEAD = do_GET  # noqa: N815

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """Send an error as JSON. The base class calls this with parts of the request in `message`: not repeated."""
        # The base class reports a method without a handler as unknown; here it is known, but not allowed.
        status = HTTPStatus.METHOD_NOT_ALLOWED if code == HTTPStatus.NOT_IMPLEMENTED else HTTPStatus(code)
        self._send(_json(status, error=status.phrase.lower()))

    def _send(self, answer: Response) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Cache-Control", "no-store")
        if answer.status is HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def version_string(self) -> str:
        """Name the program, without the versions of its components."""
        return "watcher"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Log nothing: a line for every probe would flood the log."""


def _json(status: HTTPStatus, **facts: Any) -> Response:
    return Response(status, "application/json", json.dumps(facts).encode() + b"\n")


def _status(*, fine: bool) -> HTTPStatus:
    return HTTPStatus.OK if fine else HTTPStatus.SERVICE_UNAVAILABLE


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
