"""The ASGI application: routing, middleware, error handling, and the headers of every answer.

An endpoint queries the history with `ask`, which gives it the part that the visitor may read:

    async def page(request: Request) -> Response:
        state = await ask(request, lambda history: history.state(namespace, document_id))

A path is routed as it was sent, percent-encoded, so that a name or an id may contain a slash; a parameter
`{id:segment}` is decoded.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, unquote

from pymongo.errors import PyMongoError
from starlette.applications import Starlette
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from change_history.errors import HistoryError
from watcher.web import api, pages, problems
from watcher.web.access import Access, AccessMiddleware
from watcher.web.access_log import AccessLog
from watcher.web.executor import Asker
from watcher.web.question import ClientGoneError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from pymongo import MongoClient
    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from change_history.reader import Reader
    from watcher.web.settings import WebSettings
    from watcher.web.visible import VisibleHistory

    T = TypeVar("T")

_STATIC = Path(__file__).parent / "static"
_CLIENT_GONE = 499
_COMPRESSED_BYTES = 1024
_LEVEL = 5

SECURITY_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
"""Headers of every answer."""

_EVERY_ANSWER = [
    (name.encode(), value.encode())
    for name, value in {**SECURITY_HEADERS, "cache-control": "private, no-cache"}.items()
]


async def ask(request: Request, work: Callable[[VisibleHistory], T]) -> T:
    """Query the history for a request (see `watcher.web.executor.Asker.ask`)."""
    asker: Asker = request.app.state.asker
    return await asker.ask(request, work)


class Segment(Convertor[str]):
    """One segment of a path, with any characters."""

    regex = "[^/]+"

    def convert(self, value: str) -> str:
        """Decode a segment. Bytes that are not UTF-8 become lone surrogates, as everywhere."""
        return unquote(value, errors="surrogateescape")

    def to_string(self, value: str) -> str:
        """Encode a segment."""
        return quote(value, safe="", errors="surrogateescape")


register_url_convertor("segment", Segment())


def create(settings: WebSettings, client: MongoClient[Any], reader: Reader) -> ASGIApp:
    """Create the application.

    Args:
        client: client of the deployment with the history; it needs a `watcher.web.executor.CommandListener`.
        reader: the history. The caller closes it.

    Raises:
        watcher.web.tokens.TokensError: the tokens file cannot be used.
        OSError: the access log cannot be written.
    """
    access = Access(settings)
    access_log = AccessLog(settings.access_log) if settings.access_log is not None else None
    asker = Asker(client, reader, settings.limits, access_log)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with api.lifespan(application):
            yield
        asker.close()

    application = Starlette(
        routes=[
            Route("/live", _live),
            Route("/ready", _ready),
            Mount("/static", StaticFiles(directory=_STATIC)),
            *api.routes(),
            *pages.routes(),
        ],
        middleware=[
            Middleware(GZipMiddleware, minimum_size=_COMPRESSED_BYTES, compresslevel=_LEVEL),
            Middleware(AccessMiddleware, access=access, access_log=access_log),
        ],
        exception_handlers=dict.fromkeys(
            (Exception, HTTPException, problems.Problem, HistoryError, PyMongoError, ClientGoneError), _explain
        ),
        lifespan=lifespan,
    )
    application.state.asker = asker
    application.state.access = access
    application.state.access_log = access_log
    application.state.settings = settings
    application.router.redirect_slashes = False
    return Gateway(application, settings)


class Gateway:
    """The outermost ASGI layer: it restores the path as it was sent and adds the headers of every answer."""

    def __init__(self, app: Starlette, settings: WebSettings) -> None:
        self._app = app
        self._own = {route.path for route in app.routes if isinstance(route, Route)}
        self._root = settings.root_path
        self._url_bytes = settings.limits.url_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sent = scope.get("raw_path") or quote(scope["path"]).encode()
        path = sent.partition(b"?")[0].decode("ascii", "replace")
        if path == self._root and path not in self._own:
            path += "/"
        elif self._root and not path.startswith(self._root + "/"):
            path = self._root + path
        scope = {**scope, "path": path, "root_path": self._root, "state": {**scope.get("state", {})}}
        answer = _Answer(send)
        try:
            if len(sent) + len(scope["query_string"]) > self._url_bytes:
                raise problems.Problem(  # noqa: TRY301 - it is answered like all others
                    HTTPStatus.REQUEST_URI_TOO_LONG, "too-long", f"a URL may have {self._url_bytes} bytes"
                )
            await self._app(scope, receive, answer)
        except ClientGoneError:
            return
        except Exception as error:
            if answer.ended:
                return  # Starlette raises the error again after it has answered
            if answer.begun:
                raise  # the connection is cut, so that a partial answer is not taken as complete
            await problems.response(problems.problem_of(error, 0))(scope, receive, answer)


class _Answer:
    """Sends an answer with the headers of every answer."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.begun = self.ended = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun = True
            present = {name.lower() for name, _ in message["headers"]}
            more = [(name, value) for name, value in _EVERY_ANSWER if name not in present]
            message["headers"] = [*message["headers"], *more]
        elif message["type"] == "http.response.body":
            self.ended = not message.get("more_body", False)
        await self._send(message)


async def _explain(request: Request, error: Exception) -> Response:
    if isinstance(error, ClientGoneError):
        return Response(status_code=_CLIENT_GONE)  # the client does not read it
    problem = problems.problem_of(error, request.app.state.settings.limits.seconds)
    access_log: AccessLog | None = request.app.state.access_log
    if access_log is not None and problem.status == HTTPStatus.NOT_FOUND:
        access_log.refused(request, problem.status)
    if request.scope["path"].removeprefix(request.scope.get("root_path", "")).startswith("/api/"):
        return problems.response(problem)
    return await pages.problem(request, problem)


async def _live(_: Request) -> Response:
    """Liveness: whether this process should keep running."""
    return JSONResponse({"live": True}, headers={"cache-control": "no-store"})


async def _ready(request: Request) -> Response:
    """Readiness: whether the database of the history answers."""
    asker: Asker = request.app.state.asker
    ready = await asker.answers()
    status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
    return JSONResponse({"ready": ready}, status, headers={"cache-control": "no-store"})
