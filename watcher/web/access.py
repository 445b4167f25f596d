"""Authentication: the first step of every request, before anything is read.

Without authentication, only this machine is served, and only under its own names: a foreign page whose name was made to
point here (DNS rebinding) names another host. With authentication, a request has a bearer token, or the same token in a
browser's cookie, or a trusted proxy names the user that it has signed on. Every request without valid credentials gets
the same response, whatever was requested.
"""

from __future__ import annotations

from http import HTTPStatus
from time import monotonic
from typing import TYPE_CHECKING
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse

from watcher.web import problems
from watcher.web.settings import is_loopback
from watcher.web.tokens import TokensFile
from watcher.web.visitors import Visitor, everything

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from watcher.web.access_log import AccessLog
    from watcher.web.settings import WebSettings

COOKIE = "watcher_token"
"""Name of the cookie with a browser's token."""

PROBES = frozenset({"/live", "/ready"})
"""Paths that an orchestrator requests, under a host name of its choice."""

PUBLIC = PROBES | {"/login", "/logout"}
"""Paths that show nothing of the history and need no authentication; the same is true of paths below `STATIC`."""

STATIC = "/static/"

_BEARER = "bearer "
_LOOK_S = 1.0
"""Seconds between two checks whether a running response is still permitted."""
_OWN_NAMES = ("localhost", "127.0.0.1", "[::1]")


class Access:
    """Authenticates requests.

    Raises:
        watcher.web.tokens.TokensError: the tokens file cannot be used.
    """

    def __init__(self, settings: WebSettings) -> None:
        self._settings = settings
        self._tokens = TokensFile(settings.tokens) if settings.tokens is not None else None

    def visitor(self, request: Request) -> Visitor | None:
        """The visitor of a request; None: not authenticated."""
        if not self._settings.authenticates:
            return everything("anybody")
        shown = request.headers.get("authorization")
        if shown is not None:
            known = shown[: len(_BEARER)].lower() == _BEARER
            return self.of_token(shown[len(_BEARER) :].strip()) if known else None
        header, peer = self._settings.user_header, request.client.host if request.client else None
        if header is not None and self._settings.trusts(peer):
            named = request.headers.getlist(header)
            if len(named) == 1 and named[0]:
                return self._of_user(named[0])
        cookie = request.cookies.get(COOKIE)
        return self.of_token(cookie) if cookie else None

    def of_token(self, token: str) -> Visitor | None:
        """The visitor of a token; None: the token is not valid."""
        return self._tokens.of_token(token) if self._tokens is not None else None

    def _of_user(self, name: str) -> Visitor | None:
        """The visitor of a user signed on by the proxy. Without a tokens file, every such user may read everything."""
        return self._tokens.of_user(name) if self._tokens is not None else everything(name)

    def is_expected_host(self, host: str) -> bool:
        """Whether a request names a host by which this application is known."""
        named = {name.lower() for name in self._settings.allowed_hosts}
        if not named and not is_loopback(self._settings.host):
            return True
        allowed = named | {*_OWN_NAMES, self._settings.host.lower()}
        return _without_port(host.lower()) in allowed

    def address(self, request: Request) -> str | None:
        """The client's address: as a trusted proxy reports it, otherwise the peer of the connection."""
        peer = request.client.host if request.client else None
        if not self._settings.trusts(peer):
            return peer
        for said in reversed(request.headers.get("x-forwarded-for", "").split(",")):
            peer = said.strip() or peer
            if not self._settings.trusts(peer):
                break
        return peer

    def is_secure(self, request: Request) -> bool:
        """Whether the client uses TLS, as far as is known."""
        peer = request.client.host if request.client else None
        if self._settings.trusts(peer) and "x-forwarded-proto" in request.headers:
            return request.headers["x-forwarded-proto"].strip().lower() == "https"
        return request.url.scheme == "https"


class Holding:
    """Checks whether a long response is still permitted; at most once a second."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._access: Access = request.app.state.access
        self._again = monotonic() + _LOOK_S

    def holds(self) -> bool:
        """Whether the response may continue."""
        now = monotonic()
        if now < self._again:
            return True
        self._again = now + _LOOK_S
        visitor: Visitor = self._request.state.visitor
        return self._access.visitor(self._request) == visitor


class AccessMiddleware:
    """Sets `request.state.visitor` on authenticated requests; refuses all others."""

    def __init__(self, app: ASGIApp, access: Access, access_log: AccessLog | None) -> None:
        self._app = app
        self._access = access
        self._access_log = access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        request.state.address = self._access.address(request)
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if path not in PROBES and not self._access.is_expected_host(request.headers.get("host", "")):
            problem = problems.Problem(
                HTTPStatus.MISDIRECTED_REQUEST, "unexpected-host", "this host name is not served here"
            )
            await problems.response(problem)(scope, receive, send)
            return
        if path in PUBLIC or path.startswith(STATIC):
            await self._app(scope, receive, send)
            return
        visitor = self._access.visitor(request)
        if visitor is not None:
            request.state.visitor = visitor
            await self._app(scope, receive, send)
            return
        if self._access_log is not None:
            self._access_log.refused(request, HTTPStatus.UNAUTHORIZED)
        if path.startswith("/api/") or request.method not in {"GET", "HEAD"}:
            await problems.response(problems.no_access())(scope, receive, send)
            return
        query = scope["query_string"].decode("latin-1")
        wanted = quote(path + (f"?{query}" if query else ""), safe="")
        login = RedirectResponse(f"{scope.get('root_path', '')}/login?next={wanted}", HTTPStatus.SEE_OTHER)
        await login(scope, receive, send)


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdecimal() else host
