"""The HTTP server under `watcher.health.http`, reduced to what probes need.

HTTP/1.0, one request a connection: askers come every few seconds, and nothing has to be kept open between them.
"""

from __future__ import annotations

import socket
import sys
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Any

import structlog

from watcher.health.answers import as_json

if TYPE_CHECKING:
    from watcher.health.answers import Answer, Answers

log = structlog.get_logger(__name__)

_MOST_AT_ONCE = 32
"""More askers than this are turned away, lest their threads fill the memory."""
_SILENCE_S = 5.0
"""An asker that says nothing for so long is hung up on."""


class Server(ThreadingHTTPServer):
    """Listens at once when made; serves each request in a thread.

    Args:
        host: the address to listen on.
        port: the TCP port; 0: any free one.
        answers: what is said.

    Raises:
        OSError: the address cannot be listened on.
    """

    request_queue_size = 128  # with the five of the base class, a burst of askers waits for seconds

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
        """Answer in a thread, if not too many are being answered."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, in the thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """Log what failed, unless it is only an asker who hung up."""
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
        """Refuse a request in JSON. The base class calls this, with the asker's words in `message`: not repeated."""
        # To the base class a method without a handler is unknown; ours are known and not allowed.
        status = HTTPStatus.METHOD_NOT_ALLOWED if code == HTTPStatus.NOT_IMPLEMENTED else HTTPStatus(code)
        self._send(as_json(status, error=status.phrase.lower()))

    def _send(self, answer: Answer) -> None:
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
        """Name the program, and not the versions of what it is made of."""
        return "watcher"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing: a line for every probe would bury the log."""
