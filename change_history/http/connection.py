"""Requests to `watcher serve`, one after the other, with only the standard library."""

from __future__ import annotations

import json
import ssl
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from ipaddress import ip_address
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

from change_history.errors import HistoryError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

JSON, NDJSON = "application/json; mode=canonical", "application/x-ndjson; mode=canonical"
_OK = 200
_FIRST_ERROR = 400


class HttpError(HistoryError):
    """`watcher serve` does not answer correctly, or refuses; the message says why.

    Attributes:
        status: HTTP status of the answer; None: there was no answer.
        kind: the type of the problem, such as `no-access` or `too-costly`.
        said: the problem details of the answer.
    """

    def __init__(
        self, message: str, status: int | None = None, kind: str = "", said: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.said = dict(said or {})


class Connection:
    """A connection to one `watcher serve`. Safe to use from several threads.

    Args:
        url: its address, `https://history.example.org`, with the path under which a proxy serves it.
        timeout_s: maximum wait for an answer, in seconds.
        context: TLS context; None: the system's default.

    Raises:
        ValueError: the URL is invalid, or a token would be sent unencrypted.
    """

    def __init__(
        self, url: str, *, token: str | None = None, timeout_s: float = 60.0, context: ssl.SSLContext | None = None
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"{url!r} is no URL; write https://history.example.org")
        if parts.username is not None or parts.query or parts.fragment:
            raise ValueError("the URL must have no user, no query and no fragment; give the token as token=…")
        if token is not None and parts.scheme == "http" and not _is_this_machine(parts.hostname):
            raise ValueError("the token would be sent in the clear; write https://")
        self._scheme, self._host, self._port = parts.scheme, parts.hostname, parts.port
        self._address = parts.netloc
        self._root = parts.path.rstrip("/") + "/api/v1"
        self._token = token
        self._timeout_s = timeout_s
        self._context = context
        self._lock = Lock()
        self._kept: HTTPConnection | None = None

    def get(self, parts: Sequence[str], query: Mapping[str, Any] | None = None) -> Any:
        """Request one JSON answer.

        Args:
            parts: parts of the path below `/api/v1`, unencoded.
            query: parameters; None: left out; a list: given several times.

        Raises:
            HttpError: the server refuses, or does not answer.
        """
        with self._lock:
            try:
                try:
                    reply = self._send(self._connection(), parts, query, {"Accept": JSON})
                except (HTTPException, ConnectionError):
                    self._forget()  # the connection was closed meanwhile: retry on a new one
                    reply = self._send(self._connection(), parts, query, {"Accept": JSON})
                body = reply.read()
            except (OSError, HTTPException) as error:
                self._forget()
                raise HttpError(f"{self._address} does not answer: {error}") from error
        if reply.status != _OK:
            raise _refusal(reply.status, body)
        return json.loads(body)

    def lines(self, parts: Sequence[str], query: Mapping[str, Any] | None = None) -> Iterator[Any]:
        """Request a list, and yield each item as it comes. Raises as `get`, also if the answer breaks off."""
        with self.opened(parts, query, {"Accept": NDJSON}) as reply:
            try:
                for line in reply:
                    yield json.loads(line)
            except (OSError, HTTPException) as error:
                raise HttpError(f"the answer of {self._address} breaks off") from error

    def opened(self, parts: Sequence[str], query: Mapping[str, Any] | None, headers: Mapping[str, str]) -> HTTPResponse:
        """Send a request on a separate connection, which ends with the answer. Raises as `get`."""
        try:
            reply = self._send(self._new(), parts, query, {"Connection": "close", **headers})
            if reply.status < _FIRST_ERROR:
                return reply
            with reply:
                raise _refusal(reply.status, reply.read())
        except (OSError, HTTPException) as error:
            raise HttpError(f"{self._address} does not answer: {error}") from error

    def close(self) -> None:
        """Close the connection that is kept."""
        with self._lock:
            self._forget()

    def _connection(self) -> HTTPConnection:
        if self._kept is None:
            self._kept = self._new()
        return self._kept

    def _forget(self) -> None:
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.close()

    def _new(self) -> HTTPConnection:
        if self._scheme == "https":
            context = self._context or ssl.create_default_context()
            return HTTPSConnection(self._host, self._port, timeout=self._timeout_s, context=context)
        return HTTPConnection(self._host, self._port, timeout=self._timeout_s)

    def _send(
        self,
        connection: HTTPConnection,
        parts: Sequence[str],
        query: Mapping[str, Any] | None,
        headers: Mapping[str, str],
    ) -> HTTPResponse:
        path = self._root + "".join("/" + quote(part, safe="", errors="surrogateescape") for part in parts)
        said = {name: text for name, text in (query or {}).items() if text is not None}
        if said:
            path += "?" + urlencode(said, doseq=True, errors="surrogateescape", quote_via=quote)
        shown = {"Authorization": f"Bearer {self._token}"} if self._token is not None else {}
        connection.request("GET", path, headers={**shown, **headers})
        return connection.getresponse()


def _refusal(status: int, body: bytes) -> HttpError:
    try:
        problem = json.loads(body)
        kind = str(problem["type"]).rpartition(":")[2]
        return HttpError(str(problem.get("detail") or problem["title"]), status, kind, problem)
    except (ValueError, KeyError, TypeError):
        return HttpError(f"what answers is not watcher serve: status {status}", status)


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
